// SPDX-License-Identifier: BSL-1.0
// What a user sets: pool_options, task_options and the small types in them. Aggregates for designated initialisers, and
// trivially destructible, because g++ 12 destroys other aggregate temporaries twice inside co_await (GCC PR 99576).
#pragma once

#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <utility>

namespace coproc {

/// All time-outs are given in it. Every std::chrono duration of whole nanoseconds, microseconds, seconds ... converts.
using duration = std::chrono::nanoseconds;

/// No limit. Zero and negative durations are errors (std::invalid_argument).
inline constexpr duration unlimited = duration::max();

/// A duration that a user gives: made of any std::chrono duration of whole nanoseconds, microseconds, seconds ...; a
/// number without a unit is a build error that says so. It converts to `duration`.
class time_limit {
public:
  /// From a duration.
  /// @{
  constexpr time_limit(duration d) noexcept : value_(d) {}
  template <class Rep, class Period>
  constexpr time_limit(std::chrono::duration<Rep, Period> d) noexcept {
    constexpr bool whole = std::is_convertible_v<std::chrono::duration<Rep, Period>, duration>;
    static_assert(
        whole, "coproc: a time is a whole number of nanoseconds: std::chrono::milliseconds(200), or 200ms, in place of "
               "0.2s; else std::chrono::duration_cast<coproc::duration>(time)");
    if constexpr (whole) value_ = d;
  }
  /// @}
  /// Not from a number.
  template <class Number>
    requires std::is_arithmetic_v<Number>
  constexpr time_limit(Number) noexcept {
    static_assert(!std::is_arithmetic_v<Number>,
                  "coproc: a time needs a unit: std::chrono::milliseconds(200), or 200ms with "
                  "using namespace std::chrono_literals");
  }

  /// The duration.
  constexpr operator duration() const noexcept { return value_; }

  /// As those of the durations.
  /// @{
  friend constexpr bool operator==(time_limit, time_limit) = default;
  friend constexpr auto operator<=>(time_limit, time_limit) = default;
  /// @}

private:
  duration value_{};
};

/// By when a task must have ended: a duration from its submission, or a time point.
class time_bound {
public:
  using time_point = std::chrono::steady_clock::time_point; ///< of the only clock that nobody sets

  constexpr time_bound() noexcept = default; ///< whenever
  /// From a duration; as time_limit.
  /// @{
  constexpr time_bound(time_limit from_submission) noexcept : from_submission_(from_submission) {}
  template <class Rep, class Period>
  constexpr time_bound(std::chrono::duration<Rep, Period> from_submission) noexcept
      : from_submission_(from_submission) {}
  template <class Number>
    requires std::is_arithmetic_v<Number>
  constexpr time_bound(Number from_submission) noexcept : from_submission_(from_submission) {}
  /// @}
  /// From a time point, which may be past; time_point::max() is whenever.
  constexpr time_bound(time_point at) noexcept : at_(at) {}

  /// unlimited: a time point, or whenever
  constexpr duration from_submission() const noexcept { return from_submission_; }
  constexpr time_point at() const noexcept { return at_; } ///< max(): a duration, or whenever

private:
  time_limit from_submission_ = unlimited;
  time_point at_ = time_point::max();
};

/// A number of things, from any integer type (so that `.max_workers = n` is no narrowing error). Zero means the
/// documented default; a negative number throws std::invalid_argument where it is used.
struct count {
  long long value = 0; ///< the number

  constexpr count() = default; ///< zero
  /// From any integer; one that is too large becomes the largest.
  constexpr count(std::integral auto n)
      : value(std::in_range<long long>(n) ? static_cast<long long>(n) : std::numeric_limits<long long>::max()) {}
};

/// A callable that the pool keeps: it is copied as bytes, 48 at most, so it captures references or trivially copyable
/// values. `hook` runs in the fork server (preload) or in each worker (initializer, finalizer): references stay valid
/// there for ever, because the pool's constructor forks while they live. Observers run in the front end: what they
/// refer to must outlive the pool.
template <class... Args>
class basic_hook {
public:
  static constexpr std::size_t max_bytes = 48; ///< of a callable

