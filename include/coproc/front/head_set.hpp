// SPDX-License-Identifier: BSL-1.0
// The heads of a few rings, for the drainer to spin on. Front end; the holder of the drainer token.
#pragma once

#include <coproc/shm/slot.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace coproc::detail::front {

/// The heads of up to eight rings, to be looked at without the mutex.
class head_set {
public:
  void clear() noexcept { count_ = 0; }
  void add(const shm::slot& s, std::uint64_t done_word) noexcept {
    if (count_ < list_.size()) list_[count_++] = {&s, done_word};
  }
  bool any_done() const noexcept {
    for (std::size_t i = 0; i < count_; ++i)
      if (shm::load_state(*list_[i].slot) == list_[i].done_word) return true;
    return false;
  }

private:
  struct head {
    const shm::slot* slot;
    std::uint64_t done_word;
  };
  std::array<head, 8> list_;
  std::size_t count_ = 0;
};

} // namespace coproc::detail::front
