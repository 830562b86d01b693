// SPDX-License-Identifier: BSL-1.0
// What coproc/testing.hpp makes is what a call of a pool would end with.
#include <coproc/testing.hpp>

#include <catch2/catch.hpp>

#include <csignal>
#include <stdexcept>
#include <string>

namespace public_testing {

TEST_CASE("a lost worker for tests of the user") {
  const auto killed = coproc::testing::worker_killed(SIGSEGV);
  CHECK(killed.signal() == SIGSEGV);
  CHECK_FALSE(killed.exit_code());
  CHECK(killed.cause() == coproc::exit_cause::self);
  CHECK(killed.code() == coproc::errc::worker_lost);
  CHECK(std::string(killed.what()).find("was killed by signal 11") != std::string::npos);
  const auto exited = coproc::testing::worker_exited(3);
  CHECK(exited.signal() == 0);
  CHECK(exited.exit_code() == 3);
  CHECK(std::string(exited.what()).find("exited with status 3") != std::string::npos);
}

TEST_CASE("what a task throws, as its caller sees it") {
  const auto thrown = coproc::testing::thrown_by_task(std::out_of_range(std::string(1000, 'x')));
  try {
    std::rethrow_exception(thrown);
  } catch (const coproc::remote<std::out_of_range>& e) {
    CHECK(std::string(e.what()) == std::string(1000, 'x'));
    CHECK(e.type_name() == "std::out_of_range");
  }
  CHECK_THROWS_AS(std::rethrow_exception(coproc::testing::thrown_by_task(17)), coproc::remote_exception);
}

} // namespace public_testing
