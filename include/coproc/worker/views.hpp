// SPDX-License-Identifier: BSL-1.0
// The worker's side of views: where result_array gets its memory, and what tells the result's writer that an array need
// not be copied. Runs in the worker.
#pragma once

#include <coproc/config.hpp>
#include <coproc/os/fork_generation.hpp>
#include <coproc/shm/view_arena.hpp>
#include <coproc/worker/context.hpp>

namespace coproc::detail::worker {

COPROC_LAZY_CLASS class view_lender final : public result_memory {
public:
  /// What copies faster than it is lent.
  static constexpr std::size_t least_bytes = 4096;

  explicit view_lender(shm::view_arena& arena) noexcept : arena_(arena) {}

  std::byte* allocate(std::size_t bytes, std::size_t alignment) override {
    return bytes < least_bytes || is_copy() ? nullptr : arena_.allocate(bytes, alignment);
  }
  void drop(const std::byte* p) noexcept override {
    if (!is_copy()) arena_.drop(p);
  }

  std::optional<std::uint64_t> lend(const void* at, std::size_t bytes) override {
    if (is_copy()) return {};
    return arena_.lend(static_cast<const std::byte*>(at), bytes);
  }

  bool has_open_loan() const noexcept override { return arena_.has_open_loan(); }
  std::size_t open_bytes() const noexcept override { return arena_.open_bytes(); }
  unsigned close_loan() noexcept override { return arena_.close_loan(); }
  void cancel_loan() noexcept override { arena_.cancel_loan(); }

  void trim(std::size_t most, std::size_t taken) noexcept override { arena_.trim(most - std::min(most, taken)); }

private:
  // A child that a task forked shares the arena's memory, but not its books.
  bool is_copy() const noexcept { return !process_.is_own(); }

  shm::view_arena& arena_;
  os::process_mark process_;
};

} // namespace coproc::detail::worker
