// SPDX-License-Identifier: BSL-1.0
// What a user sets: pool_options, task_options and the small types in them. Aggregates for designated initialisers, and
// trivially destructible, because g++ 12 destroys other aggregate temporaries twice inside co_await (GCC PR 99576).
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace coproc {

using duration = std::chrono::nanoseconds;

/// No limit. Zero and negative durations are errors (std::invalid_argument).
inline constexpr duration unlimited = duration::max();

/// A number of things, from any integer type (so that `.max_workers = n` is no narrowing error). Zero means the
/// documented default; a negative number throws std::invalid_argument where it is used.
struct count {
  long long value = 0;

  constexpr count() = default;
  constexpr count(std::integral auto n)
      : value(std::in_range<long long>(n) ? static_cast<long long>(n) : std::numeric_limits<long long>::max()) {}
};

/// A callable that runs in the fork server (preload) or in each worker (initializer, finalizer). It is copied as bytes;
/// captured references stay valid there for ever, because the pool's constructor forks while they live.
class hook {
public:
  static constexpr std::size_t max_bytes = 48;

  constexpr hook() = default;

  template <class F>
    requires(std::invocable<F&> && !std::same_as<std::remove_cvref_t<F>, hook>)
  hook(F f) : stateless_(std::is_empty_v<F> || std::is_pointer_v<F>) {
    static_assert(std::is_trivially_copyable_v<F> && sizeof(F) <= max_bytes && alignof(F) <= alignof(std::max_align_t),
                  "coproc: a hook is copied as bytes (48 at most): capture references or trivially copyable values");
    if constexpr (std::is_trivially_copyable_v<F> && sizeof(F) <= max_bytes) {
      ::new (static_cast<void*>(state_)) F(f);
      call_ = [](void* state) { static_cast<void>((*std::launder(static_cast<F*>(state)))()); };
    }
  }

  explicit operator bool() const noexcept { return call_ != nullptr; }
  bool stateless() const noexcept { return stateless_; }
  void operator()() { call_(state_); }

private:
  alignas(std::max_align_t) std::byte state_[max_bytes]{};
  void (*call_)(void*) = nullptr;
  bool stateless_ = true;
};

/// What terminal cancellation of a running task does.
enum class on_cancel {
  kill,         ///< SIGTERM, after kill_grace SIGKILL: frees the CPU whatever the task does
  request_stop, ///< raise the stop token, as partial cancellation does; the task ends when it looks
};

/// Member order is contract. Defaults in brackets; zero means the default.
struct pool_options {
  /// Worker processes, 1..1024 [CPUs usable by this process: affinity mask and cgroup quota].
  count max_workers = 0;
  /// Tasks accepted and not completed, running ones included; >= max_workers [4096, or max_workers if that is more].
  count max_queue = 0;
  /// Bytes of encoded arguments accepted and not completed [a quarter of the cgroup's memory limit, or of the RAM].
  count max_queue_bytes = 0;
  /// Bytes of one task's encoded arguments, or of one encoded result, 1..2^40 [1 GiB].
  count max_payload = 1ll << 30;
  /// Runs once in the fork server, before any worker exists; what it loads is shared by all workers, respawned ones too.
  hook preload = {};
  /// Runs in each worker before its first task.
  hook initializer = {};
  /// Runs in each worker that ends in an orderly way.
  hook finalizer = {};
  /// Between SIGTERM and SIGKILL, and between SIGKILL and giving the process up.
  duration kill_grace = std::chrono::seconds(1);
};

/// Per-call options, for process_pool::with. Member order is contract.
struct task_options {
  /// From the moment the task is seen at the head of its worker's ring. On expiry the worker is killed: task_timeout.
  duration timeout = unlimited;
  on_cancel cancel = on_cancel::kill;
};

static_assert(std::is_trivially_destructible_v<pool_options> && std::is_aggregate_v<pool_options>);
static_assert(std::is_trivially_destructible_v<task_options> && std::is_aggregate_v<task_options>);

} // namespace coproc
