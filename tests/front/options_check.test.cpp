// SPDX-License-Identifier: BSL-1.0
// Every option at its boundary values: the least and the greatest that are accepted, and one beyond each, which is
// refused by name. What the values then do is shown in tests/front/ and tests/process/.
#include <coproc/front/options_check.hpp>

#include <catch2/catch.hpp>

#include <functional>
#include <limits>
#include <vector>

using coproc::count;
using coproc::duration;
using coproc::pool_options;
using coproc::task_options;
using coproc::unlimited;
using coproc::detail::front::dispatcher_limits;
using coproc::detail::front::pool_size;
using coproc::detail::front::resolve;
using coproc::detail::front::resolve_size;
using std::chrono::nanoseconds;

namespace {

constexpr long long most = std::numeric_limits<long long>::max();
constexpr long long least = std::numeric_limits<long long>::min();

/// The text of the std::invalid_argument that f throws; empty if it throws none.
std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return {};
}

pool_options pool_with(const std::function<void(pool_options&)>& set) {
  pool_options o;
  o.max_workers = 4;
  set(o);
  return o;
}

std::string refusal_of(const pool_options& o) {
  return refusal([&] { resolve(o); });
}
std::string refusal_of(const task_options& o) {
  return refusal([&] { resolve(o); });
}

/// What resolve makes of `o`.
dispatcher_limits limits_of(const pool_options& o) { return resolve(o).limits; }

struct counted {
  const char* name;
  count pool_options::* member;
  std::vector<long long> accepted;
  std::vector<long long> refused;
};

struct timed {
  const char* name;
  coproc::time_limit pool_options::* member;
};

} // namespace

TEST_CASE("each count of pool_options is accepted at both ends of its range, and refused one beyond") {
  const std::vector<counted> table{
      {"max_workers", &pool_options::max_workers, {0, 1, 1024}, {-1, 1025, least, most}},
      {"max_queue", &pool_options::max_queue, {0, 4, 1ll << 32}, {-1, 3, (1ll << 32) + 1, least, most}},
      {"max_queue_bytes", &pool_options::max_queue_bytes, {0, 1, 1ll << 50}, {-1, (1ll << 50) + 1, least, most}},
      {"max_payload", &pool_options::max_payload, {0, 1, 1ll << 40}, {-1, (1ll << 40) + 1, least, most}},
      {"max_tasks_per_child",
       &pool_options::max_tasks_per_child,
       {0, 1, 1ll << 62},
       {-1, (1ll << 62) + 1, least, most}},
      {"max_tasks_jitter", &pool_options::max_tasks_jitter, {0}, {-1, 1, least, most}},
      {"max_memory_per_child",
       &pool_options::max_memory_per_child,
       {0, 1, 1ll << 62},
       {-1, (1ll << 62) + 1, least, most}},
      {"min_workers", &pool_options::min_workers, {0, 1, 4}, {-1, 5, least, most}},
      {"max_start_failures", &pool_options::max_start_failures, {0, 1, 1'000'000}, {-1, 1'000'001, least, most}},
      {"max_warm_bytes", &pool_options::max_warm_bytes, {0, 1, 1ll << 50}, {-1, (1ll << 50) + 1, least, most}},
  };
  for (const counted& row : table) {
    for (const long long value : row.accepted) {
      INFO(row.name << " = " << value);
      CHECK(refusal_of(pool_with([&](pool_options& o) { o.*row.member = value; })) == "");
    }
    for (const long long value : row.refused) {
      const std::string text = refusal_of(pool_with([&](pool_options& o) { o.*row.member = value; }));
      INFO(row.name << " = " << value << ": " << text);
      CHECK(text.find(std::string("pool_options::") + row.name) != std::string::npos);
    }
  }
}

TEST_CASE("each duration of pool_options may be a nanosecond or unlimited, and nothing that is not positive") {
  for (const timed& row :
       {timed{"kill_grace", &pool_options::kill_grace}, timed{"idle_timeout", &pool_options::idle_timeout},
        timed{"start_timeout", &pool_options::start_timeout}}) {
    for (const duration d : {duration(nanoseconds(1)), duration::max() - nanoseconds(1), unlimited}) {
      INFO(row.name << " = " << d.count());
      CHECK(refusal_of(pool_with([&](pool_options& o) { o.*row.member = d; })) == "");
    }
    for (const duration d : {duration::zero(), duration(nanoseconds(-1)), duration::min()}) {
      const std::string text = refusal_of(pool_with([&](pool_options& o) { o.*row.member = d; }));
      INFO(row.name << " = " << d.count() << ": " << text);
      CHECK(text.find(std::string("pool_options::") + row.name) != std::string::npos);
    }
  }
}

