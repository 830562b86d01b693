// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/worker/process.hpp>
#include <cstdio>
#if COPROC_CHECK_LEAKS
#include <sanitizer/lsan_interface.h>
#endif

namespace coproc::detail::worker {

// Each may be refused by the system, or make no sense there: then the worker is not started.
COPROC_LAZY void apply_limits(const worker_limits& l) {
  const auto set = [](auto resource, const char* name, const std::optional<std::uint64_t>& value) {
    if (!value) return;
    const rlimit limit{static_cast<rlim_t>(*value), static_cast<rlim_t>(*value)};
    if (os::invoke(os::call::setrlimit, [&] { return ::setrlimit(resource, &limit); }) != 0) os::throw_errno(name);
  };
  set(RLIMIT_AS, "setrlimit(RLIMIT_AS)", l.address_space_bytes);
  set(RLIMIT_DATA, "setrlimit(RLIMIT_DATA)", l.data_bytes);
  set(RLIMIT_STACK, "setrlimit(RLIMIT_STACK)", l.stack_bytes);
  set(RLIMIT_CORE, "setrlimit(RLIMIT_CORE)", l.core_bytes);
  set(RLIMIT_CPU, "setrlimit(RLIMIT_CPU)", l.cpu_seconds);
  set(RLIMIT_NOFILE, "setrlimit(RLIMIT_NOFILE)", l.open_files);
  set(RLIMIT_NPROC, "setrlimit(RLIMIT_NPROC)", l.processes);
}

COPROC_LAZY_DEF void enter_surroundings(const worker_settings& settings) {
  for (const auto& [name, value] : settings.env) {
    const int result = value ? ::setenv(name.c_str(), value->c_str(), 1) : ::unsetenv(name.c_str());
    if (result != 0) os::throw_errno("setenv");
  }
  const std::string& directory = settings.working_directory;
  if (!directory.empty() && os::invoke(os::call::chdir, [&] { return ::chdir(directory.c_str()); }) != 0)
    os::throw_errno("chdir to pool_options::working_directory");
  if (settings.umask) ::umask(*settings.umask);
}

// A bijection of incarnations for each seed of a pool: no two are the same. SplitMix64.
COPROC_LAZY std::uint64_t seed_of(std::uint64_t pool_seed, std::uint64_t incarnation) noexcept {
  std::uint64_t z = pool_seed + incarnation * 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

// Those of the pool that lie above it stay usable.
COPROC_LAZY void restore_open_files(const rlimit& limit) {
  if (os::invoke(os::call::setrlimit, [&] { return ::setrlimit(RLIMIT_NOFILE, &limit); }) != 0)
    os::throw_errno("setrlimit(RLIMIT_NOFILE)");
}

COPROC_LAZY void run_initializer(hook initializer, unsigned index) noexcept {
  if (!initializer) return;
  try {
    initializer();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "coproc: the initializer of worker %u threw: %s\n", index, e.what());
    os::flush_all_streams();
    os::exit_now(exit_initializer_failed);
  } catch (...) {
    std::fprintf(stderr, "coproc: the initializer of worker %u threw\n", index);
    os::flush_all_streams();
    os::exit_now(exit_initializer_failed);
  }
}

// What nothing refers to any more. The sanitizer itself looks only at exit(), which workers never come to.
COPROC_LAZY void check_leaks([[maybe_unused]] unsigned index) noexcept {
#if COPROC_CHECK_LEAKS
  if (::__lsan_do_recoverable_leak_check() == 0) return;
  std::fprintf(stderr, "coproc: worker %u, process %d: its tasks have leaked what is reported above\n", index,
               ::getpid());
  os::exit_now(exit_leaked);
#endif
}

COPROC_LAZY_DEF void worker_main(const start_request& start, worker_descriptors fds, pid_t server,
                                 const worker_settings& settings) noexcept {
  // The signal comes when the forking *thread* ends; the fork server has only one. It may have died before prctl.
  os::invoke(os::call::prctl, [] { return ::prctl(PR_SET_PDEATHSIG, SIGKILL); });
  if (os::parent() != server) os::exit_now(exit_set_up_failed);
  char name[16];
  std::snprintf(name, sizeof name, "coproc-%u", start.index % 100'000);
  os::set_name(name);
  os::forget_exit_handlers();
  if (!clean_child(settings.inherit, {fds.mailbox.get(), fds.results.get(), fds.control.get(), fds.eventfd.get()})) {
    std::fprintf(stderr, "coproc: worker %u ends: %s\n", start.index, cannot_close);
    os::exit_now(exit_set_up_failed);
  }
  ignore_stray_signals({settings.front_end, server});

  try {
    if (settings.open_files) restore_open_files(*settings.open_files);
    os::mapping mailbox_map(fds.mailbox.get(), shm::mailbox_bytes, os::access::read_write);
    os::mapping results_map(fds.results.get(), start.result_bytes + start.view_bytes, os::access::read_write);
    fds.mailbox.reset();
    fds.results.reset(); // whoever wrote into it would change results
    auto& m = *reinterpret_cast<shm::mailbox*>(mailbox_map.data());
    this_worker_context.mailbox = &m;
    this_worker_context.index = start.index;
    this_worker_context.seed = seed_of(settings.seed, start.incarnation);
    shm::view_arena arena(results_map.data() + start.result_bytes, start.view_bytes, start.result_bytes,
                          m.parent.returned);
    view_lender<> views(arena);
    this_worker_context.views = &views;
    if (settings.oom_score_adj != 0) os::raise_oom_score(settings.oom_score_adj);
    if (settings.affinity == affinity_policy::spread) os::pin_to_usable_cpu(start.index);
    apply_limits(settings.limits);
    run_initializer(settings.initializer, start.index);
    // A change of credentials, for which the initializer is the place, clears it.
    os::invoke(os::call::prctl, [] { return ::prctl(PR_SET_PDEATHSIG, SIGKILL); });
    if (os::parent() != server) os::exit_now(exit_set_up_failed);
    shm::store(shm::site::phase, m.worker.phase, static_cast<std::uint32_t>(shm::worker_phase::initialized),
               std::memory_order_release);

    worker_environment<> around(std::move(fds.control), std::move(fds.eventfd), settings);
    around.ring(); // calls may wait for just this worker
    worker_loop<> loop(m, shm::result_space(results_map.data(), start.result_bytes, m.parent.freed),
                       start.max_result_bytes, this_worker_context, around, settings.spin_limit,
                       start.may_leave != 0 ? settings.idle_timeout : unlimited, settings.busy_poll,
                       settings.restore_state);
    loop.run();
    if (settings.finalizer) {
      hook finalizer = settings.finalizer;
      finalizer();
    }
    os::flush_all_streams();
    check_leaks(start.index);
    os::exit_now(0);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "coproc: worker %u ends: %s\n", start.index, e.what());
  }
  os::exit_now(exit_set_up_failed);
}

} // namespace coproc::detail::worker
