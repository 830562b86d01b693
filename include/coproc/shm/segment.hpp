// SPDX-License-Identifier: BSL-1.0
// Memory for arguments that do not fit into a slot. The front end is the only allocator and the only writer: a segment
// is a sparse memfd made after the fork server, mapped here, then sealed against every other writer. A worker maps it
// read-only, once; sent_segments.hpp says which ones it maps.
//
// A segment is cut into blocks of one power-of-two size. Being sparse, a block costs only the pages that were ever
// touched, so rounding up is free. Blocks are reused last in, first out, so they are usually warm. Any front-end
// thread; one mutex, taken only by payloads that are larger than a slot.
#pragma once

#include <coproc/config.hpp>
#include <coproc/os/memfd.hpp>
#include <coproc/shm/slot.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace coproc::shm {

class segment_pool;

class segment {
public:
  /// Throws pool_error with the system's code.
  COPROC_LAZY segment(std::uint32_t id, std::uint64_t serial, std::size_t block_bytes, std::size_t blocks);

  /// What tasks and workers call it by. The id of a segment that was dropped is given to another one.
  std::uint32_t id() const noexcept { return id_; }
  /// Which segment of its pool this is. No other one ever has this number.
  std::uint64_t serial() const noexcept { return serial_; }
  int fd() const noexcept { return memory_.fd.get(); }
  std::size_t bytes() const noexcept { return memory_.map.size(); }

private:
  friend class segment_pool;
  friend class argument_block;

  bool wholly_free() const noexcept { return free_.size() == touched_.size(); }

  std::uint32_t id_;
  std::uint64_t serial_;
  std::size_t block_bytes_;
  os::shared_memory memory_;
  std::vector<std::uint32_t> free_;  // last in, first out
  std::vector<std::size_t> touched_; // per block: bytes that cost memory
  std::size_t touched_bytes_ = 0;
  std::uint64_t freed_at_ = 0;    // when it became wholly free, in returns of that kind
  std::unique_ptr<segment> next_; // in a list of dropped ones
};

/// A block on loan from a segment_pool; what a task's large arguments live in. Given back by its destructor.
class argument_block {
public:
  argument_block() = default;
  argument_block(argument_block&& o) noexcept
      : pool_(std::move(o.pool_)), segment_(std::exchange(o.segment_, nullptr)), index_(o.index_), used_(o.used_) {}
  argument_block& operator=(argument_block&& o) noexcept {
    if (this != &o) {
      reset();
      pool_ = std::move(o.pool_);
      segment_ = std::exchange(o.segment_, nullptr);
      index_ = o.index_;
      used_ = o.used_;
    }
    return *this;
  }
  ~argument_block() { reset(); }

  explicit operator bool() const noexcept { return segment_ != nullptr; }
  const segment_pool* pool() const noexcept { return pool_.get(); }
  const segment& owner() const noexcept { return *segment_; }
  std::byte* data() const noexcept { return segment_->memory_.map.data() + offset(); }
  std::size_t capacity() const noexcept { return segment_->block_bytes_; }
  std::size_t offset() const noexcept { return index_ * segment_->block_bytes_; }
  /// How far the block was written: decides how much memory it is taken to cost.
  void set_used(std::size_t bytes) noexcept { used_ = bytes; }

  COPROC_LAZY void reset() noexcept;

private:
  friend class segment_pool;

  argument_block(std::shared_ptr<segment_pool> pool, segment* s, std::uint32_t index) noexcept
      : pool_(std::move(pool)), segment_(s), index_(index) {}

  std::shared_ptr<segment_pool> pool_;
  segment* segment_ = nullptr;
  std::uint32_t index_ = 0;
  std::size_t used_ = 0;
};

class segment_pool : public std::enable_shared_from_this<segment_pool> {
public:
  static constexpr std::size_t default_warm_bytes = std::size_t{256} << 20;

  /// `warm_bytes`: touched memory that wholly free segments may keep besides the largest of them. Beyond that, those
  /// that have been free for longest are given back to the system; the one used last stays, whatever its size.
  /// `max_segments`: how many there may be at once. Their ids are 1 to `max_segments`; 0 means inline.
  explicit segment_pool(std::size_t warm_bytes = default_warm_bytes,
                        std::uint32_t max_segments = packed_location::max_tag) noexcept
      : warm_bytes_(warm_bytes), max_segments_(max_segments) {}

  /// A block of at least `bytes`. Throws pool_error: EMFILE, ENOMEM, EFBIG; EOVERFLOW where all ids are in use.
  COPROC_LAZY argument_block allocate(std::size_t bytes);

  /// The serial numbers of the segments that were given back to the system since the last call: workers that map them
  /// should unmap. Throws std::bad_alloc; the next call has the same ones then, and more.
  COPROC_LAZY std::vector<std::uint64_t> take_dropped();

private:
  friend class argument_block;

  struct idle_segments {
    std::size_t bytes_besides_largest = 0;
    std::size_t oldest = 0; // its place in segments_
  };

  COPROC_LAZY static std::size_t blocks_for(std::size_t block_bytes) noexcept;
  COPROC_LAZY argument_block take(segment& s) noexcept;
  COPROC_LAZY void give_back(segment& s, std::uint32_t index, std::size_t used) noexcept;
  COPROC_LAZY segment* with_room(std::size_t block_bytes) noexcept;
  COPROC_LAZY segment& add(std::size_t block_bytes);
  COPROC_LAZY idle_segments idle_besides(const segment& last_used) const noexcept;

  mutable std::mutex mutex_;
  const std::size_t warm_bytes_;
  const std::uint32_t max_segments_;
  std::vector<std::unique_ptr<segment>> segments_;
  std::uint32_t ids_given_ = 0;         // 1 to this one are in use, or in free_ids_
  std::vector<std::uint32_t> free_ids_; // has room for all that were given
  std::uint64_t last_serial_ = 0;
  std::uint64_t wholly_freed_ = 0;     // how often a segment became so
  std::vector<std::uint64_t> dropped_; // has room for all segments_ besides
  std::atomic<bool> dropped_any_{false};
};

} // namespace coproc::shm

#include <coproc/shm/segment.ipp>
