// SPDX-License-Identifier: BSL-1.0
// The worker loop on a thread, over a real mailbox, in an environment that counts: results in the slot and in the file,
// growth, exceptions, limits, revocation, orders, sleeping, the doorbell, the end. The test plays the front end by
// hand.
#include <coproc/worker/loop.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cfenv>
#include <chrono>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>

using namespace coproc;
using namespace std::chrono_literals;
using shm::result_kind;
using shm::slot_state;

namespace {

struct counting_environment final : detail::worker::environment {
  std::atomic<int> rings{0}, sleeps{0}, tasks_ended{0};
  std::atomic<std::uint64_t> orders{0};
  std::map<std::uint32_t, std::vector<std::byte>> segments;
  std::map<std::uint32_t, std::vector<std::byte>> ordered; ///< what the first order changes of them

  void ring() noexcept override { ++rings; }
  std::span<const std::byte> segment(std::uint32_t id) override { return segments.at(id); }
  void read_orders(std::uint64_t sent) override {
    orders = sent;
    if (sent == 0) return;
    for (auto& [id, bytes] : ordered) segments[id].swap(bytes);
    ordered.clear();
  }
  void leave() noexcept override { std::abort(); }
  void before_sleep() noexcept override { ++sleeps; }
  void after_task() noexcept override { ++tasks_ended; }
};

class loop_bench {
public:
  static constexpr std::size_t file_bytes = 16384;

  explicit loop_bench(std::uint64_t max_result = 8192, std::chrono::nanoseconds spin = 0ns,
                      std::chrono::nanoseconds busy_poll = 0ns, bool restore = false)
      : mailbox_fd_(os::make_memfd("coproc-test-mailbox", shm::mailbox_bytes)),
        results_fd_(os::make_memfd("coproc-test-results", file_bytes)),
        mailbox_map_(mailbox_fd_.get(), shm::mailbox_bytes, os::access::read_write),
        results_map_(results_fd_.get(), file_bytes, os::access::read_write),
        m(*reinterpret_cast<shm::mailbox*>(mailbox_map_.data())),
        loop_(m, shm::result_space(results_map_.data(), file_bytes, m.parent.freed), max_result, context, around, spin,
              unlimited, busy_poll, restore) {
    context.mailbox = &m;
  }
  ~loop_bench() { stop(); }

  void start() {
    thread_ = std::thread([this] { loop_.run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    m.parent.shutdown.store(1);
    waker_.force(m);
    shm::waker::wake(m);
    thread_.join();
  }

  std::uint64_t publish(coproc::detail::entry_function entry, std::string_view arguments = {},
                        shm::packed_location at = {}) {
    const std::uint64_t seq = issued_++;
    shm::publish(m.at(seq), seq, {reinterpret_cast<std::uint64_t>(entry), at.pack(), arguments.size()},
                 at.tag == 0 ? std::as_bytes(std::span(arguments)) : std::span<const std::byte>());
    wake();
    return seq;
  }
  void wake() {
    shm::full_fence();
    if (waker_.must_wake(m)) shm::waker::wake(m);
  }

  bool is_done(std::uint64_t seq) const { return shm::load_state(m.at(seq)) == shm::pack(seq, slot_state::done); }
  void await(std::uint64_t seq) const {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!is_done(seq)) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      std::this_thread::yield();
    }
  }

