// SPDX-License-Identifier: BSL-1.0
// Where task records come from: recycled, never freed before the engine, so that a cancellation that comes too late
// finds a record whose ticket has changed, and not freed memory. Front end, any thread.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/task_details.hpp>
#include <coproc/front/worker_memory.hpp>
#include <coproc/os/lock.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace coproc::detail::front {

class record_store {
public:
  /// While it lives, this thread keeps one recycled record of `store` for its next acquire(), without a lock: in a turn
  /// of the pool most records are acquired by the handler that was called when one was recycled.
  class turn_cache {
  public:
    explicit turn_cache(record_store& store) noexcept : outer_(std::exchange(current, {&store, nullptr})) {}
    ~turn_cache() {
      const cached mine = std::exchange(current, outer_);
      if (mine.record != nullptr) mine.store->put(*mine.record);
    }
    turn_cache(const turn_cache&) = delete;
    turn_cache& operator=(const turn_cache&) = delete;

  private:
    friend record_store;
    struct cached {
      record_store* store;
      task_record* record;
    };
    COPROC_VISIBLE static inline thread_local constinit cached current{};

    const cached outer_;
  };

  COPROC_LAZY explicit record_store(engine* home) noexcept;
  record_store(const record_store&) = delete;
  record_store& operator=(const record_store&) = delete;

  ~record_store() {
    for (const chunk& c : chunks_)
      for (std::size_t i = 0; i != c.size; ++i)
        if (c.records[i].has_cold_part) std::destroy_at(&details(c.records[i]));
  }

  /// A free record, to be filled by the caller alone until it is submitted.
  COPROC_LAZY task_record& acquire();

  /// Takes a record back, with whatever it still holds.
  COPROC_LAZY void recycle(task_record& t) noexcept;

private:
  struct alignas(task_details) cold_place {
    std::byte bytes[sizeof(task_details)];
  };
  struct chunk {
    std::unique_ptr<cold_place[]> cold_places;
    std::unique_ptr<task_record[]> records;
    std::size_t size = 0;
  };

  COPROC_LAZY task_record& take();

  COPROC_LAZY void put(task_record& t) noexcept;

  COPROC_LAZY static void unburden(task_record& t) noexcept;

  // Made before the lock, which spins, is taken: more of them the more there are, so that few lie far from their
  // neighbours.

  template <class = void>
  [[gnu::noinline, gnu::cold]] task_record& fresh();

  os::spin_lock mutex_;
  task_record* free_ = nullptr;
  std::vector<chunk> chunks_;
  std::atomic<std::size_t> records_{0};
  engine* const home_;
};

} // namespace coproc::detail::front

#include <coproc/front/record_store.ipp>
