// SPDX-License-Identifier: BSL-1.0
// Who sees to the pool, and what comes next: the one token, the rounds of a turn, ended tasks on their way to their
// handlers, and the guard of a handler that does not come back. Rules W4 and W5, docs/protocol.md; docs/design/004.
// Decides only: its owner has the mutex, posts, waits and sets the timer. Front end, under the pool's mutex but where a
// function says otherwise.
//
//   idle     nothing is outstanding: neither turn nor wait, so run() may return
//   polling  a turn is posted or runs
//   owed     the same, but for want of memory none could be posted: the next change does, or the guard's timer
//   armed    the wait on the epoll is pending; its handler runs a turn
//
//              posted()          rests: armed()
//   idle/owed ----------> polling ------------> armed
//             <----------         <------------
//     after_round(): not busy,    woken(), or changed() interrupts the wait
//     or could_not_post()
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/task_details.hpp>
#include <coproc/os/lock.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

namespace coproc::detail::front {

class turn {
public:
  /// Turns are counted. The one with the highest number holds the token, while it is `polling`.
  using number = std::uint64_t;

  static constexpr std::chrono::milliseconds guard_period{2};

  /// What a turn does next.
  enum class step {
    round,   ///< drains, dispatches, checks
    deliver, ///< calls handlers, without the mutex
    attend,  ///< makes workers and tells observers, without the mutex
    spin,    ///< looks at heads for a while, without the mutex
    rest,    ///< has nothing to do: spins, or sleeps and then says armed()
    idle,    ///< nothing is outstanding; it ends
    end,     ///< it ends: it sleeps, or the token is somebody else's
  };

  /// One turn as it runs on a thread, which alone uses this: how far it has come, and how long it goes on before the
  /// loop's other handlers get their turn.
  class run {
  public:
    explicit run(number its_number) noexcept : me(its_number) {}

    const number me;
    step next = step::round;
    time_point now{};       ///< of its last round
    bool left_some = false; ///< of what is to be delivered

    void delivered(std::size_t n) noexcept { delivered_ += n; }
    bool has_tasks_left() const noexcept { return delivered_ < tasks_per_turn; }
    /// After a round, of which the first sets the limit.
    bool has_time_left() noexcept {
      if (now >= end_) return false;
      if (end_ == time_point::max()) end_ = now + turn_limit;
      return true;
    }
    /// Before its n-th handler in a row: is it time to look at the clock?
    static constexpr bool looks_at_clock(std::size_t n) noexcept { return n % 32 == 8; }
    /// A round, though handlers are left.
    bool delivers_too_long(time_point at) const noexcept { return at - now > deliver_limit; }

  private:
    std::size_t delivered_ = 0;
    time_point end_ = time_point::max();
  };

  /// The most that a round drains.
  static constexpr std::size_t tasks_per_turn = 256;

  // ---- changes, by whoever makes them

  /// Before a change: is nobody there to see to it? Then post a turn and say posted(). Where that fails, nothing has
  /// changed.
  bool needs_post() const noexcept { return token_ == token::idle || token_ == token::owed; }
  COPROC_LAZY void posted() noexcept;

  enum class answer {
    nothing,
    guard,     ///< whoever holds the token may be in a handler that blocks
    set_timer, ///< the deadline of the wait may have changed
    interrupt, ///< end the wait: its handler runs the turn
  };
  /// After a change. `urgent`: a turn must see to it, even if no worker says anything.
  COPROC_LAZY answer changed(bool urgent) noexcept;

  /// The next round checks descriptors and deadlines.
  void check_soon() noexcept { check_at_ = {}; }

  // ---- a turn

  /// A turn begins, and holds the token from here on.
  number begin() noexcept { return add_one(); }
  bool is_held_by(number me) const noexcept { return holder_.load(std::memory_order_relaxed) == me; }

  /// The wait is over, for whatever reason.
  COPROC_LAZY void woken(time_point now) noexcept;

  /// In a round at `now` that has drained so much: is it time to check descriptors and deadlines? Results first:
  /// whoever waits for one needs not wait for the system calls of a check. But not for long.
  COPROC_LAZY bool check_is_due(time_point now, std::size_t moved) noexcept;

  struct findings {
    std::size_t moved = 0; ///< entries of rings
    std::size_t ended = 0; ///< tasks that are now to be delivered
    bool left_some = false;
    bool errands = false; ///< workers to be made, observers to be told
    bool busy = false;    ///< something is outstanding
  };
  /// What the holder does after a round.
  COPROC_LAZY step after_round(const findings& found) noexcept;

  /// It sleeps: the wait is pending.
  void armed() noexcept { token_ = token::armed; }
  /// The pool was stopped: no turn is needed any more.
  void stopped() noexcept { token_ = token::idle; }

  /// The holder ends, and the next turn is to be posted.
  void goes_on() noexcept { in_handler_ = false; } // one may have thrown
  void could_not_post() noexcept { token_ = token::owed; }

  /// The time of the last round.
  time_point last_time() const noexcept { return time_; }
  void set_time(time_point now) noexcept { time_ = now; }

  // ---- delivery

  struct claimed {
    task_record* task = nullptr; ///< null: none is left, or the token is somebody else's by now
    bool more = false;
  };

  /// By the holder, where nobody takes over.
  void add(task_list& ended) noexcept { list_.splice_back(ended); }

  /// The next task for turn `me` to complete. It counts as in a handler from here on, until after_round() or goes_on():
  /// being taken over does no harm there, either. Without the pool's mutex.
  COPROC_LAZY claimed claim(number me) noexcept;

  /// What is left goes before `ended`.
  COPROC_LAZY void abandon(task_list& ended) noexcept;

  // ---- its guard: a timer that looks in once a period

  /// Is the timer to be set, for guard_period? Then say guard_set().
  bool needs_guard() const noexcept { return !guarded_; }
  void guard_set() noexcept { guarded_ = true; }
  bool is_guarded() const noexcept { return guarded_; }

  enum class guard_answer {
    nothing,   ///< nobody is to be guarded
    guard,     ///< all goes well: set it again
    take_over, ///< the turn that it runs gets the token and all that is left; set it again, the next may block, too
  };
  /// The timer's handler runs; `whole_period`: it was not called off.
  COPROC_LAZY guard_answer guard_fired(bool whole_period) noexcept;

private:
  static constexpr std::chrono::microseconds turn_limit{20};
  static constexpr std::chrono::microseconds check_period{50};
  static constexpr std::chrono::microseconds deliver_limit{100};

  enum class token : std::uint8_t { idle, polling, owed, armed };

  number add_one() noexcept {
    const number next = holder_.load(std::memory_order_relaxed) + 1;
    holder_.store(next, std::memory_order_relaxed);
    return next;
  }

  COPROC_LAZY bool take_over_if_stuck(bool whole_period) noexcept;

  token token_ = token::idle;
  bool checked_ = false; // since the pool was idle
  bool guarded_ = false; // the timer has a handler
  time_point time_{}, check_at_{};

  // Written under the pool's mutex; where a turn loses the token, under the lock, too, so that it claims nothing any
  // more.
  std::atomic<number> holder_{0};
  os::spin_lock lock_; // may be locked while the pool's mutex is held; guards all below, but see add()
  task_list list_;
  std::uint64_t claims_ = 0, claims_at_last_period_ = 0;
  bool in_handler_ = false; // the holder is, or last was, calling one; cleared by the holder, under the pool's mutex
};

} // namespace coproc::detail::front

#include <coproc/front/turn.ipp>