  struct result {
    result_kind kind;
    std::uint64_t offset;
    std::string bytes;
  };
  result take(std::uint64_t seq) {
    await(seq);
    auto& s = m.at(seq);
    const auto at = shm::packed_location::unpack(s.location.load());
    const auto kind = static_cast<result_kind>(at.tag);
    const bool in_file = kind == result_kind::value_in_file || kind == result_kind::exception_in_file;
    const std::byte* from = in_file ? results_map_.data() + at.offset : s.bytes;
    result r{kind, at.offset, std::string(reinterpret_cast<const char*>(from), s.length.load())};
    shm::release(s, seq);
    return r;
  }
  void free_result() {
    m.parent.freed.fetch_add(1, std::memory_order_release);
    wake();
  }

private:
  os::unique_fd mailbox_fd_, results_fd_;
  os::mapping mailbox_map_, results_map_;

public:
  shm::mailbox& m;
  detail::worker::worker_context context;
  counting_environment around;

private:
  detail::worker::worker_loop<> loop_;
  shm::waker waker_;
  std::uint64_t issued_ = 0;
  std::thread thread_;
};

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void echo(std::span<const std::byte> arguments, writer& w) {
  const std::string copy = text(arguments);
  w.put_bytes(copy.data(), copy.size());
}

// arguments: how many bytes, in decimal; written in pieces of growing size, the i-th byte is i % 251.
void bytes(std::span<const std::byte> arguments, writer& w) {
  const std::size_t n = std::stoul(text(arguments));
  for (std::size_t i = 0, piece = 1; i != n; piece = std::min(piece * 2, n - i)) {
    piece = std::min(piece, n - i);
    std::byte* to = w.claim(piece);
    for (std::size_t k = 0; k != piece; ++k) to[k] = static_cast<std::byte>((i + k) % 251);
    i += piece;
  }
}
std::string expected_bytes(std::size_t n) {
  std::string s(n, '\0');
  for (std::size_t i = 0; i != n; ++i) s[i] = static_cast<char>(i % 251);
  return s;
}

void throws(std::span<const std::byte> arguments, writer& w) {
  w.put_bytes(std::string(1000, 'x').data(), 1000); // part of a result that will not be
  throw std::range_error(text(arguments));
}

net::error_code thrown_code(const std::string& encoded) {
  return code_of(coproc::detail::decode_exception(std::as_bytes(std::span(encoded))));
}

} // namespace

TEST_CASE("a small result returns in its slot, over the arguments") {
  loop_bench b;
  b.start();
  for (const std::size_t n : {0u, 1u, 223u, 224u}) {
    const std::string arguments(n, 'a');
    const auto r = b.take(b.publish(echo, arguments));
    CHECK(r.kind == result_kind::value_inline);
    CHECK(r.bytes == arguments);
  }
}

TEST_CASE("a result that outgrows its slot goes to the result file, at a multiple of 64, with every byte in place") {
  loop_bench b;
  b.start();
  for (const std::size_t n : {225u, 226u, 1000u, 8191u, 8192u}) {
    const auto r = b.take(b.publish(bytes, std::to_string(n)));
    CHECK(r.kind == result_kind::value_in_file);
    CHECK(r.offset % 64 == 0);
    CHECK(r.bytes == expected_bytes(n));
    b.free_result();
  }
}

TEST_CASE("results are freed in order and the file is used as a ring, whatever their sizes") {
  const unsigned seed = 7;
  std::mt19937 random(seed);
  loop_bench b;
  b.start();
  std::vector<std::pair<std::uint64_t, std::size_t>> pending;
  std::size_t in_file = 0;
  const auto take_oldest = [&] {
    const auto [seq, n] = pending.front();
    pending.erase(pending.begin());
    const auto r = b.take(seq);
    REQUIRE(r.bytes == expected_bytes(n));
    if (r.kind != result_kind::value_in_file) return;
    ++in_file;
    b.free_result();
  };
  for (int i = 0; i != 2000; ++i) {
    const std::size_t n = random() % (random() % 3 == 0 ? 8000 : 600);
    pending.emplace_back(b.publish(bytes, std::to_string(n)), n);
    while (pending.size() > random() % 20) take_oldest();
  }
  while (!pending.empty()) take_oldest();
  CHECK(in_file > 1000);
}

TEST_CASE("a worker waits for room in its result file, and goes on when there is some") {
  loop_bench b;
  b.start();
  std::vector<std::uint64_t> published;
  for (int i = 0; i != 3; ++i) published.push_back(b.publish(bytes, "8000"));
  b.await(published[1]);
  CHECK_FALSE(b.is_done(published[2]));
  b.take(published[0]);
  CHECK_FALSE(b.is_done(published[2])); // consumed, not freed
  b.free_result();
  b.await(published[2]);
  CHECK(b.take(published[1]).bytes == expected_bytes(8000));
  CHECK(b.take(published[2]).bytes == expected_bytes(8000));
}