  constexpr basic_hook() = default; ///< none

  /// Copies the bytes of f.
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, basic_hook>)
  basic_hook(F f) {
    constexpr bool fits =
        std::is_trivially_copyable_v<F> && sizeof(F) <= max_bytes && alignof(F) <= alignof(std::max_align_t);
    constexpr bool callable = std::invocable<F&, Args...>;
    static_assert(callable || sizeof...(Args) != 0,
                  "coproc: a hook (preload, initializer, finalizer) is called without arguments: [] { ... }");
    static_assert(
        callable || sizeof...(Args) == 0,
        "coproc: an observer is called with one argument: on_worker_start: [](const coproc::worker_start& s) { ... }, "
        "on_worker_exit: [](const coproc::worker_exit& e) { ... }");
    static_assert(!callable || fits,
                  "coproc: a hook is copied as bytes (48 at most): capture references or trivially copyable values");
    if constexpr (callable && fits) {
      ::new (static_cast<void*>(state_)) F(f);
      call_ = [](void* state, Args... args) {
        static_cast<void>((*std::launder(static_cast<F*>(state)))(std::forward<Args>(args)...));
      };
    }
  }

  explicit operator bool() const noexcept { return call_ != nullptr; } ///< is there one?
  /// Calls it. There must be one.
  void operator()(Args... args) { call_(state_, std::forward<Args>(args)...); }

private:
  alignas(std::max_align_t) std::byte state_[max_bytes]{};
  void (*call_)(void*, Args...) = nullptr;
};

/// Called without arguments: preload, initializer, finalizer.
using hook = basic_hook<>;

struct worker_start;
struct worker_exit;
/// Told of each worker process that was made.
using worker_start_observer = basic_hook<const worker_start&>;
/// Told of each worker process that has ended.
using worker_exit_observer = basic_hook<const worker_exit&>;

/// What terminal cancellation of a running task does.
enum class on_cancel {
  kill,         ///< SIGTERM, after kill_grace SIGKILL: frees the CPU whatever the task does
  request_stop, ///< raise the stop token, as partial cancellation does; the task ends when it looks
};

/// What happens when a worker ends to the processes that its tasks have started, as far as they are in its process
/// group.
enum class on_worker_end {
  kill, ///< SIGKILL, however the worker ends: a process that is to outlive it calls setsid()
  keep, ///< they go on
};

/// What a shutdown does with tasks that have not begun.
enum class queued {
  finish, ///< they run, while there is time
  drop,   ///< they end with operation_aborted at once; only what runs goes on
};

/// Whether a task may be run again when its worker has died. One that had not begun moves to another worker by itself,
/// as often as that happens: that is no retry.
enum class retry {
  if_not_started, ///< it is run once at most: one that may have begun is lost
  idempotent,     ///< running it twice does no harm: max_retries says how often
};

/// On which CPUs workers run.
enum class affinity_policy {
  none,   ///< workers run where the front end may
  spread, ///< worker i is pinned to one CPU of those that the front end may use, the i-th modulo their number
};

/// Numbers of open descriptors, 16 at most: `{log_fd, 0}`, or a std::span of them.
class descriptor_list {
public:
  static constexpr std::size_t max_size = 16; ///< so many at most

  constexpr descriptor_list() = default; ///< none
  /// These.
  constexpr descriptor_list(std::same_as<int> auto... fd)
    requires(sizeof...(fd) > 0)
      : fds_{fd...}, size_(sizeof...(fd)) {
    static_assert(sizeof...(fd) <= max_size, "coproc: a descriptor_list has 16 descriptors at most");
  }
  /// Those of a span. \par Errors  std::invalid_argument if there are more than max_size
  constexpr descriptor_list(std::span<const int> fds) : size_(fds.size()) {
    if (fds.size() > max_size) throw std::invalid_argument("coproc: a descriptor_list has 16 descriptors at most");
    for (std::size_t i = 0; i != size_; ++i) fds_[i] = fds[i];
  }

