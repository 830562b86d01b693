// SPDX-License-Identifier: BSL-1.0
// Whole calls, encoded, run and decoded in this process.
#include <coproc/codec/call.hpp>
#include <coproc/codec/exception.hpp>

#include "payload.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <map>
#include <numeric>
#include <pthread.h>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace coproc::detail;

/// What a worker does with the bytes of a call.
template <class F, class... A>
outcome run_call(std::span<const std::byte> arguments, coproc::writer& result) {
  return run_entry(entry_of<F, A...>, arguments, result);
}

/// What a pool does, without the processes.
template <class F, class... A>
result_t<F, A...> call_remotely(F fn, A&&... arguments) {
  STATIC_REQUIRE(verify<F, A...>());
  test::payload call, result;
  constexpr std::size_t bytes = fixed_call_bytes<F, A...>;
  std::array<std::byte, bytes> fixed{};
  if constexpr (bytes != 0) encode_fixed_call<F, A...>(fixed.data(), fn, std::forward<A>(arguments)...);
  encode_call<F, A...>(call.writer(), fn, std::forward<A>(arguments)...);
  if constexpr (bytes != 0) CHECK(std::ranges::equal(fixed, call.bytes())); // two ways, one encoding
  if (run_call<F, A...>(call.bytes(), result.writer()) == outcome::exception)
    std::rethrow_exception(decode_exception(result.bytes()));
  return decode_result<result_t<F, A...>>(result.bytes());
}

template <class F, class... A>
std::size_t call_bytes(F fn, A&&... arguments) {
  test::payload call;
  encode_call<F, A...>(call.writer(), fn, std::forward<A>(arguments)...);
  return call.bytes().size();
}

int twice(int n) { return 2 * n; }
std::string greet(const std::string& name) { return "hello " + name; }
double mean(std::span<const double> v) { return std::accumulate(v.begin(), v.end(), 0.0) / double(v.size()); }
double sum3(std::span<const double, 3> v) { return v[0] + v[1] + v[2]; }
const double& largest(std::span<const double> v) { return *std::max_element(v.begin(), v.end()); }
std::size_t total(std::span<const std::string> parts) {
  std::size_t n = 0;
  for (const auto& p : parts) n += p.size();
  return n;
}
std::size_t count_true(std::span<const bool> flags) {
  return std::size_t(std::count(flags.begin(), flags.end(), true));
}
std::vector<int> reverse(std::vector<int>&& v) {
  std::vector<int> mine = std::move(v);
  std::reverse(mine.begin(), mine.end());
  return mine;
}
void fail(int code) {
  if (code != 0) throw std::out_of_range("code " + std::to_string(code));
}
__extension__ using wide = __int128;
wide square(long n) { return wide(n) * n; }

struct account {
  std::string owner;
  long balance = 0;
  long get() const { return balance; }
  account add(long n) noexcept {
    balance += n;
    return *this;
  }
  long twice_lvalue() & { return 2 * balance; }
  std::string take_owner() && { return std::move(owner); }
};

// Knows how often it was copied; the bytes carry its number alone.
struct counted {
  static inline int copies = 0;
  int n = 0;
  explicit counted(int value) : n(value) {}
  counted(const counted& o) : n(o.n) { ++copies; }
  counted(counted&& o) noexcept : n(o.n) {}
};
int number_of(const counted& c) { return c.n; }

// Callable with state that has no plain bytes, but a codec.
struct prefixer {
  std::string prefix;
  std::string operator()(const std::string& s) const { return prefix + s; }
};

} // namespace

template <>
struct coproc::codec<counted> {
  static void encode(writer& w, const counted& c) { w.put(c.n); }
  static counted decode(reader& r) { return counted(r.get<int>()); }
};

template <>
struct coproc::codec<prefixer> {
  static void encode(writer& w, const prefixer& p) { w.put(p.prefix); }
  static prefixer decode(reader& r) { return {r.get<std::string>()}; }
};

TEST_CASE("functions, with converted arguments") {
  CHECK(call_remotely(&twice, 21) == 42);
  CHECK(call_remotely(&twice, 21L) == 42);
  CHECK(call_remotely(&twice, 'a') == 194);
  CHECK(call_remotely(&greet, "world") == "hello world");
  CHECK(call_remotely(&greet, std::string(1000, 'x')).size() == 1006);
  CHECK_NOTHROW(call_remotely(&fail, 0));
  CHECK(call_remotely(&square, 1L << 62) == wide(1) << 124);
}