TEST_CASE("an exception replaces what was written of the result, in the slot or in the file") {
  loop_bench b;
  b.start();
  const auto r = b.take(b.publish(throws, "out of range"));
  CHECK(r.kind == result_kind::exception_in_file);
  const auto e = coproc::detail::decode_exception(std::as_bytes(std::span(r.bytes)));
  try {
    std::rethrow_exception(e);
  } catch (const std::range_error& error) {
    CHECK(error.what() == std::string("out of range"));
  }
}

TEST_CASE("a result larger than max_result becomes payload_too_large, and the next task runs") {
  const auto limit = GENERATE(as<std::uint64_t>(), 100, 224, 1000, 8192);
  loop_bench b(limit);
  b.start();
  const auto largest = b.take(b.publish(bytes, std::to_string(limit)));
  CHECK(largest.bytes == expected_bytes(limit));
  if (largest.kind == result_kind::value_in_file) b.free_result();
  const auto r = b.take(b.publish(bytes, std::to_string(limit + 1)));
  CHECK((r.kind == result_kind::exception_inline || r.kind == result_kind::exception_in_file));
  CHECK(thrown_code(r.bytes) == make_error_code(errc::payload_too_large));
  if (r.kind == result_kind::exception_in_file) b.free_result();
  CHECK(b.take(b.publish(echo, "on")).bytes == "on");
}

TEST_CASE("large arguments are read from their segment") {
  loop_bench b;
  b.around.segments[3].resize(64, std::byte{'s'});
  b.around.segments[3][10] = std::byte{'t'};
  b.start();
  CHECK(b.take(b.publish(echo, "123456", {3, 8})).bytes == "sstsss");
}

TEST_CASE("a segment is what the orders say that were sent before the task, also in a worker that was never idle") {
  loop_bench b;
  b.around.segments[3].resize(64, std::byte{'o'});
  b.around.ordered[3].resize(64, std::byte{'n'});
  static std::atomic<int> stage;
  stage = 0;
  const auto busy = b.publish([](std::span<const std::byte>, writer&) {
    stage = 1;
    while (stage != 2) std::this_thread::yield();
  });
  b.start();
  while (stage != 1) std::this_thread::yield();
  const auto before = b.publish(echo, "1234", {3, 8});
  const auto busy_again = b.publish([](std::span<const std::byte>, writer&) {
    stage = 3;
    while (stage != 4) std::this_thread::yield();
  });
  stage = 2;
  b.await(busy);
  CHECK(b.take(before).bytes == "oooo");
  while (stage != 3) std::this_thread::yield();
  b.m.parent.sent_messages.store(1, std::memory_order_release);
  const auto after = b.publish(echo, "1234", {3, 8});
  stage = 4;
  b.await(busy_again);
  CHECK(b.take(after).bytes == "nnnn");
}

TEST_CASE("what arguments refer to is viewed in its segment, wherever the arguments themselves lie") {
  loop_bench b;
  for (const std::uint32_t id : {2u, 3u}) b.around.segments[id].resize(256, std::byte{0});
  b.around.segments[2][100] = std::byte{'a'};
  b.around.segments[2][107] = std::byte{'h'};
  static const void* viewed;
  const auto ends = [](std::string_view text) {
    viewed = text.data();
    return std::string{text.front(), text.back()};
  };
  using F = std::remove_const_t<decltype(ends)>;
  std::array<std::byte, 64> memory{};
  writer w(memory.data(), memory.size(), nullptr, nullptr);
  coproc::detail::encode_far_range(w, {shm::packed_location{2, 100}.pack(), 8});
  const std::string_view arguments(reinterpret_cast<const char*>(memory.data()), w.size());
  std::copy_n(memory.data(), w.size(), b.around.segments[3].data() + 64);
  b.start();
  for (const shm::packed_location at : {shm::packed_location{0, 0}, shm::packed_location{3, 64}}) {
    viewed = nullptr;
    const auto r = b.take(b.publish(coproc::detail::entry_of<F, std::string_view>, arguments, at));
    REQUIRE(r.kind == result_kind::value_inline);
    CHECK(r.bytes == "\2ah");
    CHECK(viewed == b.around.segments[2].data() + 100);
  }
}

