// SPDX-License-Identifier: BSL-1.0
// Memory for arguments that do not fit into a slot. The front end is the only allocator and the only writer: a segment is a
// sparse memfd made after the fork server, mapped here, then sealed against every other writer; workers map it read-only, once.
//
// A segment is cut into blocks of one power-of-two size. Being sparse, a block costs only the pages that were ever
// touched, so rounding up is free; being reused last in, first out, it is usually warm. Any front-end thread; one mutex,
// taken only by payloads that are larger than a slot.
#pragma once

#include <coproc/os/memfd.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <memory>
#include <mutex>
#include <vector>

namespace coproc::shm {

template <class Segment>
class basic_segment_pool;
template <class Segment>
class basic_argument_block;

class segment {
public:
  /// Throws pool_error with the system's code.
  segment(std::uint32_t id, std::size_t block_bytes, std::size_t blocks)
      : id_(id), block_bytes_(block_bytes), fd_(os::make_memfd("coproc-arguments", block_bytes * blocks)),
        map_(fd_.get(), block_bytes * blocks, os::access::read_write), free_(blocks), touched_(blocks) {
    os::seal_for_readers(fd_);
    map_.keep_from_children();
    for (std::size_t i = 0; i != blocks; ++i) free_[i] = static_cast<std::uint32_t>(blocks - 1 - i); // 0 goes first
  }

  std::uint32_t id() const noexcept { return id_; }
  int fd() const noexcept { return fd_.get(); }
  std::size_t bytes() const noexcept { return map_.size(); }
  std::size_t block_bytes() const noexcept { return block_bytes_; }

private:
  friend class basic_segment_pool<segment>;
  friend class basic_argument_block<segment>;

  std::uint32_t id_;
  std::size_t block_bytes_;
  os::unique_fd fd_;
  os::mapping map_;
  std::vector<std::uint32_t> free_;   // last in, first out
  std::vector<std::size_t> touched_;  // per block: bytes that cost memory
  std::size_t touched_bytes_ = 0;
};

/// A template, as basic_argument_block, so that a file that makes no pool does not compile it.
template <class Segment>
class basic_segment_pool : public std::enable_shared_from_this<basic_segment_pool<Segment>> {
public:
  using block = basic_argument_block<Segment>;

  /// `warm_bytes`: how much touched memory wholly free segments may keep before they are given back to the system.
  explicit basic_segment_pool(std::size_t warm_bytes = std::size_t{256} << 20) : warm_bytes_(warm_bytes) {}

  /// A block of at least `bytes`; throws pool_error (EMFILE, ENOMEM, EFBIG ...).
  block allocate(std::size_t bytes);

  /// Segments given back since the last call: workers that map them should unmap.
  std::vector<std::uint32_t> take_dropped() {
    std::lock_guard lock(mutex_);
    return std::exchange(dropped_, {});
  }

  bool has_dropped() const noexcept { return dropped_any_.load(std::memory_order_relaxed); }
  std::size_t segment_count() const {
    std::lock_guard lock(mutex_);
    return segments_.size();
  }

private:
  friend block;

  static constexpr std::size_t min_block = 1024;

  static std::size_t blocks_for(std::size_t block_bytes) noexcept {
    const std::size_t wanted = std::clamp<std::size_t>(block_bytes * 16, std::size_t{1} << 20, std::size_t{64} << 20);
    const std::size_t allowed = std::min<std::uint64_t>(wanted, os::file_size_limit());
    return std::max<std::size_t>(1, allowed / block_bytes);
  }

  Segment* with_room(std::size_t block_bytes) noexcept;
  block take(Segment& s) noexcept;

  void give_back(Segment& s, std::uint32_t index, std::size_t used) noexcept {
    std::unique_ptr<Segment> doomed; // unmapped after the lock is gone
    std::lock_guard lock(mutex_);
    if (used > s.touched_[index]) {
      s.touched_bytes_ += used - s.touched_[index];
      s.touched_[index] = used;
    }
    s.free_.push_back(index);
    if (s.free_.size() < s.touched_.size()) return;
    std::size_t idle_bytes = 0;
    for (const auto& each : segments_)
      if (each->free_.size() == each->touched_.size()) idle_bytes += each->touched_bytes_;
    if (idle_bytes <= warm_bytes_) return;
    const auto it = std::find_if(segments_.begin(), segments_.end(), [&](const auto& p) { return p.get() == &s; });
    dropped_.push_back(s.id_);
    dropped_any_.store(true, std::memory_order_relaxed);
    doomed = std::move(*it);
    segments_.erase(it);
  }

