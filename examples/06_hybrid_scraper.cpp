// SPDX-License-Identifier: BSL-1.0
// A scraper, twice. First ten fetches of 0.5 s are gathered, then SHA-512 of each page is made in the process pool.
// Then five fetches at a time (semaphore), pages hashed the moment they arrive (queue). Better than in Python: the
// pool exists once and serves both, and waiting anywhere in the second form holds back the fetches.
#include <coproc/coproc.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <fmt/format.h>
#include <nettle/sha2.h>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace net = coproc::net;

std::string heavy_cpu_parse(std::string_view raw_data) {
  sha512_ctx state;
  sha512_init(&state);
  sha512_update(&state, raw_data.size(), reinterpret_cast<const std::uint8_t*>(raw_data.data()));
  std::array<std::uint8_t, SHA512_DIGEST_SIZE> digest;
  sha512_digest(&state, digest.size(), digest.data());
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

net::awaitable<std::string> fetch_url(int url_id) {
  net::steady_timer network(co_await net::this_coro::executor, std::chrono::milliseconds(500));
  co_await network.async_wait(net::use_awaitable);
  co_return fmt::format("Raw_HTML_from_{}", url_id);
}

net::awaitable<void> pipeline(const coproc::process_pool& pool) {
  fmt::print("Phase 1: Async Network Fetch...\n");
  std::vector<net::awaitable<std::string>> fetches;
  for (int id = 0; id < 10; ++id) fetches.push_back(fetch_url(id));
  const std::vector<std::string> pages = co_await coproc::gather(std::move(fetches));

  fmt::print("Phase 2: Handing off to Process Pool...\n");
  std::vector<net::awaitable<std::string>> parses;
  for (const std::string& page : pages) parses.push_back(coproc::run_in_executor(pool, heavy_cpu_parse, page));
  const std::vector<std::string> hashes = co_await coproc::gather(std::move(parses));
  fmt::print("Pipeline complete. Processed {} hashes. {}: {:.32}\n", hashes.size(), pages[0], hashes[0]);
}

net::awaitable<void> polite_fetch(int url_id, coproc::semaphore& at_a_time,
                                  coproc::bounded_channel<std::string>& queue) {
  const auto permit = co_await at_a_time.acquire();
  std::string page = co_await fetch_url(url_id);
  co_await queue.send(std::move(page));
}

net::awaitable<void> fetch_all(coproc::bounded_channel<std::string>& queue) {
  coproc::semaphore at_a_time(co_await net::this_coro::executor, 5);
  std::vector<net::awaitable<void>> fetches;
  for (int id = 0; id < 10; ++id) fetches.push_back(polite_fetch(id, at_a_time, queue));
  co_await coproc::gather(std::move(fetches));
  queue.close();
}

net::awaitable<int> hash_all(coproc::bounded_channel<std::string>& queue, const coproc::process_pool& pool) {
  int hashed = 0;
  while (const std::optional<std::string> page = co_await queue.receive()) {
    const std::string hash = co_await coproc::run_in_executor(pool, heavy_cpu_parse, *page);
    fmt::print("  {}: {:.32}\n", *page, hash);
    ++hashed;
  }
  co_return hashed;
}

net::awaitable<void> run_both() {
  const auto loop = co_await net::this_coro::executor;
  const coproc::process_pool pool(loop, {.max_workers = 2});
  co_await pipeline(pool);

  fmt::print("Production upgrade: five fetches at a time, hashing while fetching...\n");
  coproc::bounded_channel<std::string> queue(loop, 4);
  const auto [fetched, one, two] =
      co_await coproc::gather(fetch_all(queue), hash_all(queue, pool), hash_all(queue, pool));
  fmt::print("Upgrade complete. Processed {} hashes.\n", one + two);
}

int main() { coproc::run(run_both()); }