TEST_CASE("a revoked slot is acknowledged and never run") {
  loop_bench b;
  static std::atomic<int> ran;
  ran = 0;
  const auto count = [](std::span<const std::byte>, writer&) { ++ran; };
  std::vector<std::uint64_t> seqs;
  for (int i = 0; i != 6; ++i) seqs.push_back(b.publish(count));
  for (const std::size_t i : {1u, 2u, 5u}) REQUIRE(shm::revoke(b.m.at(seqs[i]), seqs[i]));
  b.start();
  for (const auto seq : seqs) b.await(seq);
  CHECK(ran == 3);
}

TEST_CASE("a worker that sleeps is woken by a revocation's acknowledgement being due, and by each publication") {
  loop_bench b;
  b.start();
  for (int i = 0; i != 1000; ++i) {
    const auto seq = b.publish(echo, "x");
    if (i % 3 == 0) static_cast<void>(shm::revoke(b.m.at(seq), seq));
    b.wake();
    b.await(seq);
    shm::release(b.m.at(seq), seq);
  }
}

TEST_CASE("the end comes when it is asked for and the ring is empty, not before") {
  loop_bench b;
  std::vector<std::uint64_t> seqs;
  for (int i = 0; i != 64; ++i) seqs.push_back(b.publish(echo, "x"));
  b.m.parent.shutdown.store(1);
  b.start();
  b.stop();
  for (const auto seq : seqs) CHECK(b.is_done(seq));
}

TEST_CASE("the end reaches a worker that sleeps") {
  loop_bench b;
  b.start();
  b.take(b.publish(echo, "x"));
  while (b.m.worker.sleeping.load() == 0) std::this_thread::yield();
  b.stop();
}

TEST_CASE("the doorbell rings after a task, once per arm epoch, and not while the front end polls") {
  loop_bench b;
  b.start();
  b.take(b.publish(echo));
  CHECK(b.around.rings == 0);
  b.m.doorbell.armed.store(1);
  for (int i = 0; i != 5; ++i) b.take(b.publish(echo));
  b.m.doorbell.armed.store(2);
  for (int i = 0; i != 5; ++i) b.take(b.publish(echo));
  b.m.doorbell.armed.store(0);
  for (int i = 0; i != 5; ++i) b.take(b.publish(echo));
  b.stop();
  CHECK(b.around.rings == 2);
}

TEST_CASE("an acknowledgement rings too: the front end may wait for the slot") {
  loop_bench b;
  const auto seq = b.publish(echo);
  REQUIRE(shm::revoke(b.m.at(seq), seq));
  b.m.doorbell.armed.store(1);
  b.start();
  b.await(seq);
  b.stop();
  CHECK(b.around.rings == 1);
}

