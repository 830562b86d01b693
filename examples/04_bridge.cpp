// SPDX-License-Identifier: BSL-1.0
// Lecture 29, concept 2.1: one bridge for two kinds of work. A call that blocks (getaddrinfo has no asynchronous form)
// goes to a thread pool, CPU work to the process pool, and the loop stays free: a ticker counts meanwhile. Better than
// in Python: threads are no compromise here (no GIL), so processes are for isolation, not only for speed.
#include <coproc/coproc.hpp>

#include <arpa/inet.h>
#include <chrono>
#include <cmath>
#include <fmt/core.h>
#include <memory>
#include <netdb.h>
#include <stdexcept>
#include <string>

namespace net = coproc::net;

std::string resolve(const std::string& host) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_INET;
  if (const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found))
    throw std::runtime_error(gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  char text[INET_ADDRSTRLEN];
  const auto* address = reinterpret_cast<const sockaddr_in*>(found->ai_addr);
  return ::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
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
  const std::string host = "localhost";
  const auto [address, result] = co_await coproc::gather(coproc::run_in_executor(threads, resolve, host),
                                                         coproc::run_in_executor(processes, analyse, 20'000'000));
  fmt::print("thread pool:  {} is {}\n", host, address);
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
