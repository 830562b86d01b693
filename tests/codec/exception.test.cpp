// SPDX-License-Identifier: BSL-1.0
// Exceptions of every type, encoded in a catch block and thrown again from the bytes.
#include <coproc/codec/exception.hpp>
#include <coproc/exceptions.hpp>

#include "payload.hpp"

#include <any>
#include <catch2/catch.hpp>
#include <functional>
#include <future>
#include <regex>
#include <string>
#include <variant>

namespace {

using namespace coproc::detail;

/// What decode_exception makes of whatever act() throws.
template <class Act>
std::exception_ptr sent(Act&& act, test::payload&& p = test::payload()) {
  try {
    act();
  } catch (...) {
    encode_exception(p.writer());
  }
  return decode_exception(p.bytes());
}

template <class E>
std::exception_ptr sent_exception(const E& e) {
  return sent([&] { throw e; });
}

/// Checks that E arrives as remote<E>, is caught as E, and says the same.
template <class E>
void check_arrives(const E& e, const std::string& type_name) {
  INFO(type_name);
  try {
    std::rethrow_exception(sent_exception(e));
  } catch (const E& arrived) {
    CHECK(std::string(arrived.what()) == e.what());
    CHECK(typeid(arrived) == typeid(coproc::remote<E>));
    const auto* info = dynamic_cast<const coproc::remote_info*>(&arrived);
    REQUIRE(info != nullptr);
    CHECK(info->type_name() == type_name);
  } catch (...) {
    FAIL("arrived as something else");
  }
}

struct my_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct my_range_error : std::out_of_range {
  using std::out_of_range::out_of_range;
};
struct my_exception : std::exception {
  const char* what() const noexcept override { return "mine"; }
};
struct silent : std::exception {
  const char* what() const noexcept override { return nullptr; }
};
struct not_standard {};

class my_category final : public std::error_category {
public:
  const char* name() const noexcept override { return "mine"; }
  std::string message(int) const override { return "my message"; }
};
const my_category mine;

class registered_here final : public std::error_category {
public:
  const char* name() const noexcept override { return "registered"; }
  std::string message(int) const override { return "registered message"; }
};
const registered_here registered;

struct parse_error : std::runtime_error {
  parse_error(const std::string& text, int at) : std::runtime_error(text), line(at) {}
  int line;
};
struct brace_error : parse_error {
  using parse_error::parse_error;
};

struct failure_report {
  int stage;
  std::vector<std::string> lines;
};

template <class E>
std::string what_of(const std::exception_ptr& p) {
  try {
    std::rethrow_exception(p);
  } catch (const E& e) {
    return e.what();
  } catch (...) {
    return "another type";
  }
}

} // namespace

template <>
struct coproc::codec<parse_error> {
  static void encode(writer& w, const parse_error& e) {
    w.put(std::string(e.what())).put(e.line).put(std::string(60, 'x'));
  }
  static parse_error decode(reader& r) {
    const auto text = r.get<std::string>();
    const auto line = r.get<int>();
    r.get<std::string>();
    return parse_error(text, line);
  }
};

TEST_CASE("the families of logic_error and runtime_error") {
  check_arrives(std::logic_error("a"), "std::logic_error");
  check_arrives(std::domain_error("b"), "std::domain_error");
  check_arrives(std::invalid_argument("c"), "std::invalid_argument");
  check_arrives(std::length_error("d"), "std::length_error");
  check_arrives(std::out_of_range("e"), "std::out_of_range");
  check_arrives(std::runtime_error("f"), "std::runtime_error");
  check_arrives(std::range_error("g"), "std::range_error");
  check_arrives(std::overflow_error("h"), "std::overflow_error");
  check_arrives(std::underflow_error(""), "std::underflow_error");
}