TEST_CASE("busy_poll is taken as it is, refused where it is not positive, and ignored on one CPU") {
  const auto resolved = [](std::optional<duration> d) {
    return resolve(pool_options{.busy_poll = d}).worker.busy_poll;
  };
  const bool alone = coproc::os::usable_cpus() == 1;
  CHECK(resolved({}).count() == 0);
  CHECK(resolved(nanoseconds(1)) == nanoseconds(alone ? 0 : 1));
  CHECK(resolved(unlimited) == (alone ? duration::zero() : unlimited));
  for (const duration d : {duration::zero(), duration(nanoseconds(-1))})
    CHECK(refusal_of(pool_with([&](pool_options& o) { o.busy_poll = d; })).find("pool_options::busy_poll") !=
          std::string::npos);
}

TEST_CASE("zero means the default") {
  const auto l = limits_of({.max_workers = 2,
                            .max_queue = 0,
                            .max_queue_bytes = 0,
                            .max_tasks_per_child = 0,
                            .max_tasks_jitter = 0,
                            .max_memory_per_child = 0,
                            .min_workers = 0,
                            .max_start_failures = 0});
  CHECK(l.max_queue == 4096);
  CHECK(l.max_queue_bytes >= 1u << 20);
  CHECK(l.max_tasks_per_child == 0);
  CHECK(l.max_memory_per_child == 0);
  CHECK(l.min_workers == 2);
  CHECK(l.max_start_failures == 10);
  CHECK(resolve(pool_options{.max_payload = 0}).max_payload == 1u << 30);
  CHECK(resolve(pool_options{.max_warm_bytes = 0}).max_warm_bytes == 256u << 20);
  CHECK(resolve(pool_options{.max_warm_bytes = 1}).max_warm_bytes == 1);
  CHECK(limits_of({.max_workers = 0}).max_workers == std::min(coproc::os::usable_cpus(), 1024u));
}

TEST_CASE("options that contradict each other are refused by name") {
  const auto refused = [](const pool_options& o, const char* member) {
    const std::string text = refusal_of(o);
    INFO(member << ": " << text);
    CHECK(text.find(member) != std::string::npos);
  };
  refused({.max_workers = 4, .max_queue = 3}, "max_queue");
  refused({.max_workers = 2, .min_workers = 3}, "min_workers");
  refused({.max_tasks_per_child = 5, .max_tasks_jitter = 5}, "max_tasks_jitter");
  CHECK(refusal_of(pool_options{.max_tasks_per_child = 5, .max_tasks_jitter = 4}) == "");
  refused({.max_payload = 1 << 20, .limits = {.address_space_bytes = 3 << 20}}, "address_space_bytes");
  CHECK(refusal_of(pool_options{.max_payload = 1 << 20, .limits = {.address_space_bytes = (3 << 20) + 1}}) == "");
  refused({.oom_score_adj = -1}, "oom_score_adj");
  refused({.oom_score_adj = 1001}, "oom_score_adj");
  CHECK(refusal_of(pool_options{.oom_score_adj = 0}) == "");
  CHECK(refusal_of(pool_options{.oom_score_adj = 1000}) == "");
  refused({.umask = 01000}, "umask");
  CHECK(refusal_of(pool_options{.umask = 0777}) == "");
  refused({.inherit_descriptors = {-1}}, "inherit_descriptors");
  CHECK(refusal_of(pool_options{.inherit_descriptors = {0, 1, 2}}) == "");
  for (const char* const name : {static_cast<const char*>(nullptr), "", "a=b"}) {
    const coproc::environment_variable variable[] = {{name, "value"}};
    refused({.env = variable}, "env");
  }
  const coproc::environment_variable fine[] = {{"a", ""}, {"b", nullptr}};
  CHECK(refusal_of(pool_options{.env = fine}) == "");
}

TEST_CASE("pools without a seed have different ones, and one that is given is taken, 0 as well") {
  CHECK(resolve(pool_options{}).worker.seed != resolve(pool_options{}).worker.seed);
  CHECK(resolve(pool_options{.seed = 0}).worker.seed == 0);
  CHECK(resolve(pool_options{.seed = 17}).worker.seed == 17);
}

