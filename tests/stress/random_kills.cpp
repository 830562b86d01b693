// SPDX-License-Identifier: BSL-1.0
// random_kills --kills N --seed S [--seconds T]: workers are killed at random from outside while tasks of random
// length, size and outcome run, are cancelled in all three ways and time out, wait for room and are refused; pools come
// and go, some with their fork server killed. Every operation must complete exactly once, as its plan allows, with its
// bytes, and within a second of its deadline. The seed decides all plans; the same command replays them.
#include "killer.hpp"

#include <coproc/argument_array.hpp>

#include <algorithm>
#include <cstdlib>
#include <queue>
#include <string_view>
#include <sys/resource.h>

using namespace coproc;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

using bytes = std::vector<std::byte>;
using steady = std::chrono::steady_clock;

enum class outcome {
  value,
  exception,
  stopped,
  lost,
  lost_with_server,
  timed_out,
  aborted,
  refused,
  start_failed,
  count_
};
constexpr const char* outcome_names[] = {
    "values",    "exceptions",           "stopped politely", "lost", "lost with the fork server", "timed out",
    "cancelled", "refused (queue full)", "without a worker"};

struct totals {
  std::uint64_t submitted = 0, completed = 0, pools = 0, cancellations = 0, servers_killed = 0, wrong = 0;
  std::uint64_t lost_innocent = 0; // of tasks that do not kill their worker
  std::array<std::uint64_t, static_cast<std::size_t>(outcome::count_)> by_outcome{};
  std::int64_t latest_ns = 0, slowest_ns = 0,
               starved_ns = 0; // after the deadline; between end and completion; between ticks
};

struct operation {
  task_plan plan;
  bool open = false, eager = false;
  duration timeout = unlimited;
  on_cancel when_cancelled = on_cancel::kill;
  bool total = false, partial = false, terminal = false; // emitted
  std::int64_t submitted_ns = 0, deadline_ns = 0;
  net::cancellation_signal signal;
  std::optional<task<bytes>> handle;
};

enum class ending_of_pool { drained, destroyed, server_killed };

/// One pool from construction to destruction.
class session {
  // Where the library has the option.
  template <class Options>
  static void recycle_workers(Options& options, unsigned tasks) {
    if constexpr (requires { options.max_tasks_per_child = tasks; }) options.max_tasks_per_child = tasks;
  }

public:
  session(std::uint64_t seed, std::uint64_t kills_wanted, totals& t)
      : random_(seed), kills_wanted_(kills_wanted), totals_(t) {}

