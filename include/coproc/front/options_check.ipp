// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/options_check.hpp>
#include <coproc/front/scramble.hpp>
#include <coproc/os/cpu.hpp>
#include <coproc/os/descriptors.hpp>
#include <coproc/os/random.hpp>
#include <coproc/os/spin.hpp>
#include <coproc/os/text.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace coproc::detail::front {

COPROC_LAZY_CLASS class options_checker {
public:
  static resolved_options check(const pool_options& o) {
    resolved_options r;
    dispatcher_limits& l = r.limits;
    l.usable_cpus = os::usable_cpus();
    l.pidfds = true;
    check_queue(o, l);
    check_life(o, l);
    r.max_payload = number(o.max_payload, "pool_options::max_payload", 1ull << 30, 1, 1ull << 40);
    if (o.limits.address_space_bytes && *o.limits.address_space_bytes <= 3 * r.max_payload)
      fail("pool_options::limits.address_space_bytes is ", *o.limits.address_space_bytes,
           "; each worker maps three times max_payload (", r.max_payload,
           ") besides its own memory: lower max_payload");
    r.max_warm_bytes =
        number(o.max_warm_bytes, "pool_options::max_warm_bytes", shm::segment_pool::default_warm_bytes, 1, 1ull << 50);
    r.worker = settings(o, l);
    r.preload = o.preload;
    r.fork_with_threads = o.dangerously_fork_with_threads;
    r.on_worker_start = o.on_worker_start;
    r.on_worker_exit = o.on_worker_exit;
    return r;
  }

  static task_terms check(const task_options& o) {
    task_terms t;
    t.timeout = positive(o.timeout, "task_options::timeout");
    t.queue_timeout = positive(o.queue_timeout, "task_options::queue_timeout");
    t.soft_timeout = positive(o.soft_timeout, "task_options::soft_timeout");
    t.deadline_from_submission = positive(o.deadline.from_submission(), "task_options::deadline");
    t.deadline = o.deadline.at();
    if (t.soft_timeout != unlimited && t.soft_timeout >= t.timeout)
      fail("task_options::soft_timeout must be less than timeout, or it could never act");
    t.max_retries = static_cast<std::uint32_t>(
        number(o.max_retries, "task_options::max_retries", 0, 0, std::numeric_limits<std::uint32_t>::max()));
    if (t.max_retries != 0 && o.retry_on != retry::idempotent)
      fail("task_options::max_retries is ", t.max_retries,
           ", but a task that may have run is not run again unless retry_on is coproc::retry::idempotent: say so if "
           "running it twice does no harm, or leave max_retries out (a task that had not begun moves to another worker "
           "without it)");
    if (o.priority < lowest_priority || o.priority > highest_priority)
      fail("task_options::priority is ", o.priority, "; it must be ", lowest_priority, " to ", highest_priority);
    t.priority = static_cast<std::int8_t>(o.priority);
    if (o.worker_key) t.key = scramble(*o.worker_key); // all pools of one size agree, and neighbouring keys spread
    t.when_cancelled = o.cancel;
    if (o.kill_grace) t.kill_grace = positive(*o.kill_grace, "task_options::kill_grace");
    return t;
  }

  static pool_size check(count min_workers, count max_workers, const dispatcher_limits& l) {
    pool_size size{};
    size.max_workers = most_workers(max_workers, "process_pool::resize: max_workers", l.usable_cpus);
    if (size.max_workers > l.max_queue)
      fail("process_pool::resize: max_workers is ", size.max_workers, ", more than pool_options::max_queue (",
           l.max_queue, "): it counts running tasks too, so some workers could never work");
    size.min_workers = least_workers(min_workers, "process_pool::resize: min_workers", size.max_workers);
    return size;
  }

private:
  template <class... Part>
  [[noreturn]] static void fail(const Part&... part) {
    throw std::invalid_argument(os::text("coproc: ", part...));
  }

  static std::uint64_t number(count c, const char* name, std::uint64_t fallback, std::uint64_t low,
                              std::uint64_t high) {
    if (c.value < 0) fail(name, " is negative (", c.value, ")");
    const auto value = c.value == 0 ? fallback : static_cast<std::uint64_t>(c.value);
    if (value < low || value > high) fail(name, " is ", value, "; it must be ", low, " to ", high);
    return value;
  }

  static duration positive(duration d, const char* name) {
    if (d <= duration::zero()) fail(name, " is ", d.count(), " ns; it must be positive (coproc::unlimited: no limit)");
    return d;
  }

  static unsigned most_workers(count c, const char* name, unsigned usable_cpus) {
    constexpr std::uint64_t limit = 1024;
    return static_cast<unsigned>(number(c, name, std::min<std::uint64_t>(usable_cpus, limit), 1, limit));
  }

  static unsigned least_workers(count c, const char* name, unsigned max_workers) {
    const auto least = static_cast<unsigned>(number(c, name, max_workers, 1, 1ull << 30));
    if (least > max_workers) fail(name, " is ", least, ", more than max_workers (", max_workers, ")");
    return least;
  }

  static void check_queue(const pool_options& o, dispatcher_limits& l) {
    l.max_workers = most_workers(o.max_workers, "pool_options::max_workers", l.usable_cpus);
    l.max_queue =
        number(o.max_queue, "pool_options::max_queue", std::max<std::uint64_t>(4096, l.max_workers), 1, 1ull << 32);
    if (l.max_queue < l.max_workers)
      fail("pool_options::max_queue is ", l.max_queue, ", less than max_workers (", l.max_workers,
           "): it counts running tasks too, so some workers could never work");
    l.max_queue_bytes = number(o.max_queue_bytes, "pool_options::max_queue_bytes",
                               std::max<std::uint64_t>(os::usable_memory_bytes() / 4, 1 << 20), 1, 1ull << 50);
  }

  static void check_life(const pool_options& o, dispatcher_limits& l) {
    constexpr std::uint64_t any = 1ull << 62;
    l.max_tasks_per_child = number(o.max_tasks_per_child, "pool_options::max_tasks_per_child", 0, 0, any);
    l.max_tasks_jitter = number(o.max_tasks_jitter, "pool_options::max_tasks_jitter", 0, 0, any);
    if (l.max_tasks_jitter != 0 && l.max_tasks_jitter >= l.max_tasks_per_child)
      fail("pool_options::max_tasks_jitter is ", l.max_tasks_jitter, "; it must be less than max_tasks_per_child (",
           l.max_tasks_per_child, "), of which it is taken away");
    l.max_memory_per_child = number(o.max_memory_per_child, "pool_options::max_memory_per_child", 0, 0, any);
    l.min_workers = least_workers(o.min_workers, "pool_options::min_workers", l.max_workers);
    positive(o.idle_timeout, "pool_options::idle_timeout");
    l.leave_when_idle = o.idle_timeout != unlimited;
    l.max_start_failures =
        static_cast<unsigned>(number(o.max_start_failures, "pool_options::max_start_failures", 10, 1, 1'000'000));
    l.start_timeout = positive(o.start_timeout, "pool_options::start_timeout");
    l.kill_grace = positive(o.kill_grace, "pool_options::kill_grace");
  }

  static detail::worker::worker_settings settings(const pool_options& o, const dispatcher_limits& l) {
    detail::worker::worker_settings w;
    w.initializer = o.initializer;
    w.finalizer = o.finalizer;
    w.spin_limit = l.usable_cpus > 1 ? os::spin_limit : std::chrono::nanoseconds(0);
    const duration busy_poll = positive(o.busy_poll.value_or(os::spin_limit), "pool_options::busy_poll");
    if (o.busy_poll && l.usable_cpus > 1) w.busy_poll = busy_poll;
    w.idle_timeout = o.idle_timeout;
    w.limits = o.limits;
    w.affinity = o.cpu_affinity;
    if (o.oom_score_adj < 0 || o.oom_score_adj > 1000)
      fail("pool_options::oom_score_adj is ", o.oom_score_adj, "; it must be 0 to 1000");
    w.oom_score_adj = o.oom_score_adj;
    for (const int fd : o.inherit_descriptors)
      if (fd < 0 || !os::is_open(fd))
        fail("pool_options::inherit_descriptors has ", fd, ", which is no open descriptor of this process");
    w.inherit = o.inherit_descriptors;
    w.descendants = o.descendants;
    w.restore_state = o.restore_state;
    for (const environment_variable& v : o.env) {
      if (v.name == nullptr || *v.name == '\0' || std::strchr(v.name, '=') != nullptr)
        fail("pool_options::env has a variable with the name '", v.name == nullptr ? "" : v.name, "'");
      w.env.emplace_back(v.name, v.value == nullptr ? std::nullopt : std::optional<std::string>(v.value));
    }
    w.working_directory = o.working_directory;
    if (o.umask && *o.umask > 0777) fail("pool_options::umask is ", *o.umask, "; it must be 0 to 0777, which is 511");
    if (o.umask) w.umask = static_cast<mode_t>(*o.umask);
    w.seed = o.seed ? *o.seed : os::random_number();
    return w;
  }
};

COPROC_LAZY_DEF resolved_options resolve(const pool_options& o) { return options_checker<>::check(o); }

COPROC_LAZY_DEF task_terms resolve(const task_options& o) { return options_checker<>::check(o); }

COPROC_LAZY_DEF pool_size resolve_size(count min_workers, count max_workers, const dispatcher_limits& l) {
  return options_checker<>::check(min_workers, max_workers, l);
}

COPROC_LAZY_DEF std::uint64_t limit_of(const task_terms& t) noexcept {
  const duration first = std::min(t.timeout, t.soft_timeout);
  return first == unlimited ? 0 : static_cast<std::uint64_t>(first.count());
}

} // namespace coproc::detail::front