TEST_CASE("each option of a task at both ends of its range, and beyond") {
  using set_duration = std::function<void(task_options&, duration)>;
  const std::vector<std::pair<const char*, set_duration>> durations{
      {"timeout", [](task_options& o, duration d) { o.timeout = d; }},
      {"queue_timeout", [](task_options& o, duration d) { o.queue_timeout = d; }},
      {"soft_timeout", [](task_options& o, duration d) { o.soft_timeout = d; }},
      {"kill_grace", [](task_options& o, duration d) { o.kill_grace = d; }},
  };
  for (const auto& [name, set] : durations) {
    for (const duration d : {duration(nanoseconds(1)), duration::max() - nanoseconds(1), unlimited}) {
      task_options o;
      set(o, d);
      INFO(name << " = " << d.count());
      CHECK(refusal_of(o) == "");
    }
    for (const duration d : {duration::zero(), duration(nanoseconds(-1)), duration::min()}) {
      task_options o;
      set(o, d);
      const std::string text = refusal_of(o);
      INFO(name << " = " << d.count() << ": " << text);
      CHECK(text.find(std::string("task_options::") + name) != std::string::npos);
    }
  }
  const auto refused = [](const task_options& o, const char* member) {
    const std::string text = refusal_of(o);
    INFO(member << ": " << text);
    CHECK(text.find(std::string("task_options::") + member) != std::string::npos);
  };
  refused({.timeout = nanoseconds(5), .soft_timeout = nanoseconds(5)}, "soft_timeout");
  CHECK(refusal_of(task_options{.timeout = nanoseconds(5), .soft_timeout = nanoseconds(4)}) == "");
  refused({.max_retries = -1}, "max_retries");
  refused({.max_retries = 1ll << 32}, "max_retries");
  refused({.max_retries = most}, "max_retries");
  CHECK(refusal_of(task_options{.max_retries = (1ll << 32) - 1, .retry_on = coproc::retry::idempotent}) == "");
  refused({.priority = -11}, "priority");
  refused({.priority = 11}, "priority");
  refused({.priority = std::numeric_limits<int>::min()}, "priority");
  CHECK(refusal_of(task_options{.priority = -10}) == "");
  CHECK(refusal_of(task_options{.priority = 10}) == "");
}

TEST_CASE("retries are refused for tasks that are not idempotent, with the way out") {
  const std::string text = refusal_of(task_options{.max_retries = 3});
  CHECK(text.find("task_options::max_retries is 3") != std::string::npos);
  CHECK(text.find("retry::idempotent") != std::string::npos);
  CHECK(resolve(task_options{.max_retries = 3, .retry_on = coproc::retry::idempotent}).max_retries == 3);
  CHECK(resolve(task_options{.retry_on = coproc::retry::idempotent}).max_retries == 0);
}

TEST_CASE("every key has a worker, the same each time, and neighbouring keys spread") {
  std::vector<int> tasks(7);
  for (std::uint64_t key = 0; key < 7000; ++key) {
    const auto scrambled = resolve(task_options{.worker_key = key}).key;
    REQUIRE(scrambled.has_value());
    CHECK(scrambled == resolve(task_options{.worker_key = key}).key);
    ++tasks[static_cast<std::size_t>(*scrambled % 7)];
  }
  for (const int n : tasks) CHECK(n > 800);
  CHECK_FALSE(resolve(task_options{}).key.has_value());
}

TEST_CASE("a new size has the defaults and ranges of the options, and names the argument that is wrong") {
  const dispatcher_limits l = limits_of({.max_workers = 2, .max_queue = 100});
  const auto size = [&](count min, count max) {
    const pool_size s = resolve_size(min, max, l);
    return std::pair(s.min_workers, s.max_workers);
  };
  CHECK(size(1, 3) == std::pair(1u, 3u));
  CHECK(size(0, 3) == std::pair(3u, 3u));
  CHECK(size(0, 100) == std::pair(100u, 100u));
  CHECK(size(1, 0).second == std::min(l.usable_cpus, 1024u));
  const auto text = [&](count min, count max) { return refusal([&] { size(min, max); }); };
  CHECK(text(-1, 4).find("process_pool::resize: min_workers is negative (-1)") != std::string::npos);
  CHECK(text(1, -4).find("process_pool::resize: max_workers is negative (-4)") != std::string::npos);
  CHECK(text(1, 1025).find("process_pool::resize: max_workers is 1025; it must be 1 to 1024") != std::string::npos);
  CHECK(text(5, 4).find("process_pool::resize: min_workers is 5, more than max_workers (4)") != std::string::npos);
  CHECK(text(1, 101).find("process_pool::resize: max_workers is 101, more than pool_options::max_queue (100)") !=
        std::string::npos);
}