  mutable std::mutex mutex_;
  std::size_t warm_bytes_;
  std::uint32_t next_id_ = 1; // 0 means inline
  std::vector<std::unique_ptr<Segment>> segments_;
  std::vector<std::uint32_t> dropped_;
  std::atomic<bool> dropped_any_{false};
};

/// A block on loan from a segment_pool; what a task's large arguments live in. Given back by its destructor.
template <class Segment>
class basic_argument_block {
public:
  basic_argument_block() = default;
  basic_argument_block(basic_argument_block&& o) noexcept
      : pool_(std::move(o.pool_)), segment_(std::exchange(o.segment_, nullptr)), index_(o.index_), used_(o.used_) {}
  basic_argument_block& operator=(basic_argument_block&& o) noexcept {
    if (this != &o) {
      reset();
      pool_ = std::move(o.pool_);
      segment_ = std::exchange(o.segment_, nullptr);
      index_ = o.index_;
      used_ = o.used_;
    }
    return *this;
  }
  ~basic_argument_block() { reset(); }

  explicit operator bool() const noexcept { return segment_ != nullptr; }
  const basic_segment_pool<Segment>* pool() const noexcept { return pool_.get(); }
  const Segment& owner() const noexcept { return *segment_; }
  std::byte* data() const noexcept { return segment_->map_.data() + offset(); }
  std::size_t capacity() const noexcept { return segment_->block_bytes_; }
  std::size_t offset() const noexcept { return index_ * segment_->block_bytes_; }
  /// How far the block was written: decides how much memory it is taken to cost.
  void set_used(std::size_t bytes) noexcept { used_ = bytes; }

  void reset() noexcept {
    if (segment_ != nullptr) pool_->give_back(*segment_, index_, used_);
    segment_ = nullptr;
    pool_.reset();
  }

private:
  using segment_pool = basic_segment_pool<Segment>;
  friend segment_pool;

  basic_argument_block(std::shared_ptr<segment_pool> pool, Segment* s, std::uint32_t index) noexcept
      : pool_(std::move(pool)), segment_(s), index_(index) {}

  std::shared_ptr<segment_pool> pool_;
  Segment* segment_ = nullptr;
  std::uint32_t index_ = 0;
  std::size_t used_ = 0;
};

template <class Segment>
basic_argument_block<Segment> basic_segment_pool<Segment>::allocate(std::size_t bytes) {
  constexpr std::size_t largest = std::size_t{1} << 62;
  const std::size_t block_bytes = std::max(min_block, std::bit_ceil(std::min(bytes, largest)));
  std::lock_guard lock(mutex_);
  if (bytes <= largest)
    if (Segment* s = with_room(block_bytes)) return take(*s);
  const std::uint64_t limit = os::file_size_limit(); // a system call: not for blocks that are there
  if (bytes > std::min<std::uint64_t>(limit, largest)) os::throw_errno("an argument segment larger than any file", EFBIG);
  // Close to the limit the exact size may fit where the rounded one does not.
  const std::size_t exact_bytes = (bytes + 4095) / 4096 * 4096;
  const bool rounded_fits = block_bytes <= limit;
  if (!rounded_fits)
    if (Segment* s = with_room(exact_bytes)) return take(*s);
  if (next_id_ > 0xfffff) os::throw_errno("a million argument segments in the life of one pool", EOVERFLOW);
  const std::size_t size = rounded_fits ? block_bytes : exact_bytes;
  segments_.push_back(std::make_unique<Segment>(next_id_, size, blocks_for(size)));
  ++next_id_;
  return take(*segments_.back());
}

template <class Segment>
Segment* basic_segment_pool<Segment>::with_room(std::size_t block_bytes) noexcept {
  for (auto it = segments_.rbegin(); it != segments_.rend(); ++it)
    if ((*it)->block_bytes_ == block_bytes && !(*it)->free_.empty()) return it->get();
  return nullptr;
}

template <class Segment>
basic_argument_block<Segment> basic_segment_pool<Segment>::take(Segment& s) noexcept {
  const std::uint32_t index = s.free_.back();
  s.free_.pop_back();
  return block(this->shared_from_this(), &s, index);
}

using segment_pool = basic_segment_pool<segment>;
using argument_block = basic_argument_block<segment>;

} // namespace coproc::shm