TEST_CASE("the exceptions without a text") {
  check_arrives(std::exception(), "std::exception");
  check_arrives(std::bad_alloc(), "std::bad_alloc");
  check_arrives(std::bad_array_new_length(), "std::bad_array_new_length");
  check_arrives(std::bad_cast(), "std::bad_cast");
  check_arrives(std::bad_any_cast(), "std::bad_any_cast");
  check_arrives(std::bad_typeid(), "std::bad_typeid");
  check_arrives(std::bad_function_call(), "std::bad_function_call");
  check_arrives(std::bad_optional_access(), "std::bad_optional_access");
  check_arrives(std::bad_variant_access(), "std::bad_variant_access");
  check_arrives(std::bad_weak_ptr(), "std::bad_weak_ptr");
  check_arrives(std::bad_exception(), "std::bad_exception");
}

TEST_CASE("the exceptions with an error code") {
  check_arrives(std::system_error(ENOENT, std::generic_category(), "open"), "std::system_error");
  check_arrives(std::system_error(std::make_error_code(std::errc::timed_out)), "std::system_error");
  check_arrives(std::ios_base::failure("read"), "std::ios_base::failure[abi:cxx11]");
  check_arrives(std::future_error(std::future_errc::broken_promise), "std::future_error");
  check_arrives(std::filesystem::filesystem_error("copy", "/a", "/b", std::make_error_code(std::errc::file_exists)),
                "std::filesystem::__cxx11::filesystem_error");
}

TEST_CASE("error codes of the categories that every process has are the same") {
  for (const std::error_code c :
       {std::error_code(5, std::system_category()), std::error_code(6, std::generic_category()),
        make_error_code(std::io_errc::stream), make_error_code(std::future_errc::no_state),
        std::error_code(coproc::net::error::operation_aborted), std::error_code(coproc::net::error::eof),
        std::error_code(coproc::net::error::host_not_found), make_error_code(coproc::errc::queue_full)})
    CHECK(coproc::code_of(sent_exception(std::system_error(c, "text"))) == c);
}

TEST_CASE("a code of another category becomes remote_exception, and its text is kept") {
  const auto p = sent_exception(std::system_error(1, mine, "doing it"));
  CHECK(coproc::code_of(p) == make_error_code(coproc::errc::remote_exception));
  CHECK(what_of<std::system_error>(p) == "doing it: my message");
}

TEST_CASE("paths of a filesystem_error arrive") {
  try {
    std::rethrow_exception(sent([] {
      std::filesystem::remove_all("/proc/self/environ/x");
      throw 1;
    }));
  } catch (const std::filesystem::filesystem_error& e) {
    CHECK(e.path1() == "/proc/self/environ/x");
    CHECK(e.code() == std::errc::not_a_directory);
  } catch (const coproc::remote_exception&) {
    WARN("this file system reports no error");
  }
}

TEST_CASE("derived types arrive as the nearest standard type, with their own name") {
  try {
    std::rethrow_exception(sent_exception(my_range_error("far")));
  } catch (const coproc::remote<std::out_of_range>& e) {
    CHECK(std::string(e.what()) == "far");
    CHECK(std::string(e.type_name()).find("my_range_error") != std::string::npos);
  }
  CHECK(what_of<coproc::remote<std::runtime_error>>(sent_exception(my_error("text"))) == "text");
  CHECK(what_of<coproc::remote<std::runtime_error>>(sent([] { std::regex("("); })).size() > 0);
}

TEST_CASE("what is no standard exception arrives as remote_exception") {
  CHECK(what_of<coproc::remote_exception>(sent_exception(my_exception())) == "mine");
  CHECK(what_of<coproc::remote_exception>(sent_exception(silent())).find("silent") != std::string::npos);
  CHECK(what_of<coproc::remote_exception>(sent_exception(5)) == "the task threw int");
  CHECK(what_of<coproc::remote_exception>(sent_exception("")) == "the task threw char const*");
  try {
    std::rethrow_exception(sent_exception(not_standard()));
  } catch (const coproc::remote_exception& e) {
    CHECK(std::string(e.type_name()).find("not_standard") != std::string::npos);
  }
}

TEST_CASE("thrown strings keep their text") {
  CHECK(what_of<coproc::remote_exception>(sent([] { throw "text"; })) == "text");
  CHECK(what_of<coproc::remote_exception>(sent_exception(std::string("text"))) == "text");
  char text[] = "mine";
  CHECK(what_of<coproc::remote_exception>(sent([&] { throw static_cast<char*>(text); })) == "mine");
  CHECK(what_of<coproc::remote_exception>(sent([] { throw static_cast<const char*>(nullptr); })) ==
        "the task threw char const*");
}

