// SPDX-License-Identifier: BSL-1.0
// A block of argument memory that belongs to no task: the program fills it, and lends it to any number of tasks. Given
// back, warm, when the last handle and the last task have let go of it. Front end, any thread.
#pragma once

#include <coproc/pool/fork_generation.hpp>
#include <coproc/shm/segment.hpp>
#include <coproc/shm/slot.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace coproc::pool {

class lent_block {
public:
  /// The first `bytes` of the block are what will be written.
  lent_block(shm::argument_block block, std::size_t bytes) noexcept : block_(std::move(block)) {
    block_.set_used(bytes);
  }

  lent_block(const lent_block&) = delete;
  lent_block& operator=(const lent_block&) = delete;

  ~lent_block() {
    // A forked copy does not map the segment, and may find the segment pool locked for ever: leaked there on purpose.
    if (!process_.is_own()) static_cast<void>(new shm::argument_block(std::move(block_)));
  }

  const shm::argument_block& block() const noexcept { return block_; }
  std::byte* data() const noexcept { return block_.data(); }
  /// What a worker finds it by: its segment, and its place there.
  std::uint64_t place() const noexcept { return shm::packed_location{block_.owner().id(), block_.offset()}.pack(); }

private:
  shm::argument_block block_;
  process_mark process_;
};

} // namespace coproc::pool
