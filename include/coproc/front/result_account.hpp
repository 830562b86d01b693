// SPDX-License-Identifier: BSL-1.0
// Which results of a worker's file may be overwritten. The worker reuses the file in the order in which it filled it,
// while the front end, with several threads, may be done with results in any order. Front end, any thread.
#pragma once

#include <cstdint>
#include <mutex>

namespace coproc::detail::front {

/// Counts in two groups: results of the older one are all done with before any of the newer one is given back. So
/// nothing is kept for each result, and nothing is allocated.
class result_account {
public:
  /// A result was drained, the next in the worker's order. Returns its group, for done().
  unsigned drained() noexcept {
    std::lock_guard lock(mutex_);
    ++drained_;
    ++open_[newer_];
    return newer_;
  }

  /// The front end is done with a result. Calls give_back(n) if the first n results are all done with, for a new n.
  template <class F>
  void done(unsigned group, F give_back) noexcept {
    std::lock_guard lock(mutex_);
    --open_[group];
    const unsigned older = 1 - newer_;
    if (open_[older] != 0) return;
    if (open_[newer_] == 0) return give_back(newer_begins_ = drained_);
    if (group == older) give_back(newer_begins_);
    newer_begins_ = drained_; // the newer group becomes the older one
    newer_ = older;
  }

private:
  std::mutex mutex_;
  std::uint64_t drained_ = 0, newer_begins_ = 0;
  std::uint64_t open_[2] = {0, 0};
  unsigned newer_ = 0;
};

} // namespace coproc::detail::front
