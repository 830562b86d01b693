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

template <class Block>
class basic_lent_block {
public:
  /// The first `bytes` of the block are what will be written.
  basic_lent_block(Block block, std::size_t bytes) noexcept : block_(std::move(block)) {
    block_.set_used(bytes);
  }

  basic_lent_block(const basic_lent_block&) = delete;
  basic_lent_block& operator=(const basic_lent_block&) = delete;

  ~basic_lent_block() {
    // A forked copy does not map the segment, and may find the segment pool locked for ever: leaked there on purpose.
    if (!process_.is_own()) static_cast<void>(new Block(std::move(block_)));
  }

  const Block& block() const noexcept { return block_; }
  std::byte* data() const noexcept { return block_.data(); }
  /// What a worker finds it by: its segment, and its place there.
  std::uint64_t place() const noexcept { return shm::packed_location{block_.owner().id(), block_.offset()}.pack(); }

private:
  Block block_;
  process_mark process_;
};

using lent_block = basic_lent_block<shm::argument_block>;

} // namespace coproc::pool
