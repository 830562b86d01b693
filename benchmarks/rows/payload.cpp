// SPDX-License-Identifier: BSL-1.0
// Large arguments and results, warm, against what copying them costs within one process.
#include "../front_end_arm.hpp"
#include "../peers/coproc.hpp"
#include "../rows.hpp"

#include <coproc/result_view.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>

namespace bench {

namespace {

using bytes = std::vector<std::byte>;

template <class T>
void keep(T* p) {
  asm volatile("" : : "r"(p) : "memory");
}

template <class Action>
run_values timed(const run_order& o, Action action) {
  const auto start = clock::now();
  for (long i = 0; i < o.tasks; ++i) action();
  return {seconds_since(start) * 1e9 / static_cast<double>(o.tasks)};
}

/// Between two warm buffers, of which the second begins at a page, as argument memory does. (Where it begins a few
/// bytes behind the first, modulo a page, memcpy takes ten times as long on recent AMD processors.)
arm memcpy_arm(std::size_t size) {
  return {"memcpy", [=]() -> run_function {
            auto from = std::make_shared<bytes>(size, std::byte{1});
            const std::shared_ptr<void> to(std::aligned_alloc(4096, size), &std::free);
            return [=](const run_order& o) {
              return timed(o, [&] {
                std::memcpy(to.get(), from->data(), size);
                keep(to.get());
              });
            };
          }};
}

/// What anybody pays for a std::vector of bytes that are there: memory from the heap, one copy.
arm vector_arm(std::size_t size) {
  return {"std::vector(p, p + n)", [=]() -> run_function {
            auto from = std::make_shared<bytes>(size, std::byte{1});
            return [=](const run_order& o) {
              return timed(o, [&] {
                const bytes copy(from->data(), from->data() + size);
                keep(copy.data());
              });
            };
          }};
}

// In the worker: looks at both ends of its view of the argument, which are 1, and no more: reading is not the hop.
// Returns what an empty task does.
int look_at_ends(std::span<const std::byte> argument, int value) {
  return value + static_cast<int>(argument.front()) * static_cast<int>(argument.back());
}

// In the worker: a result that is there already, so that making it does not count.
const bytes& kept_result(std::size_t size) {
  static bytes result;
  if (result.size() != size) result.assign(size, std::byte{1});
  return result;
}

// In the worker: the same in memory that can be viewed; each call returns a view of it.
const coproc::result_view<std::byte>& kept_view(std::size_t size) {
  static const coproc::result_view<std::byte> view = [size] {
    coproc::result_array<std::byte> made(size);
    std::memset(made.data(), 1, size);
    return made;
  }();
  return view;
}

// One call goes before the timed ones: between runs the arm was idle, and what is measured is warm.
template <class Call, class Prepare>
arm coproc_arm(std::string name, Call call, Prepare prepare) {
  const auto set_up = [=]() -> run_function {
    auto f = std::make_shared<front_end<coproc_peer>>(1);
    prepare(f->peer.pool());
    return [=](const run_order& o) -> run_values {
      auto hop = [&](int value, int) { return call(f->peer.pool(), value); };
      run_in_flight(f->io, 1, 1, 0, hop);
      return {run_in_flight(f->io, 1, o.tasks, 0, hop) * 1e9 / static_cast<double>(o.tasks)};
    };
  };
  return {std::move(name), set_up, 3};
}

template <class Call>
arm coproc_arm(std::string name, Call call) {
  return coproc_arm(std::move(name), call, [](coproc::process_pool&) {});
}

arm argument_arm(std::string name, std::size_t size) {
  auto source = std::make_shared<bytes>();
  return coproc_arm(std::move(name), [=](coproc::process_pool& pool, int value) {
    if (source->empty()) source->assign(size, std::byte{1});
    return coproc::run_in_executor(pool, look_at_ends, std::span<const std::byte>(*source), value);
  });
}

arm array_arm(std::string name, std::size_t size) {
  auto array = std::make_shared<std::optional<coproc::argument_array<std::byte>>>();
  return coproc_arm(
      std::move(name),
      [=](coproc::process_pool& pool, int value) {
        return coproc::run_in_executor(pool, look_at_ends, **array, value);
      },
      [=](coproc::process_pool& pool) {
        array->emplace(pool, size);
        std::ranges::fill(**array, std::byte{1});
      });
}

arm result_arm(std::string name, std::size_t size) {
  return coproc_arm(std::move(name), [=](coproc::process_pool& pool, int value) -> net::awaitable<int> {
    const bytes result = co_await coproc::run_in_executor(pool, kept_result, size);
    expect(result.size() == size && result.back() == std::byte{1});
    co_return value + 1;
  });
}

arm view_arm(std::string name, std::size_t size) {
  return coproc_arm(std::move(name), [=](coproc::process_pool& pool, int value) -> net::awaitable<int> {
    const coproc::result_view<std::byte> result = co_await coproc::run_in_executor(pool, kept_view, size);
    expect(result.size() == size && result[0] == std::byte{1} && result[size - 1] == std::byte{1});
    co_return value + 1;
  });
}

goal over_sum(const std::string& ours, const std::string& copy, double limit) {
  return {fmt::format("{} / ({} + 2 empty hops)", ours, copy),
          [=](const one_run& in) { return in(ours) / (in(copy) + in("empty task")); }, at_most, limit};
}

} // namespace

// An empty task is two hops: there and back.
void payload(session& s) {
  for (const std::size_t size : {std::size_t{64} << 10, std::size_t{1} << 20, std::size_t{64} << 20}) {
    const std::string size_text = text(static_cast<double>(size), unit::bytes);
    row r{fmt::format("argument.{}", size), "argument of " + size_text + " by copy, warm", {}, {}};
    r.arms = {memcpy_arm(size), in_flight<coproc_peer>("empty task", 1, 1), argument_arm("by copy", size)};
    r.goals = {over_sum("by copy", "memcpy", 1.1)};
    s.add(r);
  }

  constexpr std::size_t large = std::size_t{64} << 20;
  row result{"result.67108864", "result of 64 MiB, warm", {}, {}};
  result.arms = {vector_arm(large), in_flight<coproc_peer>("empty task", 1, 1), result_arm("by value", large)};
  result.goals = {over_sum("by value", "std::vector(p, p + n)", 1.15)};
  s.add(result);

  row in_place{"argument.in_place",
               "64 MiB argument in a segment that was filled in place, filling and reading excluded",
               {},
               {}};
  in_place.arms = {argument_arm("64-byte argument", 64), array_arm("in place", large)};
  in_place.goals = {ratio_goal("in place", "64-byte argument", at_most, 1.2)};
  s.add(in_place);

  row view{"result.view", "64 MiB result as a view, making and reading excluded", {}, {}};
  view.arms = {result_arm("64-byte result", 64), view_arm("as a view", large)};
  view.goals = {ratio_goal("as a view", "64-byte result", at_most, 1.3)};
  s.add(view);
}

} // namespace bench
