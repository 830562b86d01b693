// SPDX-License-Identifier: BSL-1.0
// The shipped worker loop on threads and the shipped dispatcher over the same mappings, with sleeping, waking,
// doorbells and revocations, at full speed: ThreadSanitizer cannot see across processes. Two threads submit and
// cancel under a mutex, as front/pool_impl.hpp has it; a third drains and sleeps on an epoll. A wake-up that is lost
// shows as a wait that times out.
#include <coproc/front/dispatcher.hpp>
#include <coproc/front/record_handler.hpp>
#include <coproc/worker/loop.hpp>

#include <coproc/os/epoll.hpp>

#include "front/fake_engine.hpp"
#include "support/sanitized.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <mutex>
#include <random>
#include <thread>

using namespace coproc;
using coproc::testing::fake_engine;
namespace front = coproc::detail::front;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t tasks_per_submitter = testing::sanitized ? 75'000 : 200'000;
constexpr std::size_t large_result = 700;

// The argument is the task's number; the result its triple, sometimes followed by enough to leave the slot.
void triple(std::span<const std::byte> arguments, writer& w) {
  std::uint64_t n;
  std::memcpy(&n, arguments.data(), sizeof n);
  const std::uint64_t result = 3 * n;
  w.put_bytes(&result, sizeof result);
  if (n % 5 == 0) std::memset(w.claim(large_result), static_cast<int>(n % 256), large_result);
}

// Kept where a pool keeps the handler.
std::uint64_t& number_of(front::task_record& t) { return *reinterpret_cast<std::uint64_t*>(t.near_handler); }

struct bell_only final : detail::worker::environment {
  explicit bell_only(int bell) : eventfd(bell) {}

  void ring() noexcept override { os::ring(eventfd); }
  std::span<const std::byte> segment(std::uint32_t) override { return {}; }
  void read_orders(std::uint64_t) override {}
  void leave() noexcept override { std::abort(); }
  void before_sleep() noexcept override {}
  void after_task() noexcept override {}

  int eventfd;
};

struct no_processes final : front::effects {
  void signal(front::worker&, int) noexcept override { ++signals; }
  void dismiss(front::worker&) noexcept override { ++signals; }
  void server_hangs() noexcept override { ++signals; }
  std::uint64_t private_bytes(const front::worker&) const noexcept override { return 0; }
  void request_start(unsigned) override { ++signals; }
  void forget_starts() noexcept override {}
  int send_segment(front::worker&, const shm::argument_block&) noexcept override { return 0; }
  void retire(std::unique_ptr<front::worker>) noexcept override { ++signals; }

  int signals = 0;
};

/// One worker thread and the memory that it shares with the front end.
class thread_worker {
public:
  static constexpr std::size_t file_bytes = 64 * 1024;

  explicit thread_worker(std::chrono::nanoseconds spin)
      : eventfd_(os::make_eventfd()), around_(eventfd_.get()), spin_(spin) {
    memory_ = std::make_shared<front::worker_memory>();
    const auto mailbox = os::make_memfd("coproc-test-mailbox", shm::mailbox_bytes);
    memory_->mailbox_map = os::mapping(mailbox.get(), shm::mailbox_bytes, os::access::read_write);
    results_fd_ = os::make_memfd("coproc-test-results", file_bytes);
    memory_->results_map = os::mapping(results_fd_.get(), file_bytes, os::access::read_write); // the one that both use
  }

  std::unique_ptr<front::worker> record(unsigned index) const {
    return std::make_unique<front::worker>(index, index + 1, memory_, 4096);
  }
  int eventfd() const { return eventfd_.get(); }

  void start() {
    thread_ = std::thread([this] {
      auto& m = memory_->mailbox();
      m.worker.phase.store(static_cast<std::uint32_t>(shm::worker_phase::initialized));
      detail::worker::worker_context context;
      context.mailbox = &m;
      detail::worker::worker_loop<> loop(m, shm::result_space(memory_->results_map.data(), file_bytes, m.parent.freed),
                                         4096, context, around_, spin_);
      loop.run();
    });
  }
  void join() { thread_.join(); }

private:
  std::shared_ptr<front::worker_memory> memory_;
  os::unique_fd results_fd_, eventfd_;
  bell_only around_;
  std::chrono::nanoseconds spin_;
  std::thread thread_;
};

class front_end {
public:
  front_end(unsigned workers, std::chrono::nanoseconds spin)
      : interrupt_(os::make_eventfd()), d_({.max_workers = workers, .max_queue = 300}, effects_),
        endings_(2 * tasks_per_submitter + 1) {
    epoll_.add(interrupt_.get(), EPOLLIN | EPOLLET, 0);
    for (unsigned i = 0; i != workers; ++i) {
      workers_.push_back(std::make_unique<thread_worker>(spin));
      epoll_.add(workers_.back()->eventfd(), EPOLLIN | EPOLLET, i + 1);
      d_.add_worker(workers_.back()->record(i), std::chrono::steady_clock::now());
      d_.workers().started(i + 1, 0, {}, std::chrono::steady_clock::now());
    }
  }

  void run(unsigned seed) {
    for (auto& w : workers_) w->start();
    std::thread submitters[] = {std::thread([&] { submit_all(1, seed); }),
                                std::thread([&] { submit_all(1 + tasks_per_submitter, seed + 1); })};
    drain_all();
    for (auto& t : submitters) t.join();
    d_.workers().each_worker([](front::worker& w) { w.request_shutdown(); });
    for (auto& w : workers_) w->join();
  }

