// SPDX-License-Identifier: BSL-1.0
// What error codes equal and say. What exceptions carry out of a worker is in codec/exception.test.cpp.
#include <coproc/error.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <set>
#include <string>
#include <system_error>

namespace error_test {

using coproc::errc;

namespace {

constexpr int last_errc = static_cast<int>(errc::wrong_context);

// Stands for the category of a shared library that does not see the program's.
class another_object : public std::error_category {
public:
  explicit another_object(const char* name) : name_(name) {}
  const char* name() const noexcept override { return name_; }
  std::string message(int) const override { return {}; }

private:
  const char* name_;
};

} // namespace

TEST_CASE("a code equals its errc, whichever object of that name is its category") {
  const another_object same("coproc"), other("other");
  const std::error_code code(static_cast<int>(errc::queue_full), same);
  CHECK(code == errc::queue_full);
  CHECK(errc::queue_full == code);
  CHECK(code != errc::pool_closed);
  CHECK(std::error_code(static_cast<int>(errc::queue_full), other) != errc::queue_full);
  CHECK(std::error_code(errc::queue_full) == errc::queue_full);
  CHECK(std::error_code(errc::queue_full) != errc::pool_closed);
}

TEST_CASE("conditions are equivalent by the name of the category, too") {
  const another_object same("coproc"), other("other");
  constexpr int value = static_cast<int>(errc::queue_full);
  const std::error_code mine = errc::queue_full;
  CHECK(mine == std::error_condition(value, same));
  CHECK(mine != std::error_condition(value, other));
  CHECK(mine != std::error_condition(value + 1, same));
  CHECK(std::error_code(value, same) == mine.default_error_condition());
  CHECK(std::error_code(value, other) != mine.default_error_condition());
  CHECK(mine == mine.default_error_condition());
}

TEST_CASE("time-outs equal std::errc::timed_out, and nothing else does") {
  for (int i = 1; i <= last_errc; ++i) {
    const auto e = static_cast<errc>(i);
    CAPTURE(i);
    const bool is_timeout = e == errc::task_timeout || e == errc::timed_out || e == errc::queue_timeout;
    CHECK((make_error_code(e) == std::errc::timed_out) == is_timeout);
  }
}

TEST_CASE("the text of worker_lost ends where it has said everything") {
  coproc::worker_exit how;
  how.pid = 17;
  how.signal = 6;
  how.age = std::chrono::milliseconds(1234);
  CHECK(std::string(coproc::worker_lost(how).what()) ==
        "worker 17 was killed by signal 6 (Aborted); while it ran this task, its 1st in 1.234 s of life");
  const coproc::worker_lost more(how, "; it was run 2 times");
  const coproc::worker_lost copy(more);
  CHECK(std::string(copy.what()) ==
        "worker 17 was killed by signal 6 (Aborted); while it ran this task, its 1st in 1.234 s of life; it was run "
        "2 times");
  CHECK(copy.code() == errc::worker_lost);
}

TEST_CASE("every errc has a text of its own") {
  std::set<std::string> texts;
  for (int i = 0; i <= last_errc; ++i) texts.insert(coproc::error_category().message(i));
  CHECK(texts.size() == last_errc + 1);
  CHECK(coproc::error_category().message(last_errc + 1) == coproc::error_category().message(0));
}

} // namespace error_test