struct base {
  int b = 5;
};
struct derived : base {
  int d = 7;
  constexpr derived() = default;
  constexpr derived(const base& other) : base(other), d(8) {}
};
struct either {
  int from;
  constexpr either(double) : from(1) {}
  constexpr explicit either(int) : from(2) {}
};

TEST_CASE("arguments are converted as by a call, wherever they are written to") {
  const auto sum = [](derived x) { return x.b + x.d; };
  base object{6};
  CHECK(call_remotely(sum, object) == 14);
  CHECK(call_remotely(sum, base{4}) == 12);
  const auto which = [](either x) { return x.from; };
  CHECK(call_remotely(which, 3) == 2);
  CHECK(call_remotely(which, 3.5) == 1);
  CHECK(call_remotely([](char c, long n, bool b) { return b ? c + n : 0; }, 1, short(2), true) == 3);
}

TEST_CASE("lambdas, with and without state, and generic ones") {
  int base = 10;
  CHECK(call_remotely([](int n) { return n + 1; }, 1) == 2);
  CHECK(call_remotely([base, by = 0.5](int n) { return base + n * by; }, 3) == 11.5);
  CHECK(call_remotely([n = 1](int by) mutable { return n += by; }, 3) == 4);
  CHECK(call_remotely([](auto a, const auto& b) { return a + b; }, 1, 2.5) == 3.5);
  CHECK(call_remotely([](auto&&... values) { return (0 + ... + values); }, 1, 2, 3) == 6);
  CHECK(call_remotely([](auto text) { return text.size(); }, std::string_view("four")) == 4);
}

TEST_CASE("callables with a codec") { CHECK(call_remotely(prefixer{"pre"}, "fix") == "prefix"); }

TEST_CASE("member functions") {
  account a{"ann", 100};
  CHECK(call_remotely(&account::get, a) == 100);
  CHECK(call_remotely(&account::add, a, 5).balance == 105);
  CHECK(a.balance == 100);
  CHECK(call_remotely(&account::twice_lvalue, a) == 200);
  CHECK(call_remotely(&account::take_owner, coproc::moved(a)) == "ann");
}

TEST_CASE("views see the payload in place") {
  const std::vector<double> v{1, 2, 3, 6};
  CHECK(call_remotely(&mean, v) == 3);
  CHECK(call_remotely(&mean, std::array<double, 2>{1, 2}) == 1.5);
  CHECK(call_remotely(&sum3, std::array<double, 3>{1, 2, 3}) == 6);
  const bool flags[] = {true, false, true};
  CHECK(call_remotely(&count_true, flags) == 2);

  test::payload call, result;
  static const double* seen = nullptr;
  auto look = [](std::string_view, std::span<const double> s) { seen = s.data(); };
  encode_call<decltype(look), const char*, const std::vector<double>&>(call.writer(), look, "abc", v);
  run_call<decltype(look), const char*, const std::vector<double>&>(call.bytes(), result.writer());
  const auto* begin = reinterpret_cast<const double*>(call.bytes().data());
  CHECK(seen == begin + 1); // a length, "abc", a length, padding
}

TEST_CASE("views of elements that are not plain, or not aligned, see copies") {
  CHECK(call_remotely(&total, std::vector<std::string>{"a", "bcd"}) == 4);
  test::payload call;
  encode_call<decltype(&mean), std::vector<double>>(call.writer(), &mean, std::vector<double>{1, 2, 3});
  for (std::size_t shift = 0; shift != 8; ++shift) {
    std::vector<std::byte> elsewhere(call.bytes().size() + 8);
    std::memcpy(elsewhere.data() + shift, call.bytes().data(), call.bytes().size());
    test::payload result;
    const std::span<const std::byte> bytes(elsewhere.data() + shift, call.bytes().size());
    REQUIRE(run_call<decltype(&mean), std::vector<double>>(bytes, result.writer()) == outcome::value);
    CHECK(decode_result<double>(result.bytes()) == 2);
  }
}