  constexpr const int* begin() const noexcept { return fds_; }       ///< as of a container
  constexpr const int* end() const noexcept { return fds_ + size_; } ///< as of a container
  constexpr std::size_t size() const noexcept { return size_; }      ///< how many there are

private:
  int fds_[max_size] = {};
  std::size_t size_ = 0;
};

/// A variable of the environment, as of setenv.
struct environment_variable {
  const char* name = nullptr;  ///< without `=`
  const char* value = nullptr; ///< null: it is removed
};

/// Limits of each worker process, as of setrlimit (soft and hard); empty: inherited.
struct worker_limits {
  std::optional<std::uint64_t> address_space_bytes = {}; ///< RLIMIT_AS; above three times max_payload, which is mapped
  std::optional<std::uint64_t> data_bytes = {};          ///< RLIMIT_DATA
  std::optional<std::uint64_t> stack_bytes = {};         ///< RLIMIT_STACK
  std::optional<std::uint64_t> core_bytes = {};          ///< RLIMIT_CORE
  std::optional<std::uint64_t> cpu_seconds = {};         ///< RLIMIT_CPU, of the whole life of a worker: SIGXCPU
  std::optional<std::uint64_t> open_files = {};          ///< RLIMIT_NOFILE
  std::optional<std::uint64_t> processes = {};           ///< RLIMIT_NPROC, of the user
};

/// Member order is contract. Defaults in brackets; zero means the default. docs/options.md has ranges and meanings.
struct pool_options {
  /// Worker processes, 1..1024 [CPUs usable by this process: affinity mask and cgroup quota].
  count max_workers = 0;
  /// Tasks accepted and not completed, running ones included; >= max_workers [4096, or max_workers if that is more].
  count max_queue = 0;
  /// Bytes of encoded arguments accepted and not completed [a quarter of the cgroup's memory limit, or of the RAM].
  count max_queue_bytes = 0;
  /// Bytes of one task's encoded arguments, or of one encoded result, 1..2^40 [1 GiB].
  count max_payload = 1ll << 30;
  /// A worker is replaced when it has run so many tasks [no limit].
  count max_tasks_per_child = 0;
  /// Runs once in the fork server, before any worker exists; what it loads is shared by all workers, respawned ones
  /// too.
  hook preload = {};
  /// Runs in each worker before its first task.
  hook initializer = {};
  /// Runs in each worker that ends in an orderly way, within kill_grace.
  hook finalizer = {};
  /// Between SIGTERM and SIGKILL, and between SIGKILL and giving the process up.
  time_limit kill_grace = std::chrono::seconds(1);
  /// Up to so many tasks fewer, at random for each worker, so that not all are replaced at once; < max_tasks_per_child.
  count max_tasks_jitter = 0;
  /// A worker is replaced after a task that leaves it with more private resident memory than this, in bytes [no limit].
  count max_memory_per_child = 0;
  /// Workers kept when there is nothing to do, 1..max_workers [max_workers]. Only with idle_timeout.
  count min_workers = 0;
  /// Workers beyond min_workers end when they were idle for so long; they come back when they are needed.
  time_limit idle_timeout = unlimited;
  /// Workers that may fail to start in a row before calls fail with worker_start_failed [10].
  count max_start_failures = 0;
  /// For fork and initializer together; then the worker is killed, which counts as a failed start.
  time_limit start_timeout = std::chrono::seconds(60);
  /// Limits of each worker process [those of the front end].
  worker_limits limits = {};
  /// On which CPUs workers run.
  affinity_policy cpu_affinity = affinity_policy::none;
  /// Added to the front end's own /proc/self/oom_score_adj in workers, 0..1000: they are to be killed first.
  int oom_score_adj = 500;
  /// Called on the pool's executor soon after a worker process was made. An exception leaves io_context::run().
  worker_start_observer on_worker_start = {};
  /// Called in the same way soon after a worker process has ended.
  worker_exit_observer on_worker_exit = {};
  /// How long an idle worker, and a front end that waits for a result, polls before it blocks [adaptive, at most 50
  /// us]. It buys latency with CPU time. Nobody polls on the last usable CPU.
  std::optional<time_limit> busy_poll = {};
  /// Bytes of memory for large arguments that are kept, unused, for the next ones, besides the largest piece [256 MiB].
  /// Memory that is new to a process costs far more than memory that is not. Beyond the limit, what was used longest
  /// ago goes back to the system. What was used last stays, whatever its size.
  count max_warm_bytes = 0;
  /// Forks although this process, or preload, has more than one thread; else the constructor refuses and names them. A
  /// forked copy of a threaded process may hang for ever in any lock that another thread held: malloc's, stdio's, a
  /// library's. For those who know that their other threads hold none: an emulator's own, or ones that only sleep.
  bool dangerously_fork_with_threads = false;
  /// Descriptors of this process that hooks and tasks find open under the same numbers. All others are closed there,
  /// but standard output and standard error; standard input is /dev/null unless 0 is named.
  descriptor_list inherit_descriptors = {};
  /// What happens to processes that tasks have started, when their worker ends.
  on_worker_end descendants = on_worker_end::kill;
  /// Set in the fork server before preload, and so in all workers; copied by the pool's constructor.
  std::span<const environment_variable> env = {};
  /// Of the fork server before preload, and so of all workers [that of the front end]; copied.
  std::string_view working_directory = {};
  /// The same, 0..0777 [that of the front end].
  std::optional<unsigned> umask = {};
  /// What this_worker::seed() is made of, so that random numbers can be had again [another one for each pool].
  std::optional<std::uint64_t> seed = {};
  /// After each task the worker's process is as the initializer left it: no timer of alarm() or setitimer() runs, and
  /// blocked signals, handlers, working directory, umask and C locale are as they were. Some forty system calls, 5 to
  /// 10 us. Without it, what a task changes of them stays (but not floating-point modes).
  bool restore_state = false;
};

