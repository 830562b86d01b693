// SPDX-License-Identifier: BSL-1.0
// Memory for results that do not fit into a slot: a sparse sealed memfd per incarnation, written by the worker, mapped
// read-only by the front end, used as a byte ring. The worker encodes once, at its head, and publishes offset and
// length with DONE; the front end frees in drain order by counting. No allocator, no sizing pass, no handshake. (Behind
// the ring lies the memory of view_arena.hpp.)
//
// This is the worker's half; the front end's is a mapping, a bounds check and a counter. One thread: the worker's.
#pragma once

#include <coproc/os/memfd.hpp>
#include <coproc/shm/mailbox.hpp>

#include <cstring>
#include <deque>

namespace coproc::shm {

template <class Word>
class basic_result_space {
public:
  static constexpr std::size_t alignment = 64;
  /// Kept touched while nothing is live: a result of 64 MiB with its length before it, and some.
  static constexpr std::size_t warm_bytes = std::size_t{80} << 20;

  /// Borrows the mapping; `freed` is the front end's count of results given back.
  basic_result_space(std::byte* base, std::size_t bytes, const Word& freed) noexcept
      : base_(base), bytes_(bytes), freed_(&freed) {}

  /// The result that is being written: [begin(), begin() + capacity()).
  std::byte* begin() const noexcept { return base_ + begin_; }
  std::size_t capacity() const noexcept { return capacity_; }
  std::size_t offset() const noexcept { return begin_; }

  /// Opens a new result at the head; capacity may be anything, 0 included.
  void open() noexcept {
    collect();
    begin_ = live_.empty() ? 0 : live_.back().end;
    capacity_ = room_at(begin_);
  }

  /// Makes the open result, of which `written` bytes exist, at least `wanted` long; moves them if it must. Calls
  /// `wait()` until earlier results are freed. False: it can never fit.
  template <class Wait>
  bool grow(std::size_t written, std::size_t wanted, Wait wait) {
    if (wanted > bytes_) return false;
    for (;;) {
      const std::uint64_t seen = freed_->load(std::memory_order_acquire);
      collect();
      const std::size_t head = live_.empty() ? 0 : live_.back().end;
      // At its place, at the head (which may have fallen back to 0), or, once around, at 0.
      for (const std::size_t place : {begin_, head, std::size_t{0}}) {
        if (room_at(place) < wanted) continue;
        std::memmove(base_ + place, base_ + begin_, written);
        begin_ = place;
        capacity_ = room_at(place);
        return true;
      }
      wait(seen);
    }
  }

  /// Closes the open result: it belongs to the front end until freed.
  void close(std::size_t written) {
    const std::size_t end =
        std::min(bytes_, (begin_ + std::max<std::size_t>(written, 1) + alignment - 1) / alignment * alignment);
    live_.push_back({begin_, end});
    high_water_ = std::max(high_water_, end);
  }

  /// Gives memory back to the system when nothing is live and much was touched. Before sleeping.
  void trim() noexcept {
    collect();
    if (!live_.empty() || high_water_ <= warm_bytes) return;
    os::punch_hole(base_, bytes_);
    high_water_ = 0;
  }

  /// How far the file has memory.
  std::size_t touched() const noexcept { return high_water_; }

private:
  struct region {
    std::size_t begin, end;
  };

  void collect() noexcept {
    // Acquire: the front end has read a result before it counts it as freed.
    for (const std::uint64_t freed = freed_->load(std::memory_order_acquire); collected_ < freed && !live_.empty();
         ++collected_)
      live_.pop_front();
  }

  // Contiguous bytes from `place` that no live result occupies; 0 where `place` itself is taken.
  std::size_t room_at(std::size_t place) const noexcept {
    if (live_.empty()) return place <= bytes_ ? bytes_ - place : 0;
    const std::size_t tail = live_.front().begin, head = live_.back().end;
    const bool wrapped = live_.back().begin < tail;
    if (wrapped) return place >= head && place < tail ? tail - place : 0;
    if (place >= head) return bytes_ - place;
    return place < tail ? tail - place : 0;
  }

  std::byte* base_;
  std::size_t bytes_;
  const Word* freed_;
  std::uint64_t collected_ = 0;
  std::deque<region> live_; // oldest first
  std::size_t begin_ = 0, capacity_ = 0, high_water_ = 0;
};

using result_space = basic_result_space<word>;

} // namespace coproc::shm
