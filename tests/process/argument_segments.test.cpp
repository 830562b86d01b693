// SPDX-License-Identifier: BSL-1.0
// Argument segments in real processes, with fewer ids than there are large calls: each call drops a segment and makes
// another one with an old id, while workers still map what had that id before. Whatever a task sees must be its own
// arguments.
#include <coproc/front/call.hpp>
#include <coproc/front/options_check.hpp>
#include <coproc/front/pool_impl.hpp>

#include "support/run.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

namespace process_argument_segments {

namespace front = coproc::detail::front;
namespace net = coproc::net;
using namespace coproc::testing;

namespace {

using words = std::vector<std::uint64_t>;

/// Each word says which call it belongs to, and where it lies.
words words_of(std::uint64_t call, std::size_t n) {
  words w(n);
  for (std::size_t i = 0; i != n; ++i) w[i] = call << 20 | i;
  return w;
}

/// How many words are not those of this call.
std::uint64_t strange_words(std::uint64_t call, std::span<const std::uint64_t> w) {
  std::uint64_t strange = 0;
  for (std::size_t i = 0; i != w.size(); ++i) strange += w[i] != (call << 20 | i);
  return strange;
}

/// A pool that has so few ids for its segments.
class small_pool {
public:
  small_pool(net::io_context& io, const coproc::pool_options& options, std::uint32_t max_segments) {
    auto resolved = front::resolve(options);
    resolved.max_segments = max_segments;
    pool_ = std::make_shared<front::pool_impl<>>(io.get_executor(), resolved);
    pool_->start();
  }
  ~small_pool() { pool_->stop(); }
  small_pool(const small_pool&) = delete;
  small_pool& operator=(const small_pool&) = delete;

  template <class Handler, class F, class... A>
  void call(Handler handler, F fn, A&&... args) {
    auto call = front::prepared_call::make(pool_, nullptr, true, fn, std::forward<A>(args)...);
    std::move(call).template start<std::uint64_t>(std::move(handler));
  }

  coproc::shm::segment_pool& segments() { return *pool_->segments(); }

private:
  std::shared_ptr<front::pool_impl<>> pool_;
};

struct totals {
  std::size_t calls = 0, failed = 0, strange = 0;
};

/// Makes one call after the other, of all sizes of blocks.
class client {
public:
  client(small_pool& pool, totals& t, std::uint64_t name, std::size_t calls)
      : pool_(pool), totals_(t), name_(name), left_(calls), random_(name) {}

  void go_on() {
    if (left_-- == 0) return;
    const std::uint64_t call = name_ << 32 | left_;
    const std::size_t n = std::size_t{40} << random_() % 8;
    pool_.call(
        [this](std::exception_ptr e, std::uint64_t strange) {
          ++totals_.calls;
          totals_.failed += e != nullptr;
          totals_.strange += strange;
          go_on();
        },
        strange_words, call, words_of(call, n));
  }

private:
  small_pool& pool_;
  totals& totals_;
  std::uint64_t name_;
  std::size_t left_;
  std::mt19937 random_;
};

} // namespace

TEST_CASE("many more large calls than there are ids for segments see their own arguments and nothing else") {
  const leak_audit audit;
  net::io_context io(1);
  constexpr std::uint32_t max_segments = 10;
  constexpr std::size_t clients = 4, each = 500;
  const unsigned workers = GENERATE(1u, 2u);
  small_pool pool(io, {.max_workers = workers, .max_warm_bytes = 1}, max_segments);
  totals t;
  std::vector<std::unique_ptr<client>> all;
  for (std::size_t c = 0; c != clients; ++c) all.push_back(std::make_unique<client>(pool, t, c + 1, each));
  for (auto& c : all) c->go_on();
  REQUIRE(run_all(io));
  CHECK(t.calls == clients * each);
  CHECK(t.failed == 0);
  CHECK(t.strange == 0);
  const auto last = pool.segments().allocate(std::size_t{1} << 20);
  CHECK(last.owner().id() <= max_segments);
  CHECK(last.owner().serial() > 20 * max_segments); // so many there were
}

} // namespace process_argument_segments