  void run() {
    ++totals_.pools;
    pool_options options;
    const unsigned workers = 1 + below(4);
    options.max_workers = workers;
    board_.worker_count = workers;
    board_.pause_us = chance(0.8) ? 100 : 1500;
    options.max_queue = chance(0.5) ? count(8 + below(24)) : count(0);
    options.max_payload = 2 << 20;
    options.initializer = sign_on;
    // the killer also hits workers that are still initializing, as often as it likes
    options.max_start_failures = 1'000'000;
    options.kill_grace = std::chrono::milliseconds(5 + below(40));
    if (chance(0.5)) recycle_workers(options, 20 + below(200));
    for (auto& pid : board_.worker_pid) pid = 0;
    for (auto& r : board_.running) r = 0;
    in_flight_ = 1 + below(chance(0.5) ? 6 : 120);
    const auto ending = chance(0.4)   ? ending_of_pool::destroyed
                        : chance(0.2) ? ending_of_pool::server_killed
                                      : ending_of_pool::drained;

    pool_.emplace(io_, options);
    last_tick_ = clock_ns();
    tick();
    for (;;) {
      io_.restart();
      io_.run_for(50ms);
      if (filling_ && board_.kills >= kills_wanted_) {
        filling_ = false;
        if (ending == ending_of_pool::destroyed) break;
        if (ending == ending_of_pool::server_killed) kill_server();
      }
      if (!filling_ && open_ == 0) break;
    }
    destroyed_ = true;
    pool_.reset();
    timer_.cancel();
    io_.restart();
    io_.run_for(10s);
    if (open_ != 0) {
      wrong("operations that never complete");
      give_up();
    }
    for (auto& o : operations_) o.handle.reset();
  }

private:
  bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random_) < p; }
  std::uint32_t below(std::uint64_t n) { return static_cast<std::uint32_t>(random_() % n); }

  void wrong(std::string_view what, const operation* o = nullptr) {
    ++totals_.wrong;
    if (o == nullptr) return fmt::print(stderr, "random_kills: {}\n", what);
    const task_note& n = note(*o);
    fmt::print(
        stderr,
        "random_kills: {}: operation {} ({}, begun {} times, total {}, partial {}, terminal {}, time-out {} us)\n",
        what, o->plan.id, name_of(o->plan.kind), n.begun.load(), o->total, o->partial, o->terminal,
        o->timeout == unlimited ? -1 : o->timeout / 1us);
  }
  [[noreturn]] void give_up() {
    print_states(board_);
    board_.stop = true;
    std::_Exit(1);
  }
  task_note& note(const operation& o) { return board_.notes[o.plan.slot]; }

  void kill_server() {
    ++totals_.servers_killed;
    server_killed_ = true;
    const pid_t server = board_.server;
    const os::unique_fd fd = os::open_pidfd(server);
    if (fd && status_of(server).parent == ::getpid()) os::send_signal(fd.get(), SIGKILL);
  }

  // ---- making operations

  task_plan make_plan(std::uint32_t slot) {
    task_plan p;
    p.id = ++totals_.submitted;
    p.slot = slot;
    const auto dice = below(100);
    p.kind = dice < 60   ? task_kind::value
             : dice < 70 ? task_kind::sleeper
             : dice < 78 ? task_kind::exception
             : dice < 81 ? task_kind::exits
             : dice < 84 ? task_kind::crashes
             : dice < 89 ? task_kind::hangs
             : dice < 91 ? task_kind::deaf
                         : task_kind::polite;
    const bool sleeps = p.kind == task_kind::sleeper || p.kind == task_kind::polite;
    p.length = sleeps ? below(3000) : below(chance(0.7) ? 2000 : 1'000'000);
    static constexpr int signals[] = {SIGSEGV, SIGABRT, SIGILL, SIGFPE, SIGBUS, SIGKILL};
    p.code = p.kind == task_kind::crashes ? signals[below(std::size(signals))] : static_cast<int>(below(4));
    p.argument_bytes = random_size();
    p.result_bytes = random_size();
    return p;
  }

  std::uint32_t random_size() {
    const auto dice = below(100);
    return below(dice < 50 ? 100 : dice < 80 ? 4 << 10 : dice < 97 ? 64 << 10 : known_bytes::max_bytes + 1);
  }

  void refill() {
    for (std::uint32_t slot = 0; slot != operations_.size() && open_ < in_flight_ && filling_; ++slot)
      if (!operations_[slot].open) submit(slot);
  }

  void submit(std::uint32_t slot) {
    operation& o = operations_[slot];
    o.plan = make_plan(slot);
    o.open = true;
    ++open_;
    o.total = o.partial = o.terminal = false;
    o.timeout = chance(0.3) ? duration(1us * (500 + below(20'000))) : unlimited;
    const bool must_be_killed = o.plan.kind == task_kind::hangs || o.plan.kind == task_kind::deaf;
    o.when_cancelled = !must_be_killed && chance(0.2) ? on_cancel::request_stop : on_cancel::kill;
    o.submitted_ns = clock_ns();
    o.deadline_ns = o.submitted_ns + 1'000 * (20'000 + below(200'000));
    task_note& n = note(o);
    n.begun = 0;
    n.begun_ns = n.ended_ns = 0;
    n.cancels = 0;
    n.submitted_ns = o.submitted_ns;
    n.deadline_ns = o.deadline_ns;
    n.kind = o.plan.kind;
    n.id = o.plan.id;
    n.open = true;

    due_.push({o.deadline_ns, slot, o.plan.id, net::cancellation_type::terminal});
    if (chance(0.2))
      for (auto times = 1 + below(2); times != 0; --times) {
        static constexpr net::cancellation_type types[] = {
            net::cancellation_type::total, net::cancellation_type::partial, net::cancellation_type::terminal};
        due_.push({o.submitted_ns + 1'000 * below(chance(0.5) ? 200 : 4000), slot, o.plan.id, types[below(3)]});
      }

    const auto argument = known_bytes::argument_of(o.plan);
    if (chance(0.9)) return start(o, slot, argument);
    const argument_array<std::byte> array(*pool_, argument.size());
    std::ranges::copy(argument, array.begin());
    start(o, slot, array);
  }

  void start(operation& o, std::uint32_t slot, const auto& argument) {
    const pool_ref ref = pool_->with({.timeout = o.timeout, .cancel = o.when_cancelled});
    o.eager = chance(0.25);
    auto handler = [this, slot, id = o.plan.id](std::exception_ptr e, const bytes& result) {
      complete(slot, id, e, result);
    };
    if (o.eager) {
      o.handle.emplace(ref.submit(run_task, o.plan, argument));
      o.handle->async_wait(std::move(handler));
    } else {
      async_run(ref, work(run_task, o.plan, argument),
                net::bind_cancellation_slot(o.signal.slot(), std::move(handler)));
    }
  }

  // ---- time

  struct cancellation {
    std::int64_t at_ns;
    std::uint32_t slot;
    std::uint64_t id;
    net::cancellation_type type;
    bool operator>(const cancellation& other) const { return at_ns > other.at_ns; }
  };

  void tick() {
    const auto now = clock_ns();
    ++board_.beat;
    totals_.starved_ns = std::max(totals_.starved_ns, now - last_tick_ - tick_ns);
    starved_ns_ = std::max(starved_ns_ - (now - last_tick_) / 8, now - last_tick_ - tick_ns); // forgotten after a while
    last_tick_ = now;
    while (!due_.empty() && due_.top().at_ns <= now) {
      const cancellation c = due_.top();
      due_.pop();
      operation& o = operations_[c.slot];
      if (o.open && o.plan.id == c.id) cancel(o, c.type);
    }
    for (const auto& o : operations_)
      if (o.open && now > o.deadline_ns + 10'000'000'000) {
        wrong("never completes", &o);
        give_up();
      }
    refill();
    if (!filling_ && open_ == 0) return;
    timer_.expires_after(std::chrono::nanoseconds(tick_ns));
    timer_.async_wait([this](net::error_code e) {
      if (!e) tick();
    });
  }

  void cancel(operation& o, net::cancellation_type type) {
    ++totals_.cancellations;
    ++note(o).cancels;
    (type == net::cancellation_type::terminal  ? o.terminal
     : type == net::cancellation_type::partial ? o.partial
                                               : o.total) = true;
    if (o.eager)
      o.handle->cancel(type);
    else
      o.signal.emit(type);
  }

  // ---- endings

  void complete(std::uint32_t slot, std::uint64_t id, const std::exception_ptr& e, const bytes& result) {
    operation& o = operations_[slot];
    if (!o.open || o.plan.id != id) return wrong("completes twice", &o);
    const auto now = clock_ns();
    ++totals_.completed;
    const outcome how = judge(o, e, result);
    ++totals_.by_outcome[static_cast<std::size_t>(how)];
    judge_time(o, now);
    if (note(o).begun > 1) wrong("was begun twice", &o);
    o.open = false;
    note(o).open = false;
    note(o).id = 0;
    --open_;
    refill();
  }

  void judge_time(const operation& o, std::int64_t now) {
    const std::int64_t late = now - o.deadline_ns, slow = note(o).ended_ns == 0 ? 0 : now - note(o).ended_ns;
    // On a machine with too few CPUs each process on the way (worker, fork server, front end) waits for its turn, too.
    const std::int64_t limit = 1'000'000'000 + 4 * std::max(starved_ns_, board_.starved_ns.load());
    totals_.latest_ns = std::max(totals_.latest_ns, late);
    totals_.slowest_ns = std::max(totals_.slowest_ns, slow);
    if (late > limit) wrong("completes more than a second after its deadline", &o);
    if (slow > limit) wrong("completes more than a second after its task's end", &o);
    if (o.timeout != unlimited && note(o).begun != 0 && now > note(o).begun_ns + o.timeout.count() + limit)
      wrong("completes more than a second after its time-out", &o);
  }

  outcome judge(const operation& o, const std::exception_ptr& e, const bytes& result) {
    const auto begun = note(o).begun.load();
    const bool can_end =
        o.plan.kind == task_kind::value || o.plan.kind == task_kind::sleeper || o.plan.kind == task_kind::polite;
    if (!e) {
      if (!can_end || begun != 1) wrong("a value out of nothing", &o);
      if (!same_bytes(result, known_bytes::result_of(o.plan))) wrong("the wrong bytes", &o);
      return outcome::value;
    }
    try {
      std::rethrow_exception(e);
    } catch (const worker_lost& lost) {
      return judge_loss(o, lost);
    } catch (const task_timeout&) {
      // Claimed, and not yet at its first line: begun by the worker's word, which the board does not know.
      // A submission out of a handler may count from the beginning of its turn.
      const std::int64_t turn_ns = 20'000'000 + starved_ns_;
      if (o.timeout == unlimited || begun > 1 || clock_ns() < o.submitted_ns + o.timeout.count() - turn_ns)
        wrong("times out", &o);
      return outcome::timed_out;
    } catch (const pool_error& p) {
      if (p.code() == make_error_code(errc::queue_full) && o.eager && begun == 0) return outcome::refused;
      if (p.code() == make_error_code(errc::worker_start_failed) && server_killed_ && begun == 0)
        return outcome::start_failed;
      wrong(p.what(), &o);
    } catch (const net::system_error& s) {
      if (s.code() != net::error::operation_aborted) wrong(s.what(), &o);
      if (begun == 1 && o.plan.kind == task_kind::polite && (o.partial || o.terminal) && note(o).ended_ns == 0 &&
          !destroyed_)
        return outcome::stopped;
      const bool killed = o.terminal && o.when_cancelled == on_cancel::kill;
      const bool withdrawn = begun == 0 && (o.total || o.partial || o.terminal);
      if (!killed && !withdrawn && !destroyed_) wrong("aborted for no reason", &o);
      return outcome::aborted;
    } catch (const std::runtime_error& r) {
      if (o.plan.kind != task_kind::exception || r.what() != std::to_string(o.plan.id)) wrong(r.what(), &o);
      return outcome::exception;
    } catch (const std::exception& x) {
      wrong(x.what(), &o);
    }
    return outcome::exception;
  }

  outcome judge_loss(const operation& o, const worker_lost& lost) {
    // Told apart by the board alone: a task may have been claimed and not have come to its first line.
    if (lost.cause() == exit_cause::fork_server) {
      if (!server_killed_) wrong("lost with a fork server that lives", &o);
      return outcome::lost_with_server;
    }
    if (lost.cause() == exit_cause::violation) wrong("a violation", &o);
    const bool suicide = (o.plan.kind == task_kind::exits && lost.signal() == 0 && lost.exit_code() == o.plan.code) ||
                         (o.plan.kind == task_kind::crashes && lost.signal() == o.plan.code);
    if (suicide) return outcome::lost;
    ++totals_.lost_innocent;
    if (note(o).begun == 1 && lost.pid() != note(o).pid) wrong("lost by another worker than its own", &o);
    return outcome::lost;
  }

  static constexpr std::int64_t tick_ns = 500'000;

  std::mt19937_64 random_;
  std::uint64_t kills_wanted_;
  totals& totals_;
  task_board& board_ = *the_board();
  net::io_context io_{1};
  net::steady_timer timer_{io_};
  std::optional<process_pool> pool_;
  std::array<operation, task_board::slots> operations_;
  std::priority_queue<cancellation, std::vector<cancellation>, std::greater<>> due_;
  std::size_t open_ = 0, in_flight_ = 0;
  std::int64_t last_tick_ = 0, starved_ns_ = 0;
  bool filling_ = true, server_killed_ = false, destroyed_ = false;
};

std::uint64_t option(int argc, char** argv, std::string_view name, std::uint64_t standard) {
  for (int i = 1; i + 1 < argc; ++i)
    if (argv[i] == name) return std::strtoull(argv[i + 1], nullptr, 10);
  return standard;
}

} // namespace

int main(int argc, char** argv) {
  const std::uint64_t kills = option(argc, argv, "--kills", 1000);
  const std::uint64_t seed = option(argc, argv, "--seed", std::random_device()());
  const std::chrono::seconds limit(option(argc, argv, "--seconds", 1'000'000'000));
  const rlimit no_core{};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  fmt::print("random_kills: seed {}\n", seed);
  std::fflush(stdout);
  known_bytes::all();
  task_board& board = *the_board();
  board.front_end = ::getpid();

  totals t;
  const auto begin = steady::now();
  const holdings before = take_holdings();
  {
    const killer k(seed);
    std::mt19937_64 random(seed);
    auto progress_at = begin + 60s;
    while (board.kills < kills && steady::now() < begin + limit) {
      session(random(), std::min(kills, board.kills + 1 + random() % 600), t).run();
      if (steady::now() < progress_at) continue;
      progress_at += 60s;
      fmt::print("random_kills: {} kills, {} operations, {} pools, {} wrong\n", board.kills.load(), t.completed,
                 t.pools, t.wrong);
      std::fflush(stdout);
    }
  }
  const std::string left = left_behind(before);
  if (!left.empty()) fmt::print(stderr, "random_kills: left behind:{}\n", left);

  std::string endings;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i != t.by_outcome.size(); ++i) {
    sum += t.by_outcome[i];
    endings += fmt::format("{}{} {}", i == 0 ? "" : ", ", t.by_outcome[i], outcome_names[i]);
  }
  fmt::print(
      "random_kills: {} kills in {:.1f} s; {} pools, {} workers, {} fork servers killed, {} cancellations\n"
      "random_kills: {} operations submitted, {} completed: {}\n"
      "random_kills: latest {:.1f} ms after its deadline, slowest {:.1f} ms after its task's end, longest starvation "
      "of the front end {:.1f} ms\n",
      board.kills.load(), std::chrono::duration<double>(steady::now() - begin).count(), t.pools,
      board.incarnations.load(), t.servers_killed, t.cancellations, t.submitted, t.completed, endings,
      static_cast<double>(t.latest_ns) / 1e6, static_cast<double>(t.slowest_ns) / 1e6,
      static_cast<double>(t.starved_ns) / 1e6);
  const auto require = [&t](bool holds, const char* what) {
    if (holds) return;
    ++t.wrong;
    fmt::print(stderr, "random_kills: {}\n", what);
  };
  require(sum == t.completed && t.completed == t.submitted, "the sum of completions is not the sum of operations");
  require(board.strays == 0, "a task ran after its completion");
  require(t.lost_innocent <= board.kills, "more tasks were lost than workers killed");
  require(left.empty(), "something was left behind");
  fmt::print("random_kills: {}; replay with --kills {} --seed {}\n", t.wrong == 0 ? "passed" : "FAILED", kills, seed);
  return t.wrong == 0 ? 0 : 1;
}
