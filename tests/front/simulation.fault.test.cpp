// SPDX-License-Identifier: BSL-1.0
// Ten thousand seeded worlds around the shipped dispatcher and the shipped fork server: first anything goes wrong, then
// nothing does any more and everything must end. COPROC_SEED=n replays one, COPROC_SEEDS=n runs that many,
// from COPROC_FIRST_SEED on.
#include <coproc/front/dispatcher.hpp>

#include "simulator.hpp"
#include "support/sanitized.hpp"

#include <catch2/catch.hpp>

#include <cstdlib>

using namespace coproc;
using namespace coproc::testing;

namespace {

std::uint64_t number_from_environment(const char* name, std::uint64_t standard) {
  const char* const text = std::getenv(name);
  return text == nullptr ? standard : std::strtoull(text, nullptr, 10);
}

} // namespace

TEST_CASE("in every simulated world each task completes once, by the rules, and all of them once the faults stop") {
  const std::uint64_t only = number_from_environment("COPROC_SEED", 0);
  const std::uint64_t seeds = only != 0 ? 1 : number_from_environment("COPROC_SEEDS", sanitized ? 1'000 : 10'000);
  const std::uint64_t first = number_from_environment("COPROC_FIRST_SEED", 1);
  std::uint64_t completions = 0, deaths = 0, steps = 0, quick = 0, silent_sleeps = 0, caught_early = 0, resizes = 0;
  std::array<std::uint64_t, 7> outcomes{};
  for (std::uint64_t i = 0; i != seeds; ++i) {
    const std::uint64_t seed = only != 0 ? only : first + i;
    simulator world(seed);
    world.run_unsafe(30 + static_cast<int>(seed % 7) * 10);
    if (!world.failed()) world.run_live(3s);
    completions += world.completions;
    deaths += world.deaths;
    steps += world.steps;
    quick += world.quick;
    silent_sleeps += world.silent_sleeps;
    caught_early += world.caught_early;
    resizes += world.resizes;
    for (std::size_t k = 0; k != outcomes.size(); ++k) outcomes[k] += world.outcomes[k];
    if (!world.failed()) continue;
    INFO("replay with COPROC_SEED=" << seed);
    for (const auto& what : world.failures) FAIL_CHECK(what);
    REQUIRE_FALSE(world.failed());
  }
  using detail::front::verdict;
  const auto of = [&](verdict v) { return outcomes[static_cast<std::size_t>(v)]; };
  WARN(seeds << " seeds, " << completions << " tasks, " << quick << " of them submitted quickly (" << of(verdict::value)
             << " values, " << of(verdict::lost) << " lost, " << of(verdict::task_timeout) << " timed out, "
             << of(verdict::aborted) << " cancelled, " << of(verdict::failed) << " failed), " << deaths << " deaths, "
             << resizes << " resizes, " << steps << " steps of workers");
  if (seeds < 1000) return;
  CHECK(quick > seeds);
  CHECK(resizes > seeds);
  CHECK(silent_sleeps > seeds / 10);
  CHECK(caught_early > seeds / 100);
  for (const auto v : {verdict::value, verdict::lost, verdict::task_timeout, verdict::aborted, verdict::failed})
    CHECK(of(v) > seeds / 100);
}
