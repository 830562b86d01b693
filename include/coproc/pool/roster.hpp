// SPDX-License-Identifier: BSL-1.0
// Who sits in which seat of a pool, who stands by, and who has left but may not be buried yet. It knows nothing of why. Front
// end, under the pool's mutex.
#pragma once

#include <coproc/pool/worker_record.hpp>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace coproc::pool {

template <class Worker>
class roster {
public:
  using worker_ptr = std::unique_ptr<Worker>;
  using state = typename Worker::state;

  struct seat {
    worker_ptr worker;
    worker_ptr successor;   ///< stands by for a worker that is to be replaced
    bool requested = false; ///< an incarnation is being made
    time_point restart_at = time_point::max();
    unsigned failures = 0;  ///< in a row: workers that ended by themselves before they ended a task

    bool vacant() const noexcept { return !worker && !requested && restart_at == time_point::max(); }
  };

  explicit roster(unsigned seats) : seats_(seats) {
    departed_.reserve(2 * std::size_t{seats} + 8); // more only when that many are unkillable
  }

  unsigned size() const noexcept { return static_cast<unsigned>(seats_.size()); }
  seat& operator[](unsigned index) noexcept { return seats_[index]; }
  const seat& operator[](unsigned index) const noexcept { return seats_[index]; }
  auto begin() noexcept { return seats_.begin(); }
  auto end() noexcept { return seats_.end(); }
  auto begin() const noexcept { return seats_.begin(); }
  auto end() const noexcept { return seats_.end(); }

  /// Out of their seats: leaving, dead and unexplained, or quarantined.
  std::vector<worker_ptr>& departed() noexcept { return departed_; }
  const std::vector<worker_ptr>& departed() const noexcept { return departed_; }

  /// Calls f(worker) for each incarnation that takes part.
  template <class F>
  void each_worker(F f) const {
    for (const seat& s : seats_)
      if (s.worker) f(*s.worker);
  }

  /// Calls f(worker) for each process that may still be alive.
  template <class F>
  void each_process(F f) const {
    for (const seat& s : seats_) {
      if (s.worker) f(*s.worker);
      if (s.successor) f(*s.successor);
    }
    for (const worker_ptr& w : departed_)
      if (w->status != state::dead) f(*w);
  }

  Worker* find(std::uint64_t incarnation) const noexcept {
    const auto is = [&](const worker_ptr& w) { return w && w->incarnation == incarnation; };
    for (const seat& s : seats_) {
      if (is(s.worker)) return s.worker.get();
      if (is(s.successor)) return s.successor.get();
    }
    for (const worker_ptr& w : departed_)
      if (is(w)) return w.get();
    return nullptr;
  }

  void sit(worker_ptr w) noexcept {
    seat& s = seats_[w->index];
    s.requested = false;
    (s.worker ? s.successor : s.worker) = std::move(w);
  }

  /// Out of its seat; null if it has left it already. A successor that stands by takes over.
  worker_ptr take(Worker& w) noexcept {
    seat& s = seats_[w.index];
    if (s.successor.get() == &w) {
      if (s.worker) s.worker->relieved = false;
      return std::move(s.successor);
    }
    if (s.worker.get() != &w) return nullptr;
    worker_ptr taken = std::move(s.worker);
    s.worker = std::move(s.successor);
    return taken;
  }

  /// The same, to the departed. False: it was there already.
  bool depart(Worker& w) noexcept {
    worker_ptr taken = take(w);
    if (!taken) return false;
    departed_.push_back(std::move(taken));
    return true;
  }

  /// Does any seat have a worker that could take a task now?
  bool any_initialized() const noexcept {
    return std::any_of(seats_.begin(), seats_.end(), [](const seat& s) {
      return s.worker && s.worker->status == state::live && s.worker->initialized();
    });
  }

  /// Is any worker about to come, or to go?
  bool in_transition() const noexcept {
    for (const seat& s : seats_) {
      if (s.requested) return true;
      for (const worker_ptr* each : {&s.worker, &s.successor})
        if (*each && (*each)->status != state::live) return true;
    }
    return std::any_of(departed_.begin(), departed_.end(),
                       [](const worker_ptr& w) { return w->status != state::quarantined; });
  }

  /// Nobody is left but the unkillable.
  bool gone() const noexcept {
    for (const seat& s : seats_)
      if (s.worker || s.successor || s.requested) return false;
    return std::all_of(departed_.begin(), departed_.end(),
                       [](const worker_ptr& w) { return w->status == state::quarantined; });
  }

private:
  std::vector<seat> seats_; // by index
  std::vector<worker_ptr> departed_;
};

} // namespace coproc::pool