namespace {

// "outer < inner < innermost"
std::string chain(const std::exception_ptr& p) {
  try {
    std::rethrow_exception(p);
  } catch (const std::exception& e) {
    std::string text = e.what();
    if (const auto* nested = dynamic_cast<const std::nested_exception*>(&e))
      if (nested->nested_ptr()) text += " < " + chain(nested->nested_ptr());
    return text;
  }
}

[[noreturn]] void throw_nested(int levels) {
  if (levels == 0) throw std::out_of_range("innermost");
  try {
    throw_nested(levels - 1);
  } catch (...) {
    std::throw_with_nested(std::runtime_error(std::to_string(levels)));
  }
}

} // namespace

TEST_CASE("what an exception is nested in arrives with it") {
  CHECK(chain(sent([] { throw_nested(0); })) == "innermost");
  CHECK(chain(sent([] { throw_nested(2); })) == "2 < 1 < innermost");
  CHECK(chain(sent([] { throw_nested(static_cast<int>(max_nested_exceptions)); })).ends_with("1 < innermost"));
  CHECK(chain(sent([] { throw_nested(static_cast<int>(max_nested_exceptions) + 3); })).ends_with("5 < 4 < 3"));
  const auto p = sent([] {
    try {
      throw coproc::pool_error(make_error_code(coproc::errc::queue_full), "inside");
    } catch (...) {
      std::throw_with_nested(my_range_error("far"));
    }
  });
  try {
    std::rethrow_exception(p);
  } catch (const std::out_of_range& e) {
    CHECK(std::string(e.what()) == "far");
    REQUIRE(dynamic_cast<const coproc::remote_info*>(&e) != nullptr);
    try {
      std::rethrow_if_nested(e);
      FAIL("nothing is nested");
    } catch (const coproc::pool_error& inner) {
      CHECK(inner.code() == coproc::errc::queue_full);
    }
  }
}

TEST_CASE("where there is no room for what it is nested in, an exception arrives alone") {
  CHECK(chain(sent([] { throw_nested(9); }, test::payload(1, 150))) == "9");
}

TEST_CASE("a code of a registered category arrives as itself") {
  coproc::register_error_category(registered);
  coproc::register_error_category(registered);
  const auto p = sent_exception(std::system_error(7, registered, "doing it"));
  CHECK(coproc::code_of(p) == std::error_code(7, registered));
  CHECK(what_of<std::system_error>(p) == "doing it: registered message");
}

TEST_CASE("an exception with a codec that is registered arrives as itself") {
  coproc::register_exception<parse_error>();
  coproc::register_exception<parse_error>();
  coproc::register_exception<failure_report>();
  try {
    std::rethrow_exception(sent_exception(parse_error("no brace", 17)));
    FAIL("no exception");
  } catch (const parse_error& e) {
    CHECK(e.line == 17);
    CHECK(std::string(e.what()) == "no brace");
    const auto* info = dynamic_cast<const coproc::remote_info*>(&e);
    REQUIRE(info != nullptr);
    CHECK(std::string(info->type_name()).find("parse_error") != std::string::npos);
  }
  try { // no std::exception, and no codec but the one that aggregates have
    std::rethrow_exception(sent_exception(failure_report{3, {"a", "b"}}));
    FAIL("no exception");
  } catch (const failure_report& e) {
    CHECK(e.stage == 3);
    CHECK(e.lines == std::vector<std::string>{"a", "b"});
  }
  // A derived class, and what it is nested in.
  const auto p = sent([] {
    try {
      throw failure_report{4, {}};
    } catch (...) {
      std::throw_with_nested(brace_error("no brace", 18));
    }
  });
  try {
    std::rethrow_exception(p);
    FAIL("no exception");
  } catch (const parse_error& e) {
    CHECK(e.line == 18);
    CHECK_THROWS_AS(std::rethrow_if_nested(e), failure_report);
  }
  // Its codec does not fit: the standard type does.
  const auto small = sent([] { throw parse_error("no brace", 17); }, test::payload(1, 60));
  CHECK(what_of<coproc::remote<std::runtime_error>>(small) == "no brace");
}