TEST_CASE("messages on the control socket are read before the worker sleeps again") {
  loop_bench b;
  b.start();
  b.take(b.publish(echo));
  while (b.m.worker.sleeping.load() == 0) std::this_thread::yield();
  b.m.parent.sent_messages.store(5, std::memory_order_release);
  b.wake();
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (b.around.orders != 5 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  CHECK(b.around.orders == 5);
}

TEST_CASE("a task sees its own stop token, and no other's") {
  static detail::worker::worker_context* context;
  static std::atomic<int> stage;
  loop_bench b;
  context = &b.context;
  stage = 0;
  const auto look = [](std::span<const std::byte>, writer& w) {
    const bool before = context->stop_requested();
    stage = 1;
    while (stage != 2) std::this_thread::yield();
    const char seen[] = {before ? 'y' : 'n', context->stop_requested() ? 'y' : 'n'};
    w.put_bytes(seen, 2);
  };
  const auto run = [&](std::uint64_t stop_offset) {
    stage = 0;
    const auto seq = b.publish(look);
    while (stage != 1) std::this_thread::yield();
    b.m.parent.stop.store(seq + stop_offset);
    stage = 2;
    return b.take(seq).bytes;
  };
  CHECK_FALSE(b.context.stop_requested());
  b.start();
  CHECK(run(1) == "ny");
  CHECK(run(0) == "nn"); // the token of the task before
  CHECK(run(2) == "nn");
  b.stop();
  CHECK_FALSE(b.context.stop_requested());
}

namespace {
std::atomic<const std::atomic<std::uint32_t>*> cpu_word{};
}

TEST_CASE("a worker that has not been idle has published its CPU after a task that took a while") {
  loop_bench b;
  cpu_word = &b.m.worker.cpu;
  const auto takes_a_while = [](std::span<const std::byte>, writer&) { os::wait_for(1ms); };
  const auto is_known = [](std::span<const std::byte>, writer& w) {
    w.put_bytes(cpu_word.load()->load() != 0 ? "y" : "n", 1);
  };
  const auto first = b.publish(takes_a_while), second = b.publish(is_known);
  b.start();
  b.take(first);
  CHECK(b.take(second).bytes == "y");
  b.stop();
}

TEST_CASE(
    "a task finds the floating-point modes with which the loop began; the rest is restored only where that is wanted") {
  for (const bool restore : {false, true}) {
    loop_bench b(8192, 0ns, 0ns, restore);
    const auto rounds_up = [](std::span<const std::byte>, writer&) { std::fesetround(FE_UPWARD); };
    const auto says_how = [](std::span<const std::byte>, writer& w) {
      w.put_bytes(std::fegetround() == FE_TONEAREST ? "n" : "u", 1);
    };
    const auto first = b.publish(rounds_up), second = b.publish(says_how);
    b.start();
    b.take(first);
    CHECK(b.take(second).bytes == "n");
    b.stop();
    CHECK(b.around.tasks_ended == (restore ? 2 : 0));
  }
}

TEST_CASE("initially idle workers sleep, and publish their CPU whether they spin before or not") {
  const auto spin = GENERATE(0us, 50us);
  loop_bench b(8192, spin);
  b.start();
  b.take(b.publish(echo));
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (b.m.worker.sleeping.load() == 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  b.stop();
  CHECK(b.around.sleeps > 0);
  CHECK(b.m.worker.cpu.load() != 0);
}

namespace {

// Takes 2 ms by the clock that is asked about it.
void takes_2_ms(std::span<const std::byte>, writer&) {
  for (const auto end = std::chrono::steady_clock::now() + 2ms; std::chrono::steady_clock::now() < end;) {
  }
}

} // namespace

TEST_CASE("the first task and every long one report how long they ran, short ones now and then") {
  loop_bench b;
  std::vector<std::uint64_t> long_ones, short_ones;
  for (int i = 0; i != 3; ++i) long_ones.push_back(b.publish(takes_2_ms));
  for (int i = 0; i != 40; ++i) short_ones.push_back(b.publish(echo));
  b.start();
  for (const auto seq : long_ones) {
    b.await(seq);
    CHECK(b.m.at(seq).entry.load() >= 2'000'000);
  }
  b.await(short_ones.back());
  int reported = 0;
  for (const auto seq : short_ones) reported += b.m.at(seq).entry.load() != 0;
  CHECK(reported >= 40 / 16);
  CHECK(b.m.at(short_ones.front()).entry.load() != 0);
}

TEST_CASE("a worker that polls does not sleep, does what it does before sleeping, and ends when it is told to") {
  loop_bench b(8192, 0ns, unlimited);
  b.start();
  for (int i = 0; i != 3; ++i) {
    const int idle_before = b.around.sleeps;
    const auto seq = b.publish(echo, "abc");
    CHECK(b.take(seq).bytes == "abc");
    while (b.around.sleeps == idle_before) std::this_thread::yield();
    CHECK(b.m.worker.sleeping.load() == 0);
  }
  b.m.parent.sent_messages.store(7);
  while (b.around.orders != 7) std::this_thread::yield(); // nobody woke it
  CHECK(b.m.worker.sleeping.load() == 0);
}

TEST_CASE("a poll that ends is followed by sleep") {
  loop_bench b(8192, 0ns, 1ms);
  b.start();
  while (b.m.worker.sleeping.load() == 0) std::this_thread::yield();
  const auto seq = b.publish(echo, "abc");
  CHECK(b.take(seq).bytes == "abc");
}