TEST_CASE("the result may be written over the arguments") {
  alignas(64) std::array<std::byte, 256> slot{};
  auto no_room = [](void*, coproc::writer&, std::size_t) {
    throw coproc::pool_error(make_error_code(coproc::errc::payload_too_large));
  };
  coproc::writer w(slot.data(), slot.size(), no_room, nullptr);
  encode_call<decltype(&largest), std::vector<double>>(w, &largest, std::vector<double>{1, 7, 2});
  coproc::writer over(slot.data(), slot.size(), no_room, nullptr);
  REQUIRE(run_call<decltype(&largest), std::vector<double>>({slot.data(), w.size()}, over) == outcome::value);
  CHECK(decode_result<double>({slot.data(), over.size()}) == 7);
}

TEST_CASE("arguments are encoded from where they are, without a copy") {
  counted::copies = 0;
  const counted c(5);
  CHECK(call_remotely(&number_of, c) == 5);
  CHECK(counted::copies == 0);

  std::vector<int> v{1, 2, 3};
  CHECK(call_remotely(&reverse, v) == std::vector<int>{3, 2, 1});
  CHECK(v.size() == 3);
  CHECK(call_remotely(&reverse, coproc::moved(v)) == std::vector<int>{3, 2, 1});
}

TEST_CASE("a small call costs what its parts cost") {
  CHECK(call_bytes([] {}) == 0);
  CHECK(call_bytes([](int) {}, 1) == 4);
  CHECK(call_bytes([n = 1](int m) { return n + m; }, 1) == 8);
  CHECK(call_bytes(&twice, 1) == sizeof(void*) + 4);
}

TEST_CASE("calls that decode the same share their code") {
  using f = decltype(&greet);
  CHECK(entry_of<f, std::string> == entry_of<f, const char*>);
  CHECK(entry_of<f, std::string&> == entry_of<f, coproc::moved_ref<std::string>>);
}

TEST_CASE("exceptions of the callable, of decoding and of encoding all arrive") {
  CHECK_THROWS_AS(call_remotely(&fail, 3), std::out_of_range);
  CHECK_THROWS_WITH(call_remotely(&fail, 3), "code 3");
  CHECK_THROWS_AS(call_remotely([](int) { throw 5; }, 1), coproc::remote_exception);

  test::payload result;
  CHECK(run_call<decltype(&twice), int>({}, result.writer()) == outcome::exception);
  CHECK_THROWS_AS(std::rethrow_exception(decode_exception(result.bytes())), coproc::bad_payload);

  test::payload call, small(64, 200);
  auto large = [](int n) { return std::vector<int>(std::size_t(n)); };
  encode_call<decltype(large), int>(call.writer(), large, 1000);
  CHECK(run_call<decltype(large), int>(call.bytes(), small.writer()) == outcome::exception);
  CHECK(coproc::code_of(decode_exception(small.bytes())) == make_error_code(coproc::errc::payload_too_large));
}

TEST_CASE("arguments are decoded in order, and must be all there is") {
  auto list = [](std::string a, int b, std::string c, std::vector<int> d) {
    return a + std::to_string(b) + c + std::to_string(d[0]);
  };
  CHECK(call_remotely(list, "a", 1, "b", std::vector<int>{2}) == "a1b2");

  test::payload call, result;
  encode_call<decltype(&twice), int>(call.writer(), &twice, 1);
  call.writer().put('x');
  CHECK(run_call<decltype(&twice), int>(call.bytes(), result.writer()) == outcome::exception);
}

TEST_CASE("a result must be all there is") {
  test::payload p;
  p.writer().put(1).put('x');
  CHECK_THROWS_AS(decode_result<int>(p.bytes()), coproc::bad_payload);
  CHECK_THROWS_AS(decode_result<void>(p.bytes()), coproc::bad_payload);
  CHECK_THROWS_AS(decode_result<std::string>(p.bytes()), coproc::bad_payload);
}

TEST_CASE("a span of the wrong length is refused") {
  test::payload call, result;
  encode_call<decltype(&mean), std::vector<double>>(call.writer(), &mean, std::vector<double>{1, 2});
  CHECK(run_call<decltype(&sum3), std::array<double, 3>&>(call.bytes(), result.writer()) == outcome::exception);
  CHECK_THROWS_AS(std::rethrow_exception(decode_exception(result.bytes())), coproc::bad_payload);
}

