// SPDX-License-Identifier: BSL-1.0
// When to look first at a word that the other side is about to write. A look that comes too early takes the cache line
// away from the writer, who then has to fetch it back, which a short round trip feels. So the first look is put off, by
// about as long as the other side was found to take. Worker and front end; private state, no clock.
#pragma once

#include <algorithm>
#include <chrono>

namespace coproc::os {

class first_look {
public:
  /// How far a look may be put off, and so how late an answer may be seen: about what either side takes for its part of
  /// the round trip of an empty task.
  static constexpr std::chrono::nanoseconds at_most{100};

  /// How far it is put off now; 0: not at all.
  std::chrono::nanoseconds delay() const noexcept { return delay_; }

  /// Nothing was there yet, but soon after. (Where nothing comes for long, the delay is left as it is: it tells
  /// nothing.)
  void came_early() noexcept {
    delay_ = std::min(delay_ + step_back, at_most);
    step_ = first_step;
  }

  /// Something was there, nobody knows since when. Steps double while that is so, for where there is always something,
  /// waiting is a loss; that one look in five or so comes early keeps the delay where it should be.
  void came_in_time() noexcept {
    if (delay_.count() == 0) return;
    delay_ = std::max(delay_ - step_, std::chrono::nanoseconds(0));
    step_ *= 2;
  }

private:
  static constexpr std::chrono::nanoseconds step_back{16}, first_step{1};

  std::chrono::nanoseconds delay_{0}, step_ = first_step;
};

} // namespace coproc::os