TEST_CASE("coproc's own exceptions arrive as they were") {
  CHECK(what_of<coproc::bad_payload>(sent_exception(coproc::bad_payload("a length"))) ==
        coproc::bad_payload("a length").what());
  CHECK(what_of<coproc::bad_payload>(sent_exception(coproc::bad_payload())) == coproc::bad_payload().what());
  CHECK(what_of<coproc::task_timeout>(sent_exception(coproc::task_timeout())) == coproc::task_timeout().what());
  CHECK(what_of<coproc::timed_out>(sent_exception(coproc::timed_out())) == coproc::timed_out().what());
  for (const auto code : {coproc::errc::payload_too_large, coproc::errc::wrong_process, coproc::errc::queue_full}) {
    const coproc::pool_error e(make_error_code(code), "the reason");
    const auto p = sent_exception(e);
    CHECK(coproc::code_of(p) == make_error_code(code));
    CHECK(what_of<coproc::pool_error>(p) == e.what());
  }
}

TEST_CASE("worker_lost keeps its details") {
  coproc::worker_exit how;
  how.pid = 17;
  how.signal = 11;
  how.status_known = true;
  how.cause = coproc::exit_cause::fork_server;
  how.max_rss_kilobytes = 1234;
  const coproc::worker_lost lost(how, "; it was run 3 times");
  try {
    std::rethrow_exception(sent_exception(lost));
  } catch (const coproc::worker_lost& e) {
    CHECK(e.pid() == 17);
    CHECK(e.signal() == 11);
    CHECK(!e.exit_code());
    CHECK(e.cause() == coproc::exit_cause::fork_server);
    CHECK(e.exit().max_rss_kilobytes == 1234);
    CHECK(std::string(e.what()) == lost.what());
  }
}

TEST_CASE("long texts are cut") {
  CHECK(what_of<std::runtime_error>(sent_exception(std::runtime_error(std::string(1'000'000, 'x')))) ==
        std::string(max_exception_text, 'x'));
}

TEST_CASE("where the writer cannot grow, the exception arrives with less text, at last as bad_payload") {
  const std::runtime_error e(std::string(1000, 'x'));
  const auto arrives_within = [&](std::size_t bytes) { return sent([&] { throw e; }, test::payload(1, bytes)); };
  CHECK(what_of<std::runtime_error>(arrives_within(2000)) == std::string(1000, 'x'));
  CHECK(what_of<std::runtime_error>(arrives_within(300)) == std::string(64, 'x'));
  CHECK(what_of<std::runtime_error>(arrives_within(20)).empty());
  CHECK_THROWS_AS(std::rethrow_exception(arrives_within(2)), coproc::bad_payload);
}

TEST_CASE("bytes that are no exception become bad_payload") {
  CHECK_THROWS_AS(std::rethrow_exception(decode_exception({})), coproc::bad_payload);
  test::payload p;
  p.writer().put(std::uint8_t{200}).put(std::string("type")).put(std::string("what"));
  CHECK_THROWS_AS(std::rethrow_exception(decode_exception(p.bytes())), coproc::bad_payload);
}

TEST_CASE("every prefix and every corrupted byte of an exception yields some exception") {
  test::payload p;
  try {
    throw std::filesystem::filesystem_error("copy", "/a", "/b", std::make_error_code(std::errc::file_exists));
  } catch (...) {
    encode_exception(p.writer());
  }
  const std::vector<std::byte> bytes(p.bytes().begin(), p.bytes().end());
  for (std::size_t n = 0; n != bytes.size(); ++n) {
    const std::vector<std::byte> prefix(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
    CHECK_THROWS_AS(std::rethrow_exception(decode_exception(prefix)), coproc::bad_payload);
  }
  for (std::size_t i = 0; i != bytes.size(); ++i)
    for (int v = 0; v != 256; ++v) {
      std::vector<std::byte> corrupt = bytes;
      corrupt[i] = static_cast<std::byte>(v);
      if (!decode_exception(corrupt)) FAIL("byte " << i << " = " << v);
    }
}