// Resolves references into one array, by their offset.
class one_array final : public far_memory {
public:
  explicit one_array(std::span<const std::byte> bytes) : bytes_(bytes) {}
  const std::byte* look(std::uint64_t place, std::uint64_t n) override {
    if (place > bytes_.size() || n > bytes_.size() - place) reject("not in the array");
    return bytes_.data() + place;
  }

private:
  std::span<const std::byte> bytes_;
};

// Runs a function without state on a reference.
template <class Wire, class F>
outcome decode_far(const far_range& range, far_memory* far, F) {
  test::payload call;
  encode_far_range(call.writer(), range);
  std::array<std::byte, 4096> memory;
  coproc::writer result(memory.data(), memory.size(), nullptr, nullptr, far);
  const outcome o = run_call<F, Wire>(call.bytes(), result);
  if (o == outcome::exception)
    CHECK_THROWS_AS(std::rethrow_exception(decode_exception({memory.data(), result.size()})), coproc::bad_payload);
  return o;
}

TEST_CASE("a reference to far memory is viewed in place, or copied where the parameter is a container") {
  static std::array<double, 600> array;
  std::iota(array.begin(), array.end(), 0.0);
  static int calls;
  calls = 0;
  one_array far(std::as_bytes(std::span(array)));
  CHECK(decode_far<std::span<const double>>({80, 500}, &far, [](std::span<const double> v) {
          calls += v.data() == &array[10] && v.size() == 500;
        }) == outcome::value);
  CHECK(decode_far<std::span<const double, 2>>(
            {80, 2}, &far, [](std::span<const double, 2> v) { calls += v.data() == &array[10]; }) == outcome::value);
  CHECK(decode_far<std::span<const double>>({0, 0}, &far, [](std::span<const double> v) { calls += v.empty(); }) ==
        outcome::value);
  CHECK(decode_far<std::vector<double>>({80, 3}, &far, [](const std::vector<double>& v) {
          calls += v == std::vector<double>{10, 11, 12};
        }) == outcome::value);
  CHECK(decode_far<std::string_view>({8, 16}, &far, [](std::string_view v) {
          calls += v.data() == reinterpret_cast<const char*>(&array[1]) && v.size() == 16;
        }) == outcome::value);
  CHECK(calls == 5);
}

TEST_CASE("a reference to far memory that is impossible, or of which the reader knows nothing, is refused") {
  static std::array<double, 600> array;
  one_array far(std::as_bytes(std::span(array)));
  static bool called;
  called = false;
  const auto look = [](std::span<const double>) { called = true; };
  CHECK(decode_far<std::span<const double>>({0, 600}, nullptr, look) == outcome::exception);
  CHECK(decode_far<std::span<const double>>({0, 601}, &far, look) == outcome::exception);
  CHECK(decode_far<std::span<const double>>({0, ~std::uint64_t{0}}, &far, look) == outcome::exception);
  CHECK(decode_far<std::span<const double>>({0, (std::uint64_t{1} << 61) + 1}, &far, look) == outcome::exception);
  CHECK(decode_far<std::span<const double, 3>>({0, 2}, &far, [](std::span<const double, 3>) { called = true; }) ==
        outcome::exception);
  CHECK(decode_far<std::vector<std::string>>({0, 2}, &far, [](const std::vector<std::string>&) { called = true; }) ==
        outcome::exception);
  CHECK(!called);
  // nor is it cut short, nor any other length taken for it
  for (const std::uint64_t length : {far_length, far_length - 1}) {
    test::payload p;
    p.writer().put_length(length).put(std::uint64_t{0});
    coproc::reader r(p.bytes(), &far);
    CHECK_THROWS_AS(r.get<std::vector<double>>(), coproc::bad_payload);
  }
}

TEST_CASE("a result does not refer to far memory") {
  test::payload p;
  encode_far_range(p.writer(), {0, 1});
  CHECK_THROWS_AS(decode_result<std::vector<double>>(p.bytes()), coproc::bad_payload);
  CHECK_THROWS_AS(decode_result<std::string>(p.bytes()), coproc::bad_payload);
}

TEST_CASE("pthread_exit passes through a call") {
  static bool returned = false;
  std::thread thread([] {
    test::payload call, result;
    auto leave = [] { ::pthread_exit(nullptr); };
    run_call<decltype(leave)>(call.bytes(), result.writer());
    returned = true;
  });
  thread.join();
  CHECK(!returned);
}
