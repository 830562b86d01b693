// SPDX-License-Identifier: BSL-1.0
// What tests of whole pools share: the ending of a call, memory and events shared with tasks, and event loops that
// cannot hang. Test process; tasks use the shared memory in their workers.
#pragma once

#include "support/leak_audit.hpp"

#include <coproc/process_pool.hpp>
#include <coproc/run_in_executor.hpp>
#include <coproc/task.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <ctime>
#include <exception>
#include <linux/futex.h>
#include <new>
#include <optional>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <type_traits>
#include <utility>
#include <variant>

namespace coproc::testing {

/// How one call ended, and how often: exactly once is right.
template <class R>
struct ending {
  int calls = 0;
  std::exception_ptr error;
  std::optional<std::conditional_t<std::is_void_v<R>, std::monostate, R>> value;

  bool succeeded() const { return calls == 1 && !error && value; }
  net::error_code code() const { return code_of(error); }
  bool failed_with(net::error_code expected) const { return calls == 1 && error && code() == expected; }
  bool failed_with(errc expected) const { return failed_with(make_error_code(expected)); }
  bool aborted() const { return failed_with(net::error::operation_aborted); }

  /// A copy of the exception, if it is an E.
  template <class E>
  std::optional<E> as() const {
    if (!error) return {};
    try {
      std::rethrow_exception(error);
    } catch (const E& e) {
      return e;
    } catch (...) {
      return {};
    }
  }

  /// Its text; empty if there is none.
  std::string text() const {
    if (!error) return {};
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      return e.what();
    } catch (...) {
      return "(no std::exception)";
    }
  }
};

/// A completion handler that writes into e, which must outlive it.
template <class R>
class into {
public:
  explicit into(ending<R>& e) noexcept : e_(&e) {}

  void operator()(std::exception_ptr error) const
    requires std::is_void_v<R>
  {
    ++e_->calls;
    e_->error = std::move(error);
    if (!e_->error) e_->value.emplace();
  }

  template <class V>
    requires(!std::is_void_v<R>)
  void operator()(std::exception_ptr error, V&& value) const {
    ++e_->calls;
    e_->error = std::move(error);
    if (!e_->error) e_->value.emplace(std::forward<V>(value));
  }

private:
  ending<R>* e_;
};

/// Calls fn(args...) in the pool, the ending goes into e.
template <class R, class F, class... A>
void start(ending<R>& e, pool_ref pool, F fn, A&&... args) {
  async_run(pool, work(std::move(fn), std::forward<A>(args)...), into<R>(e));
}

/// The same with a cancellation slot.
template <class R, class F, class... A>
void start(net::cancellation_slot slot, ending<R>& e, pool_ref pool, F fn, A&&... args) {
  async_run(pool, work(std::move(fn), std::forward<A>(args)...), net::bind_cancellation_slot(slot, into<R>(e)));
}

/// Runs until nothing is outstanding. False: something still is, after a time in which all should have ended.
inline bool run_all(net::io_context& io, std::chrono::seconds limit = hang_limit) {
  io.restart();
  io.run_for(limit);
  return io.stopped();
}

/// Runs a coroutine to its end; the exception that it ends with is rethrown.
template <class R>
R run_coroutine(net::io_context& io, net::awaitable<R> body) {
  ending<R> e;
  net::co_spawn(io, std::move(body), into(e));
  REQUIRE(run_all(io));
  REQUIRE(e.calls == 1);
  if (e.error) std::rethrow_exception(e.error);
  if constexpr (!std::is_void_v<R>) return std::move(*e.value);
}

/// Runs the loop until done(). False: it did not come true in a time in which it should have.
template <class Predicate>
bool run_until(net::io_context& io, Predicate done, std::chrono::milliseconds limit = hang_limit) {
  return eventually(
      [&] {
        io.restart();
        io.run_for(std::chrono::microseconds(200));
        return done();
      },
      limit);
}

/// A T that tasks share with the test. To be made before the pool; workers inherit the mapping.
template <class T>
class shared_memory {
  static_assert(std::is_trivially_destructible_v<T>);

public:
  shared_memory() {
    void* const p = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    p_ = ::new (p) T();
  }
  shared_memory(const shared_memory&) = delete;
  shared_memory& operator=(const shared_memory&) = delete;
  ~shared_memory() { ::munmap(p_, sizeof(T)); }

  /// As new; no task may be using it.
  void reset() { p_ = ::new (static_cast<void*>(p_)) T(); }

  T* operator->() const noexcept { return p_; }
  T& operator*() const noexcept { return *p_; }

private:
  T* p_;
};

/// A number in shared memory that grows, and that any process can wait for.
class tally {
public:
  std::uint32_t get() const noexcept { return n_.load(std::memory_order_acquire); }

  /// Returns the number before.
  std::uint32_t add() noexcept {
    const auto before = n_.fetch_add(1, std::memory_order_acq_rel);
    ::syscall(SYS_futex, &n_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
    return before;
  }

  /// Blocks until the number is at least `n`. False: it took so long that it will never be.
  bool await(std::uint32_t n, std::chrono::seconds limit = hang_limit) noexcept {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    for (;;) {
      const std::uint32_t now = get();
      if (now >= n) return true;
      if (std::chrono::steady_clock::now() >= deadline) return false;
      const timespec second{1, 0};
      ::syscall(SYS_futex, &n_, FUTEX_WAIT, now, &second, nullptr, 0);
    }
  }

private:
  std::atomic<std::uint32_t> n_{0};
};

/// Keeps the CPU busy for n turns, of about half a nanosecond each.
inline void burn(int n) noexcept {
  for (int i = 0; i < n; ++i) asm volatile("" ::: "memory");
}

/// Milliseconds since it was made.
class stopwatch {
public:
  long long milliseconds() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin_).count();
  }

private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

} // namespace coproc::testing
