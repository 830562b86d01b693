// SPDX-License-Identifier: BSL-1.0
// Where task records come from: recycled, never freed before the pool, so that a cancellation that comes too late finds a
// record whose ticket has changed, and not freed memory; and not before the last of them is back. Front end, any thread.
#pragma once

#include <coproc/os/lock.hpp>
#include <coproc/pool/fork_generation.hpp>
#include <coproc/pool/worker_record.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace coproc::pool {

/// A template so that a file that runs no task does not compile it.
template <class Record>
class basic_record_store {
public:
  /// While it lives, this thread keeps one recycled record of `store` for its next acquire(), without a lock: in a turn of
  /// the pool most records are acquired by the handler that was called when one was recycled.
  class turn_cache {
  public:
    explicit turn_cache(basic_record_store& store) noexcept : outer_(std::exchange(current, {&store, nullptr})) {}
    ~turn_cache() {
      const cached mine = std::exchange(current, outer_);
      if (mine.record != nullptr) mine.store->put(*mine.record);
    }
    turn_cache(const turn_cache&) = delete;
    turn_cache& operator=(const turn_cache&) = delete;

  private:
    friend basic_record_store;
    struct cached {
      basic_record_store* store;
      Record* record;
    };
    static inline thread_local constinit cached current{};

    const cached outer_;
  };

  /// Deletes a store when the last of its records is back: a call that is never submitted may outlive its pool.
  struct retirement {
    void operator()(basic_record_store* s) const noexcept { s->retire(); }
  };

  basic_record_store() = default;
  basic_record_store(const basic_record_store&) = delete;
  basic_record_store& operator=(const basic_record_store&) = delete;

  ~basic_record_store() {
    for (const chunk& c : chunks_)
      for (std::size_t i = 0; i != c.size; ++i)
        if (c.records[i].has_cold_part) std::destroy_at(&c.records[i].cold());
  }

  /// A free record, to be filled by the caller alone until it is submitted.
  Record& acquire() {
    Record* const kept = turn_cache::current.store == this ? std::exchange(turn_cache::current.record, nullptr) : nullptr;
    Record& t = kept != nullptr ? *kept : take();
    t.ticket.store(t.ticket.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return t;
  }

  /// False in a forked copy of the process that made the store: there it must not be touched, for its lock may be held for ever.
  bool is_own_process() const noexcept { return process_.is_own(); }

  /// Takes a record back, with whatever it still holds.
  void recycle(Record& t) noexcept {
    if (t.encumbered || t.special || t.needs_segments()) [[unlikely]] unburden(t);
    if (turn_cache::current.store == this && turn_cache::current.record == nullptr)
      turn_cache::current.record = &t;
    else
      put(t);
  }

  /// Whose records these are, for who has nothing but a record. Set before the first is acquired.
  void set_owner(std::weak_ptr<void> owner) noexcept { owner_ = std::move(owner); }
  std::shared_ptr<void> owner() const noexcept { return owner_.lock(); }

private:
  struct alignas(cold_part) cold_place {
    std::byte bytes[sizeof(cold_part)];
  };
  struct chunk {
    std::unique_ptr<cold_place[]> cold_places;
    std::unique_ptr<Record[]> records;
    std::size_t size = 0;
  };

  Record& take() {
    {
      std::lock_guard lock(mutex_);
      if (free_ != nullptr) {
        ++out_;
        return *std::exchange(free_, free_->next);
      }
    }
    return fresh();
  }

  void put(Record& t) noexcept {
    bool last;
    {
      std::lock_guard lock(mutex_);
      t.next = free_;
      free_ = &t;
      last = --out_ == 0 && retired_;
    }
    if (last) end();
  }

  [[gnu::noinline, gnu::cold]] void end() noexcept { delete this; } // inline, g++ would warn where one is no heap object

  void retire() noexcept {
    bool last;
    {
      std::lock_guard lock(mutex_);
      retired_ = true;
      last = out_ == 0;
    }
    if (last) end();
  }

  static void unburden(Record& t) noexcept {
    cold_part& cold = t.cold();
    if (t.encumbered) {
      if (cold.result_owner) {
        if (t.result_in_file) cold.result_owner->free_result(cold.result_group);
        if (cold.loan != cold_part::no_loan) cold.result_owner->give_back(std::exchange(cold.loan, cold_part::no_loan));
        cold.result_owner.reset();
      }
      cold.exit.reset();
      cold.error_text = nullptr;
      cold.unprepared = nullptr;
      cold.block.reset(); // also one that call.location never came to speak of
      t.encumbered = t.result_in_file = false;
    }
    if (std::exchange(t.call.location, 0) != 0) {
      cold.block.reset();
      cold.lent.clear();
    }
    if (t.special) {
      t.special = false;
      cold.terms = {};
    }
  }

  // Made before the lock, which spins, is taken: more of them the more there are, so that few lie far from their neighbours.
  [[gnu::noinline, gnu::cold]] Record& fresh() {
    const std::size_t n = std::clamp<std::size_t>(records_.load(std::memory_order_relaxed) / 4, 32, 1024);
    chunk c{std::make_unique_for_overwrite<cold_place[]>(n), std::make_unique<Record[]>(n), n};
    Record* const all = c.records.get();
    for (std::size_t i = 0; i != n; ++i) {
      all[i].store = this;
      all[i].cold_place = &c.cold_places[i];
      all[i].next = all + i + 1; // but for the last
    }
    std::lock_guard lock(mutex_);
    chunks_.push_back(std::move(c));
    records_.fetch_add(n, std::memory_order_relaxed);
    ++out_;
    all[n - 1].next = free_;
    free_ = all[0].next;
    return all[0];
  }

  os::spin_lock mutex_;
  Record* free_ = nullptr;
  std::size_t out_ = 0; // acquired, or in the cache of a turn
  bool retired_ = false;
  std::vector<chunk> chunks_;
  std::atomic<std::size_t> records_{0};
  std::weak_ptr<void> owner_;
  process_mark process_;
};

} // namespace coproc::pool