  std::uint64_t completed = 0, values = 0, aborted = 0, sleeps = 0, wrong = 0;
  bool hung = false;
  int signals() const { return effects_.signals; }
  std::uint64_t outstanding() const { return d_.outstanding(); }

private:
  using wakes = std::vector<shm::mailbox*>;

  static void wake(const wakes& list) {
    for (auto* m : list) shm::waker::wake(*m);
  }
  void flush(wakes& list) {
    d_.waking().flush(false, [&](front::worker& w) { list.push_back(&w.mailbox()); });
  }

  void submit_all(std::uint64_t first, unsigned seed) {
    std::mt19937 random(seed);
    for (std::uint64_t n = first; n != first + tasks_per_submitter && !hung_.load(); ++n) {
      while (unfinished_.load(std::memory_order_relaxed) > 600 && !hung_.load()) std::this_thread::yield();
      if (random() % 2000 == 0)
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 300)); // others fall asleep
      ++unfinished_;
      front::task_record& t = records_.acquire();
      t.call = {reinterpret_cast<std::uint64_t>(&triple), 0, sizeof n};
      std::memcpy(t.bytes, &n, sizeof n);
      number_of(t) = n;
      const std::uint64_t ticket = t.ticket.load();
      const bool cancel = random() % 8 == 0;
      wakes list;
      {
        std::lock_guard lock(mutex_);
        d_.submit(t, std::chrono::steady_clock::now());
        after_change(list);
      }
      wake(list);
      if (!cancel) continue;
      list.clear();
      {
        std::lock_guard lock(mutex_);
        d_.cancel(t, ticket, random() % 2 ? front::cancel_strength::total : front::cancel_strength::partial,
                  os::clock_now());
        after_change(list);
      }
      wake(list);
    }
  }

  void after_change(wakes& list) {
    d_.pump(os::clock_now());
    flush(list);
    if (armed_ && !d_.completed().empty()) os::ring(interrupt_.get());
  }

  void drain_all() {
    while (completed != 2 * tasks_per_submitter && !hung) {
      front::task_list done;
      wakes list;
      bool sleep = false;
      {
        std::lock_guard lock(mutex_);
        armed_ = false;
        d_.waking().disarm();
        const auto now = os::clock_now();
        const std::size_t moved = d_.drain(64, now);
        d_.tick(now);
        d_.pump(now);
        flush(list);
        done.splice_back(d_.completed());
        if (moved == 0 && done.empty()) {
          d_.waking().arm(++arm_epoch_);
          shm::full_fence();
          sleep = armed_ = !d_.waking().any_head_done();
          if (!armed_) d_.waking().disarm();
        }
      }
      wake(list);
      while (front::task_record* t = done.pop_front()) complete(*t);
      if (sleep) sleep_on_epoll();
    }
  }

  void sleep_on_epoll() {
    ++sleeps;
    int timeout_ms = 20'000;
    {
      std::lock_guard lock(mutex_);
      if (d_.next_deadline() != os::time_point::max()) timeout_ms = 1; // work to be moved to an idle worker
    }
    std::array<epoll_event, 8> events;
    if (epoll_.wait(events, timeout_ms).empty() && timeout_ms > 1) hung = hung_ = true;
  }

  void complete(front::task_record& t) {
    ++completed;
    const std::uint64_t n = number_of(t);
    if (++endings_.at(n) != 1) ++wrong;
    if (t.outcome == front::verdict::value) {
      ++values;
      const std::size_t length = sizeof n + (n % 5 == 0 ? large_result : 0);
      std::uint64_t result = 0;
      if (t.result_length == length) std::memcpy(&result, result_bytes(t).data(), sizeof result);
      if (result != 3 * n || (n % 5 == 0 && result_bytes(t)[length - 1] != static_cast<std::byte>(n % 256))) ++wrong;
    } else if (t.outcome == front::verdict::aborted) {
      ++aborted;
    } else {
      ++wrong;
    }
    records_.recycle(t);
    --unfinished_;
  }

  os::epoll epoll_;
  os::unique_fd interrupt_;
  std::mutex mutex_;
  no_processes effects_;
  fake_engine engine_;
  front::record_store& records_ = engine_.records;
  front::dispatcher d_;
  std::vector<std::unique_ptr<thread_worker>> workers_;
  std::vector<unsigned char> endings_;
  std::atomic<std::uint64_t> unfinished_{0};
  std::atomic<bool> hung_{false};
  std::uint64_t arm_epoch_ = 0;
  bool armed_ = false;
};

} // namespace

TEST_CASE("no wake-up is lost and every task completes once, when everybody sleeps and wakes at full speed") {
  const unsigned workers = GENERATE(1u, 3u);
  const auto spin = GENERATE(0us, 20us);
  const unsigned seed = 1 + workers + static_cast<unsigned>(spin.count());
  CAPTURE(workers, spin.count(), seed);
  front_end f(workers, spin);
  f.run(seed);
  CHECK_FALSE(f.hung);
  CHECK(f.completed == 2 * tasks_per_submitter);
  CHECK(f.values + f.aborted == f.completed);
  CHECK(f.wrong == 0);
  CHECK(f.signals() == 0);
  CHECK(f.outstanding() == 0);
  CHECK(f.sleeps > 0);
  WARN(f.values << " values, " << f.aborted << " withdrawn, " << f.sleeps << " sleeps of the front end");
}
