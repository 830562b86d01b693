// SPDX-License-Identifier: BSL-1.0
// The bodies of segment.hpp.
#pragma once

#include <algorithm>
#include <bit>
#include <cerrno>
#include <coproc/shm/segment.hpp>

namespace coproc::shm {

// ---- segment

COPROC_LAZY_DEF segment::segment(std::uint32_t id, std::uint64_t serial, std::size_t block_bytes, std::size_t blocks)
    : id_(id), serial_(serial), block_bytes_(block_bytes),
      memory_(os::make_shared_memory("coproc-arguments", block_bytes * blocks, os::access::read_write)), free_(blocks),
      touched_(blocks) {
  os::seal_for_readers(memory_.fd);
  memory_.map.keep_from_children();
  for (std::size_t i = 0; i != blocks; ++i) free_[i] = static_cast<std::uint32_t>(blocks - 1 - i); // 0 goes first
}

// ---- argument_block

COPROC_LAZY_DEF void argument_block::reset() noexcept {
  if (segment_ != nullptr) pool_->give_back(*segment_, index_, used_);
  segment_ = nullptr;
  pool_.reset();
}

// ---- segment_pool

COPROC_LAZY_DEF argument_block segment_pool::allocate(std::size_t bytes) {
  constexpr std::size_t least = 1024, largest = std::size_t{1} << 62;
  const std::size_t block_bytes = std::max(least, std::bit_ceil(std::min(bytes, largest)));
  std::lock_guard lock(mutex_);
  if (bytes <= largest)
    if (segment* s = with_room(block_bytes)) return take(*s);
  const std::uint64_t limit = os::file_size_limit(); // a system call: not for blocks that are there
  if (bytes > std::min<std::uint64_t>(limit, largest))
    os::throw_errno("an argument segment larger than any file", EFBIG);
  if (block_bytes <= limit) return take(add(block_bytes));
  // Close to the limit the exact size may fit where the rounded one does not.
  const std::size_t exact_bytes = (bytes + 4095) / 4096 * 4096;
  if (segment* s = with_room(exact_bytes)) return take(*s);
  return take(add(exact_bytes));
}

COPROC_LAZY_DEF std::vector<std::uint64_t> segment_pool::take_dropped() {
  if (!dropped_any_.load(std::memory_order_relaxed)) return {};
  std::lock_guard lock(mutex_);
  std::vector<std::uint64_t> taken(dropped_); // not moved from: it keeps its room
  dropped_.clear();
  dropped_any_.store(false, std::memory_order_relaxed);
  return taken;
}

COPROC_LAZY_DEF segment* segment_pool::with_room(std::size_t block_bytes) noexcept {
  for (auto it = segments_.rbegin(); it != segments_.rend(); ++it)
    if ((*it)->block_bytes_ == block_bytes && !(*it)->free_.empty()) return it->get();
  return nullptr;
}

COPROC_LAZY_DEF std::size_t segment_pool::blocks_for(std::size_t block_bytes) noexcept {
  const std::size_t wanted = std::clamp<std::size_t>(block_bytes * 16, std::size_t{1} << 20, std::size_t{64} << 20);
  const std::size_t allowed = std::min<std::uint64_t>(wanted, os::file_size_limit());
  return std::max<std::size_t>(1, allowed / block_bytes);
}

COPROC_LAZY_DEF argument_block segment_pool::take(segment& s) noexcept {
  const std::uint32_t index = s.free_.back();
  s.free_.pop_back();
  return argument_block(shared_from_this(), &s, index);
}

// Makes room first for all that give_back() will write down, which must not fail.
COPROC_LAZY_DEF segment& segment_pool::add(std::size_t block_bytes) {
  const bool used_before = !free_ids_.empty();
  if (!used_before && ids_given_ == max_segments_)
    os::throw_errno("as many argument segments at once as there are ids for them", EOVERFLOW);
  const std::uint32_t id = used_before ? free_ids_.back() : ids_given_ + 1;
  free_ids_.reserve(std::bit_ceil(std::size_t{ids_given_} + 1));
  dropped_.reserve(std::bit_ceil(dropped_.size() + segments_.size() + 1));
  segments_.push_back(std::make_unique<segment>(id, last_serial_ + 1, block_bytes, blocks_for(block_bytes)));
  ++last_serial_;
  if (used_before)
    free_ids_.pop_back();
  else
    ids_given_ = id;
  return *segments_.back();
}

COPROC_LAZY_DEF void segment_pool::give_back(segment& s, std::uint32_t index, std::size_t used) noexcept {
  std::unique_ptr<segment> doomed; // unmapped after the lock is gone
  {
    std::lock_guard lock(mutex_);
    if (used > s.touched_[index]) {
      s.touched_bytes_ += used - s.touched_[index];
      s.touched_[index] = used;
    }
    s.free_.push_back(index);
    if (!s.wholly_free()) return;
    s.freed_at_ = ++wholly_freed_;
    for (auto idle = idle_besides(s); idle.bytes_besides_largest > warm_bytes_; idle = idle_besides(s)) {
      const auto it = segments_.begin() + static_cast<std::ptrdiff_t>(idle.oldest);
      free_ids_.push_back((*it)->id_);
      dropped_.push_back((*it)->serial_);
      dropped_any_.store(true, std::memory_order_relaxed);
      (*it)->next_ = std::move(doomed);
      doomed = std::move(*it);
      segments_.erase(it);
    }
  }
  while (doomed) doomed = std::move(doomed->next_);
}

// There is an oldest one where `bytes_besides_largest` is not 0: two of them have bytes then.
COPROC_LAZY_DEF auto segment_pool::idle_besides(const segment& last_used) const noexcept -> idle_segments {
  idle_segments idle;
  std::size_t bytes = 0, largest = 0;
  std::uint64_t oldest_at = last_used.freed_at_;
  for (std::size_t i = 0; i != segments_.size(); ++i) {
    const segment& s = *segments_[i];
    if (!s.wholly_free()) continue;
    bytes += s.touched_bytes_;
    largest = std::max(largest, s.touched_bytes_);
    if (s.freed_at_ < oldest_at) {
      oldest_at = s.freed_at_;
      idle.oldest = i;
    }
  }
  idle.bytes_besides_largest = bytes - largest;
  return idle;
}

} // namespace coproc::shm