/// Per-call options, for process_pool::with. Member order is contract.
struct task_options {
  /// From the moment the task is seen at the head of its worker's ring. On expiry the worker is killed: task_timeout.
  time_limit timeout = unlimited;
  /// From submission; a task that has not begun by then is withdrawn: timed_out with errc::queue_timeout.
  time_limit queue_timeout = unlimited;
  /// As timeout, but it raises the stop token only; a task that then ends by throw_if_stopped() gets task_timeout.
  time_limit soft_timeout = unlimited;
  /// How often, beyond the first, the task is run when workers die while they run it. Only with retry::idempotent.
  count max_retries = 0;
  /// Which lost tasks may run again.
  retry retry_on = retry::if_not_started;
  /// -10..10; tasks of higher priority are begun first, also when they came later.
  int priority = 0;
  /// Tasks with the same key run in the same worker, while that lives: in worker `key mod max_workers`, scrambled;
  /// after a resize() with the new number.
  std::optional<std::uint64_t> worker_key = {};
  /// What terminal cancellation does once the task runs.
  on_cancel cancel = on_cancel::kill;
  /// The pool's kill_grace, if empty.
  std::optional<time_limit> kill_grace = {};
  /// From submission, or a time point: waiting for room and in the queue, running and retries, all together. One that
  /// has not begun is withdrawn (timed_out with errc::queue_timeout), one that runs is killed (task_timeout).
  time_bound deadline = {};
};

static_assert(std::is_trivially_destructible_v<pool_options> && std::is_aggregate_v<pool_options>);
static_assert(std::is_trivially_destructible_v<task_options> && std::is_aggregate_v<task_options>);

} // namespace coproc
