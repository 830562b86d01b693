// SPDX-License-Identifier: BSL-1.0
// The worker's side of views: where result_array gets its memory, and what tells the result's writer that an array need not be
// copied. Runs in the worker.
#pragma once

#include <coproc/pool/fork_generation.hpp>
#include <coproc/shm/view_arena.hpp>

namespace coproc::pool {

template <class Arena>
class basic_view_lender {
public:
  /// What copies faster than it is lent.
  static constexpr std::size_t least_bytes = 4096;

  explicit basic_view_lender(Arena& arena) noexcept : arena_(arena) {}

  /// Null: no room, or not worth it.
  std::byte* allocate(std::size_t bytes, std::size_t alignment) {
    return bytes < least_bytes || is_copy() ? nullptr : arena_.allocate(bytes, alignment);
  }
  void drop(const std::byte* p) noexcept {
    if (!is_copy()) arena_.drop(p);
  }

  std::optional<std::uint64_t> lend(const void* at, std::size_t bytes) {
    if (is_copy()) return {};
    return arena_.lend(static_cast<const std::byte*>(at), bytes);
  }

  bool has_open_loan() const noexcept { return arena_.has_open_loan(); }
  std::size_t open_bytes() const noexcept { return arena_.open_bytes(); }
  unsigned close_loan() noexcept { return arena_.close_loan(); }
  void cancel_loan() noexcept { arena_.cancel_loan(); }

  /// `most`: what a worker keeps, of which its results have `taken`.
  void trim(std::size_t most, std::size_t taken) noexcept { arena_.trim(most - std::min(most, taken)); }

private:
  // A child that a task forked shares the arena's memory, but not its books.
  bool is_copy() const noexcept { return !process_.is_own(); }

  Arena& arena_;
  process_mark process_;
};

class view_lender final : public basic_view_lender<shm::view_arena> {
public:
  using basic_view_lender::basic_view_lender;
};

} // namespace coproc::pool
