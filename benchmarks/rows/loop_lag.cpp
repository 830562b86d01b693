// SPDX-License-Identifier: BSL-1.0
// What a saturated pool does to everything else on the same loop: the lag of a 1 ms ticker and the round trip of an
// echo over loopback TCP, both on the pool's io_context.
#include "../front_end_arm.hpp"
#include "../peers/coproc.hpp"
#include "../rows.hpp"

#include <array>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

namespace bench {

namespace {

using namespace std::chrono_literals;
using net::ip::tcp;

constexpr double p = 0.99;

struct echo {
  tcp::socket client, server;

  explicit echo(net::io_context& io) : client(io), server(io) {
    tcp::acceptor acceptor(io, {net::ip::address_v4::loopback(), 0});
    client.connect(acceptor.local_endpoint());
    acceptor.accept(server);
    client.set_option(tcp::no_delay(true));
    server.set_option(tcp::no_delay(true));
  }

  net::awaitable<void> serve(long times) {
    std::array<char, 64> bytes;
    for (long i = 0; i < times; ++i) {
      co_await net::async_read(server, net::buffer(bytes), net::use_awaitable);
      co_await net::async_write(server, net::buffer(bytes), net::use_awaitable);
    }
  }
};

/// p99 of ticker lag and echo time, in nanoseconds, with `window` tasks of `loops` in flight; 0: the pool idles.
run_values lag(front_end<coproc_peer>& f, echo& e, long ticks, int window, int loops) {
  std::vector<double> late, echoed;
  std::exception_ptr failure;
  bool over = false;
  const auto load = [&]() -> net::awaitable<void> {
    while (!over) co_await f.peer(1, loops);
  };
  const auto ticker = [&]() -> net::awaitable<void> {
    net::steady_timer timer(f.io);
    std::array<char, 64> bytes{};
    for (long i = 0; i < ticks; ++i) {
      timer.expires_after(1ms);
      co_await timer.async_wait(net::use_awaitable);
      const auto now = clock::now();
      late.push_back(std::chrono::duration<double, std::nano>(now - timer.expiry()).count());
      co_await net::async_write(e.client, net::buffer(bytes), net::use_awaitable);
      co_await net::async_read(e.client, net::buffer(bytes), net::use_awaitable);
      echoed.push_back(seconds_since(now) * 1e9);
    }
    over = true;
  };
  for (int i = 0; i < window; ++i) net::co_spawn(f.io, load(), keep_failure(failure));
  net::co_spawn(f.io, e.serve(ticks), keep_failure(failure));
  net::co_spawn(f.io, ticker(), keep_failure(failure));
  run_to_end(f.io, failure);
  std::ranges::sort(late);
  std::ranges::sort(echoed);
  return {quantile(late, p), quantile(echoed, p)};
}

arm lag_arm(std::string name, const settings& set, int window, double microseconds) {
  const int workers = set.workers_beside_front_end(), loops = set.loops(microseconds);
  const auto set_up = [=]() -> run_function {
    auto f = std::make_shared<front_end<coproc_peer>>(workers);
    auto e = std::make_shared<echo>(f->io);
    return [=](const run_order& o) { return lag(*f, *e, o.tasks, window * workers, loops); };
  };
  return {std::move(name), set_up, set.quick ? 200 : 1000, true};
}

} // namespace

void loop_lag(session& s) {
  row r{"lag",
        fmt::format("p99 lag of the loop, {} worker(s) beside the front end", s.set.workers_beside_front_end()),
        {},
        {}};
  r.arms = {lag_arm("idle pool", s.set, 0, 0), lag_arm("saturated, 10 us tasks", s.set, 16, 10),
            lag_arm("saturated, 1 ms tasks", s.set, 16, 1000)};
  r.value_names = {"1 ms ticker", "echo"};
  r.tasks_per_second = false;
  if (s.set.usable_cpus > s.set.workers_beside_front_end())
    for (std::size_t v = 0; v < 2; ++v)
      for (const std::string name : {"saturated, 10 us tasks", "saturated, 1 ms tasks"})
        r.goals.push_back({fmt::format("{}: {} / idle pool", r.value_names[v], name),
                           [=](const one_run& in) { return in(name, v) / in("idle pool", v); }, at_most, 1.5});
  s.add(r);
}

} // namespace bench
