// SPDX-License-Identifier: BSL-1.0
// What the front end makes of references to a worker's memory, honest and forged: views of what is there, bad_payload
// for the rest, and the loan given back exactly once in any case. One thread, then several.
#include <coproc/front/record_handler.hpp>

#include <coproc/codec/call.hpp>
#include <coproc/result_view.hpp>

#include "front/fake_workers.hpp"

#include <catch2/catch.hpp>

#include <thread>

using namespace coproc;
using namespace coproc::testing;

namespace {

constexpr std::size_t file_bytes = 8192;

/// A task whose result, inline, was lent memory as loan 5 of a worker, and the worker's pen.
class bench {
public:
  bench()
      : memory(make_worker_memory(file_bytes)), t(engine.records.acquire()),
        pen_(bytes_, sizeof bytes_, &full, nullptr) {
    make_details(t).result_owner = memory;
    t.encumbered = true;
    make_details(t).loan = 5;
  }

  writer& pen() { return pen_; }

  /// A reference as result_view's codec writes it.
  bench& refer(std::uint64_t place, std::uint64_t n) {
    pen_.put(std::uint8_t{1}).put_length(place).put_length(n);
    return *this;
  }

  template <class R>
  R decode() {
    front::viewed_memory views(t);
    return coproc::detail::decode_result<R>({bytes_, pen_.size()}, &views);
  }
  template <class R>
  bool refuses() {
    try {
      decode<R>();
    } catch (const bad_payload&) {
      return true;
    }
    return false;
  }

  void recycle() { engine.recycle(t); }
  bool returned() const { return flags() == std::uint64_t{1} << 5; }
  bool outstanding() const { return flags() == 0; }

  std::shared_ptr<front::worker_memory> memory;
  fake_engine engine;
  front::task_record& t;

private:
  std::uint64_t flags() const { return returned_flags(memory->mailbox()); }
  static void full(void*, writer&, std::size_t) { FAIL("the test writes too much"); }

  std::byte bytes_[shm::inline_bytes];
  writer pen_;
};

using numbers = result_view<std::uint32_t>;

} // namespace

TEST_CASE("a view shows the worker's memory, and the loan is given back with the last copy of the last view") {
  bench b;
  b.refer(4096, 10).refer(0, 2048);
  auto two = b.decode<std::pair<numbers, numbers>>();
  const std::byte* const base = b.memory->results_map.data();
  CHECK(reinterpret_cast<const std::byte*>(two.first.data()) == base + 4096);
  CHECK(two.first.size() == 10);
  CHECK(reinterpret_cast<const std::byte*>(two.second.data()) == base);
  CHECK(two.second.size() == 2048);
  b.recycle();
  CHECK(b.outstanding());
  auto copy = two.first;
  two.first = {};
  two.second = {};
  CHECK(b.outstanding());
  copy = {};
  CHECK(b.returned());
}

TEST_CASE("views keep the memory of a worker that is gone") {
  bench b;
  b.refer(0, 8);
  const auto v = b.decode<numbers>();
  b.recycle();
  const std::weak_ptr<front::worker_memory> memory = std::exchange(b.memory, nullptr);
  CHECK_FALSE(memory.expired());
  CHECK(v[7] == 0);
}

TEST_CASE("what does not lie in the worker's file, or not well, is refused, and the loan given back") {
  struct forged {
    std::uint64_t place, n;
  };
  const auto f = GENERATE(values<forged>({{file_bytes, 1},
                                          {file_bytes - 4, 2},
                                          {file_bytes + 1, 0},
                                          {0, file_bytes / 4 + 1},
                                          {0, ~0ull},
                                          {0, ~0ull / 4},
                                          {4, ~0ull / 4},
                                          {~0ull, 1},
                                          {~0ull - 3, 1},
                                          {1ull << 63, 1ull << 61},
                                          {2, 1},
                                          {4097, 3}}));
  CAPTURE(f.place, f.n);
  bench b;
  b.refer(f.place, f.n);
  CHECK(b.refuses<numbers>());
  b.recycle();
  CHECK(b.returned());
}

