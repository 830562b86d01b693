// SPDX-License-Identifier: BSL-1.0
// One bridge for two kinds of work. A call that blocks (who a user is may have to be asked of a server, and getpwnam
// has no asynchronous form) goes to a thread pool, CPU work to the process pool, and the loop stays free: a ticker
// counts meanwhile. Better than in Python: threads are no compromise here (no GIL), so processes are for isolation,
// not only for speed.
#include <coproc/coproc.hpp>

#include <array>
#include <chrono>
#include <cmath>
#include <fmt/core.h>
#include <pwd.h>
#include <stdexcept>
#include <string>
#include <system_error>

namespace net = coproc::net;

uid_t user_id(const std::string& name) {
  passwd user;
  passwd* found = nullptr;
  std::array<char, 4096> text;
  if (const int error = ::getpwnam_r(name.c_str(), &user, text.data(), text.size(), &found))
    throw std::system_error(error, std::generic_category(), "getpwnam_r");
  if (!found) throw std::runtime_error("there is no user " + name);
  return found->pw_uid;
}

double analyse(int size) {
  double total = 0;
  for (int i = 1; i < size; ++i) total += std::sqrt(i) * std::log(i + 1);
  return total;
}

net::awaitable<void> tick(const bool& finished, int& ticks) {
  net::steady_timer timer(co_await net::this_coro::executor);
  while (!finished) {
    timer.expires_after(std::chrono::milliseconds(1));
    co_await timer.async_wait(net::use_awaitable);
    ++ticks;
  }
}

net::awaitable<void> use_both(net::thread_pool& threads, const coproc::process_pool& processes, bool& finished) {
  const std::string name = "root";
  const auto [id, result] = co_await coproc::gather(coproc::run_in_executor(threads, user_id, name),
                                                    coproc::run_in_executor(processes, analyse, 20'000'000));
  fmt::print("thread pool:  {} is user {}\n", name, id);
  fmt::print("process pool: analysis of 20000000 is {:.0f}\n", result);
  finished = true;
}

net::awaitable<void> bridge() {
  const coproc::process_pool processes(co_await net::this_coro::executor, {.max_workers = 2}); // forks: before threads
  net::thread_pool threads(2);
  bool finished = false;
  int ticks = 0;
  co_await coproc::gather(use_both(threads, processes, finished), tick(finished, ticks));
  fmt::print("event loop:   ticked {} times meanwhile\n", ticks);
}

int main() { coproc::run(bridge()); }
