// SPDX-License-Identifier: BSL-1.0
// All crash points, under all circumstances: finds the points that undisturbed runs pass, which are the denominator,
// then ends a process at each of them, in several front ends side by side, since a run that stops waits for most of its
// time.
#pragma once

#include "crash_run.hpp"

#include <catch2/catch.hpp>

#include <set>
#include <thread>

namespace coproc::testing {

class crash_campaign {
public:
  crash_campaign(fate how, unsigned front_ends) : how_(how), front_ends_(front_ends) {}

  /// Tells Catch what did not hold, and prints the count. COPROC_ONLY, in the environment, is a part of the name of a
  /// run, as it stands above its problems: those runs alone, without a count.
  void execute() {
    install_hooks();
    for (const plan& p : plans())
      for (const point victim : points_passed(p)) {
        if (p.ring == content::huge_result && victim.index / 2 != static_cast<unsigned>(os::call::punch_hole)) continue;
        passed_.insert(victim);
        add(p, victim, 1);
        if (p.when == moment::batch && p.ring == content::full && victim.who == role::worker) add(p, victim, 5);
      }
    report_problems(problems());
    if (const char* only = std::getenv("COPROC_ONLY")) {
      std::erase_if(jobs_, [&](const plan& p) { return p.text().find(only) == std::string::npos; });
      run_all(jobs_);
      WARN(hits_ << " of " << runs_ << " runs met their end");
      return;
    }
    run_all(jobs_);
    // Whether a worker sleeps, spins or rings is a matter of time: another chance for those.
    for (int i = 0; i != 20 && hit_.size() != passed_.size(); ++i) {
      std::vector<plan> again;
      for (const plan& p : jobs_)
        if (!hit_.contains(p.victim)) again.push_back(p);
      run_all(again);
    }
    for (const point missing : passed_)
      if (!hit_.contains(missing)) FAIL_CHECK("never reached: " << missing.text());
    CHECK(filled_ > 0);
    std::size_t of_stores = 0, of_server = 0;
    for (const point p : hit_) {
      of_stores += p.is_store();
      of_server += p.who == role::server;
    }
    WARN("crash points covered: " << hit_.size() << " of " << passed_.size() << " (" << of_stores << " at stores, "
                                  << hit_.size() - of_stores << " at system calls; " << of_server
                                  << " of the fork server), " << runs_ << " runs, of which " << hits_
                                  << " met their end; rings full in " << filled_ << " of " << filled_ + not_filled_);
    os::faults = {};
  }

private:
  // With sanitizers not every ring content is tried, and one worker only; every point is.
  std::vector<plan> plans() const {
    std::vector<plan> all;
    for (const unsigned workers : {1u, 3u}) {
      if (workers > 1 && sanitized) break;
      all.push_back({content::empty, workers, moment::construction, how_});
      all.push_back({content::empty, workers, moment::destruction, how_});
      for (const content ring : {content::empty, content::one, content::full, content::wrapped}) {
        all.push_back({ring, workers, moment::batch, how_});
        const bool all_respawns = workers == 1 && !sanitized;
        if (all_respawns || ring == content::one || ring == content::full)
          all.push_back({ring, workers, moment::respawn, how_});
      }
    }
    all.push_back({content::huge_result, 1, moment::batch, how_});
    return all;
  }

  static std::set<point> points_passed(plan p) {
    point_control& c = shared();
    for (auto& of_role : c.passed)
      for (auto& n : of_role) n = 0;
    p.nth = 0;
    p.how = fate::killed;
    for (int i = 0; i != 2; ++i) crash_run(p).execute();
    std::set<point> found;
    for (unsigned who = 0; who != 2; ++who)
      for (unsigned index = 0; index != points_per_role; ++index)
        if (c.passed[who][index] != 0) found.insert({static_cast<role>(who), index});
    return found;
  }

  void add(plan p, point victim, int nth) {
    p.victim = victim;
    p.nth = nth;
    jobs_.push_back(p);
  }

  // ---- side by side

  static constexpr std::size_t max_jobs = 4096;

  struct board {
    explicit board(unsigned at_a_time) : gate(at_a_time) {}

    admission gate;
    std::atomic<unsigned> filled{0}, not_filled{0};
    std::atomic<bool> hit[max_jobs]{};
  };

  void run_all(const std::vector<plan>& jobs) {
    REQUIRE(jobs.size() <= max_jobs);
    board& b = *make_shared_with_children<board>(2 * std::thread::hardware_concurrency());
    const auto run = [&](std::size_t i) {
      b.gate.enter();
      shared().admitted = &b.gate;
      crash_run r(jobs[i]);
      r.execute();
      leave_admission();
      b.hit[i] = r.hit();
      if (r.filled) ++(*r.filled ? b.filled : b.not_filled);
    };
    const std::string trouble =
        run_side_by_side(jobs.size(), front_ends_, install_hooks, run, [&](std::size_t i) { return jobs[i].text(); });
    if (!trouble.empty()) FAIL_CHECK(trouble);
    runs_ += jobs.size();
    filled_ += b.filled;
    not_filled_ += b.not_filled;
    for (std::size_t i = 0; i != jobs.size(); ++i)
      if (b.hit[i]) ++hits_, hit_.insert(jobs[i].victim);
    ::munmap(&b, sizeof b);
  }

  static void report_problems(std::vector<std::string>& all) {
    for (const std::string& each : all) FAIL_CHECK(each);
    all.clear();
  }

  fate how_;
  unsigned front_ends_;
  std::vector<plan> jobs_;
  std::set<point> passed_, hit_;
  std::size_t runs_ = 0, hits_ = 0;
  unsigned filled_ = 0, not_filled_ = 0;
};

} // namespace coproc::testing
