// SPDX-License-Identifier: BSL-1.0
// All crash points, under all circumstances: finds the points that undisturbed runs pass, which are the denominator, then
// ends a process at each of them, in several front ends side by side, since a run waits for most of its time.
#pragma once

#include "crash_run.hpp"

#include <catch2/catch.hpp>

#include <cstring>
#include <set>

namespace coproc::testing {

class crash_campaign {
public:
  crash_campaign(fate how, unsigned front_ends) : how_(how), front_ends_(front_ends) {}

  /// Tells Catch what did not hold, and prints the count. COPROC_ONLY, in the environment, is a part of the name of a run,
  /// as it stands above its problems: those runs alone, without a count.
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

  static constexpr std::size_t max_jobs = 4096, text_bytes = 1 << 16;

  struct board {
    std::atomic<std::size_t> next{0}, text_used{0};
    std::atomic<unsigned> done{0}, filled{0}, not_filled{0};
    std::atomic<bool> hit[max_jobs]{};
    char text[text_bytes]{};
  };

  void run_all(const std::vector<plan>& jobs) {
    REQUIRE(jobs.size() <= max_jobs);
    board& b = *make_shared_with_children<board>();
    std::vector<pid_t> children;
    for (unsigned i = 0; i != front_ends_; ++i) {
      const pid_t pid = ::fork();
      REQUIRE(pid >= 0);
      if (pid == 0) work_through(jobs, b);
      children.push_back(pid);
    }
    for (const pid_t pid : children) {
      int status = 0;
      CHECK(::waitpid(pid, &status, 0) == pid);
      CHECK(status == 0);
    }
    CHECK(b.done == jobs.size());
    runs_ += jobs.size();
    filled_ += b.filled;
    not_filled_ += b.not_filled;
    for (std::size_t i = 0; i != jobs.size(); ++i)
      if (b.hit[i]) ++hits_, hit_.insert(jobs[i].victim);
    if (b.text_used != 0) FAIL_CHECK(std::string(b.text, std::min(b.text_used.load(), text_bytes)));
    ::munmap(&b, sizeof b);
  }

  [[noreturn]] static void work_through(const std::vector<plan>& jobs, board& b) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    install_hooks();
    for (std::size_t i; (i = b.next++) < jobs.size();) {
      crash_run r(jobs[i]);
      r.execute();
      b.hit[i] = r.hit();
      if (r.filled) ++(*r.filled ? b.filled : b.not_filled);
      ++b.done;
      if (problems().empty()) continue;
      std::string text = jobs[i].text() + ":\n";
      for (const std::string& each : problems()) text += "  " + each + "\n";
      problems().clear();
      const std::size_t at = b.text_used.fetch_add(text.size());
      if (at < text_bytes) std::memcpy(b.text + at, text.data(), std::min(text.size(), text_bytes - at));
    }
    ::_exit(0);
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