TEST_CASE("what is legal to the last byte is accepted") {
  const auto place = GENERATE(std::uint64_t{0}, std::uint64_t{file_bytes - 4}, std::uint64_t{file_bytes});
  bench b;
  b.refer(place, (file_bytes - place) / 4);
  CHECK(b.decode<numbers>().size() == (file_bytes - place) / 4);
  b.recycle();
  CHECK(b.returned());
}

TEST_CASE("a view that is neither copied nor referred to, or cut off, is refused") {
  SECTION("unknown form") {
    bench b;
    b.pen().put(std::uint8_t{2});
    CHECK(b.refuses<numbers>());
  }
  SECTION("cut off") {
    bench b;
    b.pen().put(std::uint8_t{1}).put_length(0);
    CHECK(b.refuses<numbers>());
  }
  SECTION("copied, but not there") {
    bench b;
    b.pen().put(std::uint8_t{0}).put_length(20);
    CHECK(b.refuses<numbers>());
  }
  SECTION("something behind it") {
    bench b;
    b.refer(0, 1).pen().put(1);
    CHECK(b.refuses<numbers>());
  }
}

TEST_CASE("references in a result without a loan are refused") {
  bench b;
  make_details(b.t).loan = front::task_details::no_loan;
  b.refer(0, 1);
  CHECK(b.refuses<numbers>());
  b.recycle();
  CHECK(b.outstanding());
}

TEST_CASE("and so are those in the result of a task that needed no memory but its slot") {
  bench b;
  b.refer(0, 1);
  front::task_record& plain = b.engine.records.acquire();
  front::viewed_memory views(plain);
  CHECK_THROWS_AS((coproc::detail::decode_result<numbers>({b.pen().data(), b.pen().size()}, &views)), bad_payload);
  b.engine.recycle(plain);
  b.recycle();
}

TEST_CASE("a payload without such memory refuses references: arguments, exceptions, whatever users decode") {
  bench b;
  b.refer(0, 1);
  reader r(std::span<const std::byte>(b.pen().data(), b.pen().size()));
  CHECK_THROWS_AS(r.get<numbers>(), bad_payload);
}

TEST_CASE("a loan is given back exactly once, when nothing is decoded, not all, or all but the end") {
  SECTION("nothing") {
    bench b;
    b.recycle();
    CHECK(b.returned());
  }
  SECTION("a view, then nonsense") {
    bench b;
    b.refer(0, 1).pen().put(std::uint8_t{77});
    CHECK(b.refuses<std::pair<numbers, numbers>>());
    CHECK(b.returned());
    b.recycle();
    CHECK(b.returned());
  }
}

TEST_CASE("a worker that refers to one place many times shows it many times, and is given one loan back") {
  bench b;
  b.pen().put_length(20);
  for (int i = 0; i != 20; ++i) b.pen().put(std::uint8_t{0}), b.refer(64, 16);
  auto all = b.decode<std::vector<numbers>>();
  REQUIRE(all.size() == 20);
  b.recycle();
  CHECK(b.outstanding());
  all.clear();
  CHECK(b.returned());
}

TEST_CASE("loans that are given back by several threads at once are all told to the worker") {
  const auto memory = make_worker_memory();
  for (int round = 0; round != 200; ++round) {
    std::vector<std::unique_ptr<front::loan<>>> loans;
    for (unsigned k = 0; k != shm::max_loans; ++k) loans.push_back(std::make_unique<front::loan<>>(memory, k));
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t != 4; ++t)
      threads.emplace_back([&, t] {
        for (std::size_t k = t; k < loans.size(); k += 4) loans[k].reset();
      });
    for (auto& t : threads) t.join();
    REQUIRE(returned_flags(memory->mailbox()) == (round % 2 == 0 ? ~std::uint64_t{0} : 0));
  }
}
