// SPDX-License-Identifier: BSL-1.0
// Which argument segments one worker maps, as the front end knows it from the orders that it sent. Front end, under the
// pool's mutex. It makes no system call: sending is the caller's.
//
// An id is used again as soon as its segment is dropped, while a worker may still map the old one under it. Yet no
// worker ever takes the old memory for the new:
//   1. Orders arrive in the order in which they were sent: they travel on one SOCK_SEQPACKET connection, and they are
//      sent and entered here under one mutex. An order to map an id replaces what was mapped under it.
//   2. So a worker that has read all orders up to some moment maps exactly what was entered here at that moment. An
//      entry says which segment that is by its serial number, which is never used again.
//   3. A task is published when maps() is true for each of its segments. An entry of an older segment with the same id
//      does not count, so an order to map the new one goes out first.
//   4. A worker looks an id up when it has read all orders that were sent before the task was published (worker_loop).
//   5. Later orders do not touch the segments of that task: its blocks are on loan while it runs, so these segments are
//      not dropped, and their ids are nobody else's.
//   6. An order to unmap an id is sent only while its entry is that of a dropped segment. A new segment with that id
//      takes the entry over, so a late order cannot unmap it.
#pragma once

#include <coproc/shm/segment.hpp>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace coproc::shm {

class sent_segments {
public:
  /// Will the worker find `s` under its id, once it has read its orders?
  bool maps(const segment& s) const noexcept {
    return std::any_of(entries_.begin(), entries_.end(), [&](const entry& e) { return e.serial == s.serial(); });
  }

  /// Sees to it that the next map() has memory. Throws std::bad_alloc.
  void make_room() {
    if (entries_.size() == entries_.capacity()) entries_.reserve(2 * entries_.size() + 1);
  }

  /// The order to map `s` was sent. After make_room().
  void map(const segment& s) noexcept {
    std::erase_if(entries_, [&](const entry& e) { return e.id == s.id(); });
    entries_.push_back({s.serial(), s.id(), false});
  }

  /// The segment of this serial number is no more; nothing happens where the worker does not map it.
  void drop(std::uint64_t serial) noexcept {
    for (entry& e : entries_)
      if (e.serial == serial) any_dropped_ = e.dropped = true;
  }

  /// Calls send(id) for each dropped segment that the worker still maps, until send returns false; the rest is left for
  /// the next call.
  template <class Send>
  void unmap_dropped(Send send) {
    if (!any_dropped_) return;
    bool sent = true;
    std::erase_if(entries_, [&](const entry& e) { return e.dropped && (sent = sent && send(e.id)); });
    any_dropped_ = !sent;
  }

private:
  struct entry {
    std::uint64_t serial;
    std::uint32_t id;
    bool dropped;
  };

  std::vector<entry> entries_; // one an id
  bool any_dropped_ = false;   // perhaps: their entries may have been taken over since
};

} // namespace coproc::shm
