// SPDX-License-Identifier: BSL-1.0
// Workers to be woken once the pool's mutex is released, so that system calls do not prolong it. Front end.
#pragma once

#include <coproc/front/worker.hpp>

#include <array>
#include <memory>

namespace coproc::detail::front {

/// Wakes them when it is destroyed. futex_wake needs the memory, so it is held.
class wake_list {
public:
  wake_list() noexcept {} // nothing is constructed: most are empty
  wake_list(const wake_list&) = delete;
  wake_list& operator=(const wake_list&) = delete;
  ~wake_list() {
    for (std::size_t i = 0; i < count_; ++i) {
      shm::waker::wake(list_[i]->mailbox());
      std::destroy_at(&list_[i]);
    }
  }

  void add(worker& w) {
    if (count_ == list_.size())
      shm::waker::wake(w.mailbox());
    else
      std::construct_at(&list_[count_++], w.memory);
  }

private:
  union {
    std::array<std::shared_ptr<worker_memory>, 8> list_;
  };
  std::size_t count_ = 0;
};

} // namespace coproc::detail::front
