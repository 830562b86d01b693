// SPDX-License-Identifier: BSL-1.0
// What a worker does all day: claim the slot at its cursor, run, publish, ring, and wait when there is nothing. Rules
// R1, W1 and W2, docs/protocol.md. It owns the cursor and the result file's head, and trusts the front end (not the
// other way round). It makes no system call but the futex wait and the ring; what is around it is an interface, so that
// tests run it on threads over one mapping.
#pragma once

#include <coproc/codec/exception.hpp>
#include <coproc/codec/far_memory.hpp>
#include <coproc/config.hpp>
#include <coproc/options.hpp>
#include <coproc/os/cache.hpp>
#include <coproc/os/first_look.hpp>
#include <coproc/os/float_modes.hpp>
#include <coproc/os/fork_generation.hpp>
#include <coproc/os/spin.hpp>
#include <coproc/shm/result_file.hpp>
#include <coproc/shm/sleep.hpp>
#include <coproc/shm/slot.hpp>
#include <coproc/worker/context.hpp>

#include <algorithm>
#include <span>

namespace coproc::detail::worker {

/// What is around the loop: a process, or in tests a thread.
class environment {
public:
  virtual void ring() noexcept = 0;                                 ///< the doorbell
  virtual std::span<const std::byte> segment(std::uint32_t id) = 0; ///< as the orders say
  virtual void read_orders(std::uint64_t sent) = 0;                 ///< catches up with the control socket
  /// ends this process: it is a copy of the worker
  virtual void leave() noexcept = 0;
  virtual void before_sleep() noexcept = 0; ///< flushes what should not lie around
  virtual void after_task() noexcept = 0;   ///< only where the loop is told to restore

protected:
  ~environment() = default;
};

COPROC_LAZY_CLASS class worker_loop final : far_memory {
public:
  worker_loop(shm::mailbox& m, shm::result_space results, std::uint64_t max_result_bytes, worker_context& context,
              environment& around, std::chrono::nanoseconds spin_for, std::chrono::nanoseconds idle_limit = unlimited,
              std::chrono::nanoseconds busy_poll = {}, bool restore = false)
      : m_(m), results_(std::move(results)), max_result_bytes_(max_result_bytes), context_(context),
        environment_(around), spin_(spin_for), idle_limit_(idle_limit), busy_poll_(std::min(busy_poll, idle_limit)),
        restore_(restore) {}

  /// Returns when the ring is empty and the front end asked for the end, or nothing came for idle_limit. A task that is
  /// published in that very moment stays READY, and moves to another worker when the front end sees this one dead.
  void run() {
    for (bool first = true;;) {
      shm::slot& s = m_.at(cursor_);
      if (first) put_off_first_look();
      const shm::claim_result claimed = shm::claim(s, cursor_);
      if (claimed == shm::claim_result::nothing) {
        if (m_.parent.shutdown.load(std::memory_order_acquire) != 0) return;
        if (!idle(s, first)) return;
        first = false;
        continue;
      }
      if (first) first_look_.came_in_time();
      first = true;
      if (claimed == shm::claim_result::claimed)
        execute(s);
      else
        shm::acknowledge(s, cursor_);
      ++cursor_;
      if (shm::must_ring(m_, last_rung_)) environment_.ring();
    }
  }

private:
  void execute(shm::slot& s) {
    const auto where = shm::packed_location::unpack(s.location.load(std::memory_order_relaxed));
    const auto [length, limit_ns] = shm::packed_length::unpack(s.length.load(std::memory_order_relaxed));
    const auto entry = reinterpret_cast<entry_function>(s.entry.load(std::memory_order_relaxed));
    const std::span<const std::byte> arguments =
        where.tag == 0 ? std::span<const std::byte>(s.bytes, length) : in_segment(where, length);

    context_.running.store(cursor_ + 1, std::memory_order_relaxed);
    if (limit_ns != 0) context_.deadline = after(clock_now(), duration(limit_ns));
    const bool timed = until_timed_ == 0;
    const auto began = timed ? clock_now() : time_point();
    in_file_ = false;
    // The result may overwrite inline arguments: it is encoded when fn has returned and its arguments are no longer
    // needed.

    writer result(s.bytes, shm::inline_bytes, &grow, this, this);
    auto outcome = run_entry(entry, arguments, result);
    modes_.restore();
    if (!process_.is_own()) environment_.leave(); // a child that the task forked
    if (restore_) environment_.after_task();
    // A limit smaller than a slot: grow() was never asked. An exception may fill the slot all the same.
    if (outcome == outcome::value && result.size() > max_result_bytes_) outcome = refuse(result);
    result_memory* const views = context_.views;
    const bool lends = views != nullptr && views->has_open_loan();
    if (lends && !may_lend(*views, result, outcome)) views->cancel_loan();
    context_.running.store(0, std::memory_order_relaxed);
    if (limit_ns != 0) context_.deadline = time_point::max();

    const bool threw = outcome == outcome::exception;
    shm::packed_location at;
    if (in_file_) {
      results_.close(result.size());
      at = {static_cast<std::uint64_t>(threw ? shm::result_kind::exception_in_file : shm::result_kind::value_in_file),
            results_.offset()};
    } else {
      at = {static_cast<std::uint64_t>(threw ? shm::result_kind::exception_inline : shm::result_kind::value_inline), 0};
    }
    if (lends && views->has_open_loan()) [[unlikely]]
      at.tag = shm::result_tag{in_file_ ? shm::result_kind::views_in_file : shm::result_kind::views_inline,
                               views->close_loan()}
                   .pack();
    if (result.size() > shm::first_line_bytes && !shm::has_work(m_.at(cursor_ + 1), cursor_ + 1))
      demote_result(s, result.size()); // the front end is likely to wait for it
    shm::finish(s, cursor_, at, result.size(), timed ? after_timed(began) : after_untimed());
  }

  void demote_result(const shm::slot& s, std::size_t bytes) noexcept {
    if (in_file_)
      os::each_outer_line(results_.begin(), bytes, os::demote);
    else
      shm::demote_further_bytes(s, bytes);
  }

  // What the front end is told of the task's time, 0 being nothing. Of short tasks only every sixteenth is timed: two
  // looks at the

  // clock take as long as the shortest. After longer ones it has been a while since the front end last heard where this
  // worker runs.

  std::uint64_t after_timed(time_point began) noexcept {
    const std::chrono::nanoseconds ran = clock_now() - began;
    if (ran < std::chrono::microseconds(5))
      until_timed_ = 15;
    else
      publish_cpu();
    return static_cast<std::uint64_t>(std::max<std::int64_t>(ran.count(), 1));
  }
  std::uint64_t after_untimed() noexcept {
    --until_timed_;
    return 0;
  }

  // The id may have been another segment's before. What it means now is said by the orders that were sent before the
  // task was published; claim() has acquired their number. See shm/sent_segments.hpp.
  std::span<const std::byte> in_segment(const shm::packed_location& where, std::uint64_t length) {
    environment_.read_orders(m_.parent.sent_messages.load(std::memory_order_relaxed));
    const auto bytes = environment_.segment(static_cast<std::uint32_t>(where.tag)).subspan(where.offset, length);
    os::each_outer_line(bytes.data(), length, [](const std::byte* p) { __builtin_prefetch(p); });
    return bytes;
  }

  // What arguments refer to was lent by the front end, which is trusted.
  const std::byte* look(std::uint64_t place, std::uint64_t length) override {
    return in_segment(shm::packed_location::unpack(place), length).data();
  }

  std::optional<std::uint64_t> lend(const void* at, std::size_t bytes) override {
    return context_.views == nullptr ? std::nullopt : context_.views->lend(at, bytes);
  }

  // A failed call lends nothing, and what is lent counts as if it had been copied.
  bool may_lend(const result_memory& views, writer& result, outcome& outcome) const noexcept {
    if (outcome == outcome::value && views.open_bytes() > max_result_bytes_ - result.size()) outcome = refuse(result);
    return outcome == outcome::value;
  }

  static outcome refuse(writer& result) noexcept {
    result.rewind();
    try {
      throw_too_large();
    } catch (...) {
      encode_exception(result);
    }
    return outcome::exception;
  }

  [[noreturn]] static void throw_too_large() {
    throw pool_error(make_error_code(errc::payload_too_large), "the result exceeds pool_options::max_payload");
  }

  // A result outgrew its slot, or its place in the result file.
  static void grow(void* self, writer& w, std::size_t more_bytes) {
    auto& loop = *static_cast<worker_loop*>(self);
    const std::size_t written = w.size();
    if (more_bytes > loop.max_result_bytes_ || written > loop.max_result_bytes_ - more_bytes) throw_too_large();
    const std::size_t wanted = written + more_bytes;
    const std::byte* const inline_part = loop.in_file_ ? nullptr : w.data();
    if (!loop.in_file_) loop.results_.open();
    // Not `written`: bytes that still lie in the slot are copied below, not moved within the file.
    const bool fits = loop.results_.grow(loop.in_file_ ? written : 0, wanted,
                                         [&](std::uint64_t freed) { loop.wait_for_room(freed); });
    if (!fits)
      throw pool_error(make_error_code(errc::payload_too_large), "the result exceeds the worker's result file");
    if (inline_part != nullptr) std::memcpy(loop.results_.begin(), inline_part, written);
    loop.in_file_ = true;
    w.rebase(loop.results_.begin(), std::min<std::size_t>(loop.results_.capacity(), loop.max_result_bytes_));
  }

  void wait_for_room(std::uint64_t freed) noexcept {
    shm::sleep_unless(m_, [&] { return m_.parent.freed.load(std::memory_order_acquire) != freed; });
  }

  bool front_end_is_elsewhere() const noexcept {
    return m_.parent.cpu.load(std::memory_order_relaxed) != published_cpu_;
  }

  void put_off_first_look() const noexcept {
    if (first_look_.delay().count() != 0 && spin_.worthwhile() && front_end_is_elsewhere())
      os::wait_for(first_look_.delay());
  }

  // False: idle for too long. `first`: the look that has found nothing was the first at this slot.
  bool idle(shm::slot& s, bool first) {
    const auto anything = [&] { return shm::has_work(s, cursor_); };
    // The next task comes at once where tasks come one after the other: before clock and CPU are even looked at.
    if (spin_.worthwhile() && front_end_is_elsewhere() && os::spin_a_little(anything)) {
      if (first) first_look_.came_early();
      spin_.success();
      return true;
    }
    const auto since = clock_now();
    publish_cpu();
    // Not where the front end runs: it could not publish anything meanwhile.
    if (spin_.worthwhile() && front_end_is_elsewhere() && spin_.until(anything)) {
      spin_.success();
      return true;
    }
    const std::uint64_t sent = m_.parent.sent_messages.load(std::memory_order_acquire);
    environment_.read_orders(sent);
    results_.trim();
    if (context_.views != nullptr) context_.views->trim(shm::result_space::warm_bytes, results_.touched());
    environment_.before_sleep();
    const auto called = [&] {
      return anything() || m_.parent.shutdown.load(std::memory_order_acquire) != 0 ||
             m_.parent.sent_messages.load(std::memory_order_acquire) != sent;
    };
    if (!busy_poll(called)) shm::sleep_unless(m_, called, idle_limit_);
    const auto idle_for = clock_now() - since;
    spin_.slept(idle_for);
    until_timed_ = 0;
    if (idle_for < idle_limit_ || called()) return true;
    shm::store(shm::site::phase, m_.worker.phase, static_cast<std::uint32_t>(shm::worker_phase::left),
               std::memory_order_release);
    return false;
  }

  // Yields now and then, so that it may be on the front end's own CPU.
  template <class Predicate>
  bool busy_poll(Predicate called) noexcept {
    if (busy_poll_.count() == 0) return false;
    for (const auto begin = clock_now(); clock_now() - begin < busy_poll_;) {
      publish_cpu();
      if (os::spin_until(called, std::chrono::microseconds(5))) return true;
      ::sched_yield();
    }
    return false;
  }

  void publish_cpu() noexcept {
    const auto cpu = 1 + static_cast<std::uint32_t>(os::current_cpu());
    if (cpu == published_cpu_) return;
    published_cpu_ = cpu;
    shm::store(shm::site::worker_cpu, m_.worker.cpu, cpu, std::memory_order_relaxed);
  }

  shm::mailbox& m_;
  shm::result_space results_;
  std::uint64_t max_result_bytes_;
  worker_context& context_;
  environment& environment_;
  os::spin_gate spin_;
  os::first_look first_look_;
  std::chrono::nanoseconds idle_limit_, busy_poll_;
  os::process_mark process_;
  os::float_modes modes_; // as the initializer left them
  std::uint64_t cursor_ = 0, last_rung_ = 0;
  std::uint32_t published_cpu_ = 0;
  unsigned until_timed_ = 0; // tasks
  bool in_file_ = false;
  const bool restore_;
};

} // namespace coproc::detail::worker
