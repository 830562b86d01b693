// SPDX-License-Identifier: BSL-1.0
// Which worker gets the next task, and whether that is worth waking one. Looks, and changes nothing. Front end, under
// the pool's mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/fleet.hpp>
#include <coproc/front/ledger.hpp>
#include <coproc/front/pace.hpp>
#include <coproc/front/wakeups.hpp>

#include <algorithm>
#include <cstddef>
#include <tuple>

namespace coproc::detail::front {

/// Join the bounded shortest queue, among those that are at it. docs/design/009.
class worker_choice {
public:
  /// So many of the next tasks go to this worker, if nothing but that happens meanwhile.
  struct answer {
    front::worker* worker = nullptr;
    std::size_t more = 0;
    bool none = false; ///< nobody has room
  };

  worker_choice(const fleet& workers, const ledger& books, const wakeups& waking, const pace& speed) noexcept
      : fleet_(workers), ledger_(books), waking_(waking), pace_(speed) {}

  COPROC_LAZY bool has_room(const worker& w) const noexcept;

  // Nobody is woken while one that is awake will sooner be through with all that it has, nor for short tasks while
  // workers that go on keep all CPUs busy. What waits meanwhile, others get should nobody go on: see
  // balance::take_back().
  COPROC_LAZY answer choose(time_point now) const noexcept;

private:
  static answer one(worker* w) noexcept { return {w, w != nullptr, w == nullptr}; }

  // How many it takes before another one has fewer, or a sleeping one would be through with the next as soon as it. At
  // least 1.

  COPROC_LAZY std::size_t room(const worker& w, std::size_t next_shortest) const noexcept;

  // The shortest ring with room; among equals one that is initialized, then awake, then the one that was active last.
  COPROC_LAZY worker* any() const noexcept;

  static bool is_awake(const worker& w) noexcept { return w.load() != 0 || !w.looks_asleep(); }

  // Is it at its tasks? That it is only just being woken is no reason to wake another.
  COPROC_LAZY static bool goes_on(const worker& w, time_point now) noexcept;

  const fleet& fleet_;
  const ledger& ledger_;
  const wakeups& waking_;
  const pace& pace_;
};

} // namespace coproc::detail::front

#include <coproc/front/worker_choice.ipp>
