// SPDX-License-Identifier: BSL-1.0
// Who sits in which seat of a pool, who stands by, and who has left but may not be buried yet. It knows nothing of why.
// Front end, under the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/worker.hpp>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace coproc::detail::front {

class roster {
public:
  using worker_ptr = std::unique_ptr<worker>;
  using state = worker::state;

  struct seat {
    worker_ptr worker;
    worker_ptr successor;   ///< stands by for a worker that is to be replaced
    bool requested = false; ///< an incarnation is being made
    time_point restart_at = time_point::max();
    unsigned failures = 0; ///< in a row: workers that ended by themselves before they ended a task

    bool vacant() const noexcept { return !worker && !requested && restart_at == time_point::max(); }
  };

  COPROC_LAZY explicit roster(unsigned seats);

  /// Room for so many seats, and for those who leave them; allocates. Then resize() does not.
  COPROC_LAZY void reserve(unsigned seats);
  /// So many seats, and for now as many more as have somebody in the last of them: trim() takes those away later.
  COPROC_LAZY void resize(unsigned seats) noexcept;
  COPROC_LAZY void trim(unsigned seats) noexcept;

  unsigned size() const noexcept { return size_; }
  // Also of one that was taken away: it is vacant.
  seat& operator[](unsigned index) noexcept { return seats_[index]; }
  const seat& operator[](unsigned index) const noexcept { return seats_[index]; }
  auto begin() noexcept { return seats_.begin(); }
  auto end() noexcept { return seats_.begin() + size_; }
  auto begin() const noexcept { return seats_.begin(); }
  auto end() const noexcept { return seats_.begin() + size_; }

  /// Out of their seats: leaving, dead and unexplained, or quarantined.
  std::vector<worker_ptr>& departed() noexcept { return departed_; }
  const std::vector<worker_ptr>& departed() const noexcept { return departed_; }

  /// Calls f(worker) for each incarnation that takes part.
  template <class F>
  void each_worker(F f) const {
    for (const seat& s : *this)
      if (s.worker) f(*s.worker);
  }

  /// Calls f(worker) for each process that may still be alive.
  template <class F>
  void each_process(F f) const {
    for (const seat& s : *this) {
      if (s.worker) f(*s.worker);
      if (s.successor) f(*s.successor);
    }
    for (const worker_ptr& w : departed_)
      if (w->status() != state::dead) f(*w);
  }

  COPROC_LAZY worker* find(std::uint64_t incarnation) const noexcept;

  COPROC_LAZY void sit(worker_ptr w) noexcept;

  /// Out of its seat; null if it has left it already. A successor that stands by takes over.
  COPROC_LAZY worker_ptr take(worker& w) noexcept;

  /// The same, to the departed. False: it was there already.
  COPROC_LAZY bool depart(worker& w) noexcept;

  /// Does any seat have a worker that could take a task now?
  COPROC_LAZY bool any_initialized() const noexcept;

  /// Is any worker about to come, or to go?
  COPROC_LAZY bool in_transition() const noexcept;

  /// Nobody is left but the unkillable.
  COPROC_LAZY bool gone() const noexcept;

private:
  std::vector<seat> seats_; // by index; those from size_ on are vacant
  unsigned size_ = 0;
  std::vector<worker_ptr> departed_;
};

} // namespace coproc::detail::front

#include <coproc/front/roster.ipp>
