// SPDX-License-Identifier: BSL-1.0
// Memory for results that the front end views where the worker made them: the part of the result file behind the ring.
// The worker alone allocates; the front end says which loans are over, and that is all it says. Nobody ever waits.
//
// A loan is what one result lends: any number of arrays. It ends when the front end is done with all of them. Arrays
// are counted, by their object in the worker and by each loan they are part of, so one may be lent again and again.
#pragma once

#include <coproc/os/memfd.hpp>
#include <coproc/shm/mailbox.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace coproc::shm {

/// \par Threads  allocate() and drop(): any thread of the worker. The rest: the thread that runs tasks.
template <class Flags>
class basic_view_arena {
public:
  static constexpr std::size_t max_regions = 1024, alignment = 64;

  /// Borrows the mapping of [file_offset, file_offset + bytes) of the result file, and the front end's word on loans.
  basic_view_arena(std::byte* base, std::size_t bytes, std::uint64_t file_offset, const Flags& returned) noexcept
      : base_(base), bytes_(bytes), file_offset_(file_offset), returned_(returned) {}

  basic_view_arena(const basic_view_arena&) = delete;
  basic_view_arena& operator=(const basic_view_arena&) = delete;

  /// Memory for a new array of at least one byte, at the lowest free place, where memory is most likely warm. Null: no
  /// room.
  std::byte* allocate(std::size_t bytes, std::size_t align = alignment) {
    if (bytes > bytes_ || align > page) return nullptr;
    std::lock_guard lock(mutex_);
    collect();
    if (regions_.size() == max_regions) return nullptr;
    align = std::max(align, alignment);
    std::size_t at = 0;
    for (auto r = regions_.begin();; ++r) {
      const std::size_t end = r == regions_.end() ? bytes_ : r->begin;
      at = (at + align - 1) / align * align;
      if (at <= end && end - at >= bytes) {
        regions_.insert(r, {at, at + bytes, 1});
        high_water_ = std::max(high_water_, at + bytes);
        return base_ + at;
      }
      if (r == regions_.end()) return nullptr;
      at = r->end;
    }
  }

  /// The array that allocate() returned has no object in the worker any more.
  void drop(const std::byte* p) noexcept {
    std::lock_guard lock(mutex_);
    release(static_cast<std::size_t>(p - base_));
  }

  /// Makes bytes of an array part of the open loan, which it opens if there is none. Returns their place in the result
  /// file; empty: they are no part of an array here, or there is no loan to be had.
  std::optional<std::uint64_t> lend(const std::byte* p, std::size_t bytes) {
    const auto address = reinterpret_cast<std::uintptr_t>(p), base = reinterpret_cast<std::uintptr_t>(base_);
    if (address < base || address - base >= bytes_) return {};
    const std::size_t at = address - base;
    std::lock_guard lock(mutex_);
    if (!has_open_loan() && ~lent_ == 0) collect(); // not earlier: the front end has just written there
    const auto next = std::upper_bound(regions_.begin(), regions_.end(), at,
                                       [](std::size_t place, const region& r) { return place < r.begin; });
    if (next == regions_.begin()) return {};
    region& r = *std::prev(next);
    if (at > r.end || bytes > r.end - at) return {};
    if (!has_open_loan()) {
      if (~lent_ == 0) return {};
      open_ = static_cast<unsigned>(std::countr_one(lent_));
      open_bytes_ = 0;
      lent_ |= std::uint64_t{1} << open_;
      after_[open_] ^= 1;
    }
    loans_[open_].push_back(r.begin);
    ++r.uses;
    open_bytes_ += bytes;
    return file_offset_ + at;
  }

  bool has_open_loan() const noexcept { return open_ != none; }
  std::size_t open_bytes() const noexcept { return has_open_loan() ? open_bytes_ : 0; }

  /// The open loan goes to the front end. Returns its number.
  unsigned close_loan() noexcept { return std::exchange(open_, none); }

  /// There is no result that it could be a part of.
  void cancel_loan() noexcept {
    std::lock_guard lock(mutex_);
    if (!has_open_loan()) return;
    after_[open_] ^= 1;
    end_loan(std::exchange(open_, none));
  }

  /// Gives what is free beyond the first `keep` bytes back to the system. Before sleeping.
  void trim(std::size_t keep) noexcept {
    std::lock_guard lock(mutex_);
    collect();
    if (!freed_ || high_water_ <= keep) return;
    freed_ = false;
    std::size_t free_from = 0;
    for (const region& r : regions_) {
      punch(std::max(free_from, keep), r.begin);
      free_from = r.end;
    }
    punch(std::max(free_from, keep), high_water_);
    high_water_ = std::max(free_from, keep);
  }

  /// Arrays that are in use, by the worker or by the front end.
  std::size_t arrays() noexcept {
    std::lock_guard lock(mutex_);
    collect();
    return regions_.size();
  }

private:
  static constexpr unsigned none = max_loans;
  static constexpr std::size_t page = 4096;

  struct region {
    std::size_t begin, end;
    std::size_t uses; // its object in the worker, and each loan that it is part of
  };

  // Under the mutex, as all below.
  void collect() noexcept {
    for (std::uint64_t rest = lent_; rest != 0; rest &= rest - 1) {
      const auto loan = static_cast<unsigned>(std::countr_zero(rest));
      // Acquire: whoever had the loan has read its arrays before it is given back.
      if (returned_[loan].load(std::memory_order_acquire) == after_[loan]) end_loan(loan);
    }
  }

  void end_loan(unsigned loan) noexcept {
    for (const std::size_t begin : loans_[loan]) release(begin);
    loans_[loan].clear();
    lent_ &= ~(std::uint64_t{1} << loan);
  }

  void release(std::size_t begin) noexcept {
    const auto r = std::lower_bound(regions_.begin(), regions_.end(), begin,
                                    [](const region& each, std::size_t place) { return each.begin < place; });
    if (--r->uses != 0) return;
    regions_.erase(r);
    freed_ = true;
  }

  void punch(std::size_t begin, std::size_t end) const noexcept {
    begin = (begin + page - 1) / page * page;
    end = end == high_water_ ? (end + page - 1) / page * page : end / page * page;
    if (begin < end) os::punch_hole(base_ + begin, end - begin);
  }

  std::byte* base_;
  std::size_t bytes_;
  std::uint64_t file_offset_;
  const Flags& returned_;
  std::mutex mutex_;
  std::vector<region> regions_;                           // by place
  std::array<std::vector<std::size_t>, max_loans> loans_; // the begins of their arrays
  std::uint64_t lent_ = 0;                                // the loans that are out, as far as is known, or open
  std::array<std::uint8_t, max_loans> after_{};           // what `returned` is when a loan is over
  unsigned open_ = none;
  std::size_t open_bytes_ = 0, high_water_ = 0;
  bool freed_ = false; // since the last trim()
};

using view_arena = basic_view_arena<loan_flags>;

} // namespace coproc::shm
