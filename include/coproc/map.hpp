// SPDX-License-Identifier: BSL-1.0
// map and map_unordered: a function over many inputs, in worker processes or on threads, as a stream of results.
// Front end; the calls run in workers. A public header: may include everything.
#pragma once

#include <coproc/codec/call.hpp>
#include <coproc/codec/exception.hpp>
#include <coproc/front/call.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/options.hpp>
#include <coproc/pool.hpp>
#include <coproc/stats.hpp>
#include <coproc/stream.hpp>
#include <coproc/thread_bridge.hpp>
#include <coproc/worker/stop_flag.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cxxabi.h>
#include <exception>
#include <functional>
#include <iterator>
#include <limits>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace coproc {

/// For map. Member order is contract. Zero means the default, which is learned.
struct map_options {
  /// Items that travel in one call [so many that a call takes about 200 us, and at most 1 MiB].
  count chunk_size = 0;
  /// Items taken from the range whose results have not been read yet [four calls for each worker].
  count buffer_size = 0;
  /// From the call of map; then what has not been read and is not there yet fails with timed_out.
  duration timeout = unlimited;
};

static_assert(std::is_trivially_destructible_v<map_options> && std::is_aggregate_v<map_options>);

namespace detail {

// ---- one item: how an element of the range becomes one, and how fn is called with it

/// What is kept of an argument that fn takes as a W: the elements, where W is a view.
template <class W>
struct kept {
  using type = W;
};
template <class C, class Traits>
struct kept<std::basic_string_view<C, Traits>> {
  using type = std::basic_string<C, Traits>;
};
template <class T, std::size_t N>
struct kept<std::span<T, N>> {
  using type = std::vector<std::remove_cv_t<T>>;
};
template <class W>
using kept_t = typename kept<W>::type;

template <class W, class A>
kept_t<W> keep(A&& argument) {
  if constexpr (std::is_same_v<kept_t<W>, W>) {
    return static_cast<W>(std::forward<A>(argument));
  } else {
    const W view = static_cast<W>(argument);
    return kept_t<W>(view.begin(), view.end());
  }
}

/// As fn takes it, whose parameter is a P.
template <class P, class K>
decltype(auto) pass(K& argument) {
  using wire = std::remove_cvref_t<P>;
  if constexpr (std::is_same_v<K, wire>) {
    return static_cast<passed_t<P>>(argument);
  } else {
    if constexpr (view_traits<wire>::extent != std::dynamic_extent)
      if (argument.size() != view_traits<wire>::extent) reject("a span has the wrong length");
    return wire(argument.data(), argument.size());
  }
}

template <class E>
concept tuple_like = requires { std::tuple_size<std::remove_cvref_t<E>>::value; };

// As deduced from A&&.
template <class X>
using deduced_t = std::conditional_t<std::is_lvalue_reference_v<X>, X, std::remove_reference_t<X>>;

template <class E, std::size_t... I>
type_list<deduced_t<decltype(std::get<I>(std::declval<E>()))>...> parts_of(std::index_sequence<I...>);
template <class E>
using parts_t = decltype(parts_of<E>(std::make_index_sequence<std::tuple_size_v<std::remove_cvref_t<E>>>()));

/// How a worker is given an element: what travels, its types by the signature of F.
struct by_codec {
  template <class F, class... A>
  static consteval bool takes(type_list<A...>) {
    if constexpr (signature<F>::known)
      return size_of(typename signature<F>::parameters()) == sizeof...(A);
    else
      return std::is_invocable_v<F&, std::decay_t<A>...>;
  }
  template <class F, class... A>
  static consteval bool verify_call(type_list<A...>) {
    return verify<F, A...>();
  }
  template <class F, class... A>
  static auto result(type_list<A...>) -> std::type_identity<result_t<F, A...>>;
  template <class F, class... A>
  static auto passed(type_list<A...>) -> typename call_traits<F, A...>::passed;
};

/// How a thread is: a decayed copy.
struct by_copy {
  template <class F, class... A>
  static consteval bool takes(type_list<A...>) {
    return std::is_invocable_v<F&, std::decay_t<A>...>;
  }
  template <class F, class... A>
  static consteval bool verify_call(type_list<A...>) {
    return runs_on_threads<F&, std::decay_t<A>...>();
  }
  template <class F, class... A>
  static auto result(type_list<A...>) -> std::type_identity<std::decay_t<std::invoke_result_t<F&, std::decay_t<A>...>>>;
  template <class F, class... A>
  static auto passed(type_list<A...>) -> type_list<std::decay_t<A>...>;
};

/// An element that is a tuple is applied if F takes its parts.
template <class How, class F, class E>
consteval bool is_applied() {
  if constexpr (tuple_like<E>)
    return How::template takes<F>(parts_t<E>()) &&
           !(std::tuple_size_v<std::remove_cvref_t<E>> == 1 && std::is_invocable_v<F&, std::decay_t<E>>);
  else
    return false;
}

template <class How, class F, class E, bool Applied>
struct arguments_from {
  using type = type_list<E>;
};
template <class How, class F, class E>
struct arguments_from<How, F, E, true> {
  using type = parts_t<E>;
};

template <class F, class Passed>
struct item_call;

template <class F, class... P>
struct item_call<F, type_list<P...>> {
  using item = std::tuple<kept_t<std::remove_cvref_t<P>>...>;
  static decltype(auto) call(F& fn, item& i) {
    return std::apply([&fn](auto&... part) -> decltype(auto) { return invoke(fn, pass<P>(part)...); }, i);
  }

  template <class... A>
  static decltype(auto) invoke(F& fn, A&&... arguments) {
    return std::invoke(fn, std::forward<A>(arguments)...);
  }
};

// Without a tuple: a vector of these may travel in one copy.
template <class F, class P>
struct item_call<F, type_list<P>> {
  using item = kept_t<std::remove_cvref_t<P>>;
  static decltype(auto) call(F& fn, item& i) { return std::invoke(fn, pass<P>(i)); }
};

/// An element E (as deduced from E&&) of the range, and F.
template <class How, class F, class E>
struct element_call {
  static constexpr bool applied = is_applied<How, F, E>();
  using arguments = typename arguments_from<How, F, E, applied>::type;
  static consteval bool verify() { return How::template verify_call<F>(arguments()); }

  using passed = decltype(How::template passed<F>(arguments()));
  using result = typename decltype(How::template result<F>(arguments()))::type;
  using value = value_t<result>;
  using call_type = item_call<F, passed>;
  using item = typename call_type::item;

  static item make(E&& element) { return make(std::forward<E>(element), passed()); }

  static value call(F& fn, item& i) {
    if constexpr (std::is_void_v<result>) {
      call_type::call(fn, i);
      return {};
    } else {
      return call_type::call(fn, i);
    }
  }

private:
  template <class... P>
  static item make(E&& element, type_list<P...> types) {
    if constexpr (applied)
      return make(std::forward<E>(element), types, std::index_sequence_for<P...>());
    else
      return keep<std::remove_cvref_t<P>...>(std::forward<E>(element));
  }
  template <class... P, std::size_t... I>
  static item make(E&& element, type_list<P...>, std::index_sequence<I...>) {
    return item(keep<std::remove_cvref_t<P>>(std::get<I>(std::forward<E>(element)))...);
  }
};

// ---- one chunk: many items in one call

inline constexpr std::chrono::microseconds chunk_goal{200}; // what a learned chunk should take ...
inline constexpr std::chrono::milliseconds chunk_limit{1};  // ... and after which it returns what it has
inline constexpr std::size_t chunk_bytes = std::size_t{1} << 20;
inline constexpr std::size_t max_learned_items = std::size_t{1} << 18;

/// Counts what is written, and keeps nothing.
class byte_counter {
public:
  template <class T>
  static std::size_t count(const T& value) {
    byte_counter c;
    writer w(c.scratch_.data(), c.scratch_.size(), &next, &c);
    encode<T>(w, value);
    return c.before_ + w.size();
  }

private:
  static void next(void* self, writer& w, std::size_t more_bytes) {
    auto& c = *static_cast<byte_counter*>(self);
    c.before_ += w.size();
    w.rewind();
    if (more_bytes <= c.scratch_.size()) return;
    if (more_bytes > c.large_.size()) c.large_.resize(more_bytes);
    w.rebase(c.large_.data(), c.large_.size());
  }

  std::size_t before_ = 0;
  std::array<std::byte, 512> scratch_;
  std::vector<std::byte> large_;
};

/// What every value of T takes in a payload; 0: that differs.
template <class T>
inline constexpr std::size_t fixed_encoded_bytes =
    form_of<T> == form::bytes || form_of<T> == form::nothing ? sizeof(T) : 0;

/// About what a value takes in a payload.
template <class T>
std::size_t encoded_bytes(const T& value) {
  if constexpr (fixed_encoded_bytes<T> != 0)
    return fixed_encoded_bytes<T>;
  else if constexpr (requires {
                       requires travels_as_bytes<typename T::value_type>;
                       value.data() + value.size();
                     })
    return 16 + value.size() * sizeof(typename T::value_type); // a string, a vector, a result_view
  else
    return byte_counter::count(value);
}

/// When a call returns before it has seen all its items. Zero: never.
struct chunk_limits {
  std::int64_t run_ns = 0;
  std::uint64_t result_bytes = 0;
};

/// What became of the first items of a chunk, in order; and of the one behind them, if that threw.
template <class Value, class Error>
struct chunk_outcome {
  std::vector<Value> values;
  Error error;
  std::int64_t run_ns = 0;
};

inline std::int64_t steady_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// Calls one(item) for the items until done(), or a limit is reached; at least for one. size(value): in bytes.
template <class Item, class Value, class Error, class One, class Size, class Done>
void run_items(std::vector<Item>& items, const chunk_limits& limits, chunk_outcome<Value, Error>& out, One one,
               Size size, Done done) {
  out.values.reserve(items.size());
  const std::int64_t start = steady_ns();
  std::uint64_t bytes = 0;
  for (std::size_t i = 0, look_at = 1;; look_at += std::min<std::size_t>(look_at, 64)) {
    // The clock costs as much as some items: it is looked at after 1, 2, 4 ... 64, 128, 192 ...
    for (const std::size_t end = std::min(look_at, items.size()); i != end; ++i) {
      if (done()) return;
      if constexpr (std::is_same_v<Item, bool>) {
        bool item = items[i];
        out.values.push_back(one(item));
      } else {
        out.values.push_back(one(items[i]));
      }
      if (limits.result_bytes != 0 && (bytes += size(out.values.back())) >= limits.result_bytes) {
        out.run_ns = steady_ns() - start;
        return;
      }
    }
    out.run_ns = steady_ns() - start;
    if (i == items.size() || (limits.run_ns != 0 && out.run_ns >= limits.run_ns)) return;
  }
}

/// The callable that a worker is sent: F over the items of a chunk.
template <class F, class Call>
struct worker_chunk {
  using item = typename Call::item;
  using value = typename Call::value;
  using outcome = chunk_outcome<typename Call::value, std::vector<std::byte>>;

  F fn;

  outcome operator()(std::vector<item> items, chunk_limits limits) {
    outcome out;
    try {
      run_items(
          items, limits, out, [this](item& i) { return Call::call(fn, i); },
          [](const value& v) { return encoded_bytes<value>(v); }, [] { return false; });
    } catch (const abi::__forced_unwind&) { // pthread_exit
      throw;
    } catch (...) {
      if (out.values.empty()) throw; // as of any task
      encode_current(out.error);
    }
    return out;
  }

private:
  // By the codec of exceptions, which shortens texts where the memory is full.
  static void encode_current(std::vector<std::byte>& to) {
    to.resize(std::size_t{16} << 10);
    writer w(
        to.data(), to.size(),
        [](void*, writer&, std::size_t) { throw pool_error(make_error_code(errc::payload_too_large)); }, nullptr);
    encode_exception(w);
    to.resize(w.size());
    if (to.empty()) to.resize(1); // what cannot be encoded decodes as bad_payload
  }
};

} // namespace detail

/// Captures and all, as verified for fn by itself.
template <class F, class Call>
struct codec<detail::worker_chunk<F, Call>> {
  static void encode(writer& w, const detail::worker_chunk<F, Call>& c) { detail::encode_callable(w, c.fn); } ///< fn
  static detail::worker_chunk<F, Call> decode(reader& r) { return {detail::decode_callable<F>(r)}; }          ///< fn
};

namespace detail {

// ---- where chunks run

/// Items on their way: taken from the range and not yet read. What is guarded, is by the mutex of the core.
template <class Call, class Ticket>
struct map_chunk {
  using list = std::list<std::shared_ptr<map_chunk>>;

  std::vector<typename Call::item> items; // of whoever runs them, until they have been
  std::vector<typename Call::value> values;
  std::exception_ptr error;
  bool is_sent = false, is_done = false, is_given_up = false;
  typename list::iterator place;
  Ticket ticket;
};

/// Worker processes. Holds the engine rather than the pool, which may go first.
template <class F, class Call>
class process_chunks {
public:
  struct ticket {
    std::pair<front::task_record*, std::uint64_t> identity{};
  };
  using chunk = map_chunk<Call, ticket>;

  process_chunks(const pool_ref& pool, F fn) : engine_(front::engine_of(pool)), call_{std::move(fn)} {
    if (pool.options() != nullptr) options_ = *pool.options();
  }

  net::any_io_executor executor() const noexcept { return engine_->executor(); }
  std::size_t workers() const { return engine_->stats().workers.size(); }
  std::size_t budget() const noexcept {
    return static_cast<std::size_t>(std::min<std::uint64_t>(chunk_bytes, engine_->argument_limit() / 4 + 1));
  }
  static constexpr std::size_t fixed_item_bytes = fixed_encoded_bytes<typename Call::item>;
  static constexpr std::size_t fixed_value_bytes = fixed_encoded_bytes<typename Call::value>;
  static std::size_t bytes_of(const typename Call::item& i) { return encoded_bytes<typename Call::item>(i); }

  /// Code that is in no worker is refused before anything is sent: the entry of a chunk is in all of them.
  void check() {
    if constexpr (std::is_pointer_v<F>) {
      const entry_function entry = entry_of<worker_chunk<F, Call>, std::vector<typename Call::item>, chunk_limits>;
      engine_->recycle(engine_->acquire(reinterpret_cast<std::uintptr_t>(entry),
                                        reinterpret_cast<std::uintptr_t>(call_.fn), options()));
    }
  }

  template <class Core>
  void start(const std::shared_ptr<Core>& core, const std::shared_ptr<chunk>& c, const chunk_limits& limits) {
    auto call = front::prepared_call::make(engine_, options(), true, call_, c->items, limits);
    c->ticket.identity = call.identity();
    std::move(call).template start<outcome>(sink<Core>{core, c});
  }

  void cancel(const ticket& t) const noexcept {
    if (t.identity.first != nullptr)
      engine_->cancel(*t.identity.first, t.identity.second, net::cancellation_type::terminal);
  }

private:
  using outcome = typename worker_chunk<F, Call>::outcome;

  // Nobody's executor: it runs where the pool completes.
  template <class Core>
  struct sink {
    std::shared_ptr<Core> core;
    std::shared_ptr<chunk> c;

    sink(std::shared_ptr<Core> k, std::shared_ptr<chunk> of) noexcept : core(std::move(k)), c(std::move(of)) {}
    sink(sink&&) noexcept = default;
    ~sink() {
      if (core) core->completed(c, aborted(), {}, nullptr, 0);
    }
    void operator()(std::exception_ptr e, outcome o) {
      std::exception_ptr item_error;
      if (!e && !o.error.empty()) item_error = decode_exception(o.error);
      std::exchange(core, nullptr)->completed(c, std::move(e), std::move(o.values), std::move(item_error), o.run_ns);
    }
  };

  const task_options* options() const noexcept { return options_ ? &*options_ : nullptr; }

  std::shared_ptr<front::engine> engine_;
  std::optional<task_options> options_;
  worker_chunk<F, Call> call_;
};

/// Threads of an executor.
template <class F, class Call, class Executor>
class thread_chunks {
public:
  struct ticket {
    std::shared_ptr<std::atomic<bool>> stop = std::make_shared<std::atomic<bool>>(false);
  };
  using chunk = map_chunk<Call, ticket>;

  thread_chunks(Executor where, F fn) : where_(std::move(where)), fn_(std::move(fn)) {}

  net::any_io_executor executor() const { return where_; }
  std::size_t workers() const {
    if constexpr (net::can_query<const Executor&, net::execution::occupancy_t>::value)
      return net::query(where_, net::execution::occupancy);
    else
      return std::thread::hardware_concurrency();
  }
  static constexpr std::size_t budget() noexcept { return std::numeric_limits<std::size_t>::max(); }
  static constexpr std::size_t fixed_item_bytes = 1, fixed_value_bytes = 1; // of no account
  void check() const noexcept {}

  template <class Core>
  void start(const std::shared_ptr<Core>& core, const std::shared_ptr<chunk>& c, const chunk_limits& limits) {
    net::post(where_, job<Core>{core, c, fn_, limits});
  }

  void cancel(const ticket& t) const noexcept { t.stop->store(true, std::memory_order_relaxed); }

private:
  template <class Core>
  struct job {
    std::shared_ptr<Core> core;
    std::shared_ptr<chunk> c;
    F fn;
    chunk_limits limits;

    job(std::shared_ptr<Core> k, std::shared_ptr<chunk> of, const F& f, const chunk_limits& l)
        : core(std::move(k)), c(std::move(of)), fn(f), limits(l) {}
    job(job&&) = default;
    ~job() { // an executor that goes destroys its queue
      if (core) core->completed(c, aborted(), {}, nullptr, 0);
    }

    void operator()() {
      const std::atomic<bool>& stop = *c->ticket.stop;
      chunk_outcome<typename Call::value, std::exception_ptr> out;
      try {
        const worker::thread_stop_scope scope(stop);
        run_items(
            c->items, limits, out, [this](typename Call::item& i) { return Call::call(fn, i); },
            [](const auto&) { return std::uint64_t{0}; }, [&stop] { return stop.load(std::memory_order_relaxed); });
      } catch (...) {
        out.error = std::current_exception();
      }
      std::exchange(core, nullptr)->completed(c, nullptr, std::move(out.values), std::move(out.error), out.run_ns);
    }
  };

  Executor where_;
  F fn_;
};

// ---- where items come from

enum class drawn { enough, none_yet, over };

/// A range: an lvalue stays where it is, anything else is kept here.
template <class Range>
class range_source {
  using range = std::remove_reference_t<Range>;
  // A container that is given away gives its elements away.
  static constexpr bool gives_away =
      !std::is_lvalue_reference_v<Range> && !std::ranges::view<range> && !std::is_const_v<range>;
  template <bool Away, class Iterator>
  struct reference {
    using type = std::iter_reference_t<Iterator>;
  };
  template <class Iterator>
  struct reference<true, Iterator> {
    using type = std::iter_rvalue_reference_t<Iterator>;
  };

public:
  using element = deduced_t<typename reference<gives_away, std::ranges::iterator_t<range>>::type>;

  explicit range_source(Range&& r) : range_(std::forward<Range>(r)) {}

  /// Calls take(element) with the next ones, while that is true.
  template <class Take>
  drawn draw(Take take) {
    if (!at_) at_.emplace(std::ranges::begin(range_));
    auto& at = *at_;
    for (const auto end = std::ranges::end(range_);;) {
      if (std::exchange(is_taken_, false)) ++at; // as late as possible: it may wait for input
      if (at == end) return drawn::over;
      is_taken_ = true;
      bool more;
      if constexpr (gives_away)
        more = take(std::ranges::iter_move(at));
      else
        more = take(*at);
      if (!more) return drawn::enough;
    }
  }

  template <class Later>
  void await(const net::any_io_executor&, Later) {}
  void before_waiting(const net::any_io_executor&) {}
  void stop() noexcept {}

private:
  Range range_; // a reference, or the range
  std::optional<std::ranges::iterator_t<range>> at_;
  bool is_taken_ = false;
};

/// The items of another stream, as far as they are there. As range_source.
template <class T>
class stream_source {
public:
  using element = T;

  explicit stream_source(stream<T>&& s) : stream_(std::move(s)), core_(stream_access::core_of(stream_).get()) {
    if (!core_->begin_reading())
      throw pool_error(make_error_code(errc::already_awaited), "map: somebody reads this stream");
  }

  template <class Take>
  drawn draw(Take take) {
    for (;;) {
      if (!core_->has_item()) {
        if (!core_->is_bound()) return drawn::none_yet; // await() gives it an executor
        const pulled p = core_->refill();
        if (p != pulled::items) return p == pulled::over ? drawn::over : drawn::none_yet;
      }
      if (!take(core_->take_item())) return drawn::enough;
    }
  }

  /// later(f) is called when there may be more, where it is false that this is gone; it calls f() first.
  template <class Later>
  void await(const net::any_io_executor& ex, Later later) {
    if (std::exchange(is_awaited_, true)) return;
    if (!core_->is_bound()) {
      core_->bind(ex);
      core_->notify();
    }
    core_->async_receive([this, later](const net::error_code&, const std::optional<std::monostate>&) {
      later([this] { is_awaited_ = false; });
    });
  }
  void before_waiting(const net::any_io_executor& ex) { core_->before_waiting(ex); }
  void stop() noexcept { stream_.cancel(); }

private:
  stream<T> stream_;
  stream_core<T>* core_;
  bool is_awaited_ = false;
};

// ---- all together

/// What is behind map's stream.
///
/// The range is used by the reader alone: elements are taken when the reader asks for results, and no more than the
/// look-ahead allows. Those of a stream are taken when they come, too.
template <class Bridge, class Source, class Call, bool Ordered>
class map_core final : public stream_core<typename Call::value> {
  using value = typename Call::value;
  using item = typename Call::item;
  using chunk = typename Bridge::chunk;
  using chunk_ptr = std::shared_ptr<chunk>;
  using chunk_list = typename chunk::list;
  using clock = std::chrono::steady_clock;

public:
  map_core(Bridge&& bridge, Source&& source, const map_options& o)
      : stream_core<value>(bridge.executor()), bridge_(std::move(bridge)),
        chunk_size_(checked(o.chunk_size, "chunk_size")), buffer_size_(checked(o.buffer_size, "buffer_size")),
        deadline_(deadline_of(o.timeout)), source_(std::move(source)) {}

  /// Takes the first items and sends them off. Whatever fails is what ends the stream.
  void begin() {
    try {
      workers_ = std::max<std::size_t>(1, bridge_.workers());
      bridge_.check();
    } catch (...) {
      source_error_ = std::current_exception();
      source_is_over_ = true;
    }
    top_up();
  }

  /// A call has returned. `values`: of its first items; `item_error`: of the one behind them.
  void completed(const chunk_ptr& c, std::exception_ptr error, std::vector<value> values, std::exception_ptr item_error,
                 std::int64_t run_ns) {
    std::vector<chunk_ptr> doomed, rest;
    {
      std::lock_guard lock(mutex_);
      if (c->is_given_up) return;
      const std::size_t n = values.size(), seen = n + (item_error ? 1 : 0);
      if (!error && (seen == 0 || seen > c->items.size()))
        error =
            std::make_exception_ptr(bad_payload("a worker returned another number of results than it was given items"));
      if (!error) {
        learn(static_cast<double>(run_ns) / static_cast<double>(seen));
        keep_values(*c, std::move(values));
        if (!item_error && n < c->items.size()) rest = split(*c, n);
      }
      end(c, error ? std::move(error) : std::move(item_error), doomed);
    }
    give_up(doomed);
    for (const chunk_ptr& r : rest) send(r);
    this->notify();
  }

  void before_waiting(const net::any_io_executor& ex) override {
    source_.before_waiting(ex);
    if (deadline_ == never) return;
    std::lock_guard lock(mutex_);
    if (has_timer_ || is_over()) return;
    has_timer_ = true;
    const auto timer = std::make_shared<net::steady_timer>(ex, deadline_); // of its handler, since the context may go
    timer_ = timer;
    timer->async_wait([timer, weak = this->weak_from_this()](const net::error_code& e) {
      if (e) return;
      if (const auto self = weak.lock()) static_cast<map_core&>(*self).expire();
    });
  }

private:
  static constexpr clock::time_point never = clock::time_point::max();

  static std::size_t checked(count n, const char* name) {
    if (n.value < 0)
      throw std::invalid_argument(std::string("coproc: map: ") + name +
                                  " must not be negative; zero means the default");
    return static_cast<std::size_t>(n.value);
  }
  static clock::time_point deadline_of(duration timeout) {
    if (timeout <= duration::zero())
      throw std::invalid_argument("coproc: map: the timeout must be positive; coproc::unlimited is no limit");
    const auto now = clock::now();
    return timeout < never - now ? now + timeout : never;
  }

  // ---- the reader

  pulled pull(std::vector<value>& into, std::exception_ptr& error) override {
    if (deadline_ != never && clock::now() >= deadline_) expire();
    {
      std::lock_guard lock(mutex_);
      unread_ -= std::exchange(being_read_, 0);
      harvest(into);
    }
    top_up(); // before the reader turns to what there is
    std::lock_guard lock(mutex_);
    if (into.empty()) harvest(into);
    if (!into.empty()) return pulled::items;
    if (!is_over()) return pulled::nothing_yet;
    end_timer();
    error = failure_ ? failure_ : source_error_;
    return pulled::over;
  }

  void stop() noexcept override {
    std::vector<chunk_ptr> doomed;
    {
      std::lock_guard lock(mutex_);
      source_is_over_ = true;
      remove(chunks_.begin(), doomed);
      end_timer();
    }
    give_up(doomed);
    source_.stop();
  }

  /// The results that the reader may have. Under the mutex.
  void harvest(std::vector<value>& into) {
    if constexpr (Ordered) {
      while (!chunks_.empty()) {
        const chunk_ptr c = chunks_.front();
        append(into, std::move(c->values));
        c->values.clear();
        if (!c->is_done) break;
        chunks_.pop_front(); // one that failed is the last
        if (c->error) failure_ = c->error;
      }
    } else {
      append(into, std::move(ready_));
      ready_.clear();
      ready_chunks_ = 0;
    }
    being_read_ = into.size();
  }

  static void append(std::vector<value>& to, std::vector<value>&& values) {
    if (to.empty())
      to.swap(values);
    else
      to.insert(to.end(), std::make_move_iterator(values.begin()), std::make_move_iterator(values.end()));
  }

  // ---- the source

  /// Sends off what the look-ahead allows. By the reader, and by the executor where the source is a stream.
  void top_up() {
    std::lock_guard drawing(draw_mutex_);
    for (;;) {
      std::size_t wanted;
      {
        std::lock_guard lock(mutex_);
        wanted = source_is_over_ ? 0 : room();
      }
      if (wanted == 0) break;
      const auto c = std::make_shared<chunk>();
      std::exception_ptr error;
      const drawn d = draw(*c, wanted, error);
      if (d == drawn::over || !c->items.empty()) {
        std::lock_guard lock(mutex_);
        if (source_is_over_) break; // a failure, or nobody reads any more
        if (!c->items.empty()) {
          c->place = chunks_.insert(chunks_.end(), c);
          unread_ += c->items.size();
        }
        if (d == drawn::over) {
          source_is_over_ = true;
          source_error_ = std::move(error);
        }
      }
      if (!c->items.empty()) send(c);
      if (d == drawn::none_yet) {
        source_.await(this->executor(), [weak = this->weak_from_this()](auto first) {
          const auto self = std::static_pointer_cast<map_core>(weak.lock());
          if (!self) return;
          {
            std::lock_guard again(self->draw_mutex_);
            first();
          }
          self->top_up();
          self->notify();
        });
        return;
      }
    }
    bool is_source_needed;
    {
      std::lock_guard lock(mutex_);
      is_source_needed = !source_is_over_;
    }
    if (!is_source_needed) source_.stop();
  }

  /// Of `wanted` items, as many as there are and fit into one call. Under draw_mutex_.
  drawn draw(chunk& c, std::size_t wanted, std::exception_ptr& error) {
    [[maybe_unused]] const std::size_t most = bridge_.budget();
    [[maybe_unused]] std::size_t bytes = 0;
    if constexpr (Bridge::fixed_item_bytes != 0)
      wanted = std::min(wanted, at_least_one(most / Bridge::fixed_item_bytes));
    if constexpr (Bridge::fixed_value_bytes != 0)
      wanted = std::min(wanted, at_least_one(most / Bridge::fixed_value_bytes));
    const auto add = [&](item&& i) { // false: that is enough
      if constexpr (Bridge::fixed_item_bytes == 0) {
        const std::size_t more = Bridge::bytes_of(i);
        if (!c.items.empty() && bytes + more > most) {
          set_aside_.emplace(std::move(i));
          return false;
        }
        bytes += more;
      }
      c.items.push_back(std::move(i));
      return c.items.size() != wanted;
    };
    if (set_aside_) {
      item first = std::move(*set_aside_);
      set_aside_.reset();
      if (!add(std::move(first))) return drawn::enough;
    }
    c.items.reserve(std::min<std::size_t>(wanted, 1 << 16)); // the range may be shorter
    try {
      using element = typename Source::element;
      return source_.draw([&](element&& e) { return add(Call::make(std::forward<element>(e))); });
    } catch (...) { // the items before it count
      error = std::current_exception();
      return drawn::over;
    }
  }

  /// How many items may be taken for the next call; 0: none now. Under the mutex.
  std::size_t room() const {
    if (buffer_size_ == 0) return chunks_.size() + ready_chunks_ < 4 * workers_ ? wanted_items() : 0;
    const std::size_t most = buffer_size_ > unread_ ? buffer_size_ - unread_ : 0;
    return std::min(most, wanted_items());
  }

  std::size_t wanted_items() const {
    if (chunk_size_ != 0) return chunk_size_;
    if (ns_per_item_ == 0) return 1;
    const double goal = static_cast<double>(std::chrono::nanoseconds(chunk_goal).count()) / ns_per_item_;
    std::size_t n = goal < static_cast<double>(max_learned_items) ? static_cast<std::size_t>(goal) : max_learned_items;
    if (buffer_size_ != 0) n = std::min(n, buffer_size_ / (2 * workers_)); // something for every worker
    return std::max<std::size_t>(1, n);
  }

  static std::size_t at_least_one(std::size_t n) noexcept { return std::max<std::size_t>(1, n); }

  void learn(double ns) {
    ns = std::max(ns, 0.1);
    ns_per_item_ = ns_per_item_ == 0 ? ns : (ns_per_item_ + ns) / 2;
  }

  // ---- calls

  void send(const chunk_ptr& c) {
    const chunk_limits limits{chunk_size_ != 0 ? 0 : std::chrono::nanoseconds(chunk_limit).count(),
                              Bridge::fixed_value_bytes != 0 ? 0 : bridge_.budget()};
    bridge_.start(std::static_pointer_cast<map_core>(this->shared_from_this()), c, limits);
    {
      std::lock_guard lock(mutex_);
      c->is_sent = true;
      if (!c->is_given_up) return;
    }
    bridge_.cancel(c->ticket);
  }

  // The rest of the functions are called under the mutex, but for give_up.

  /// The items behind the first n as chunks of their own, for several workers.
  std::vector<chunk_ptr> split(chunk& c, std::size_t n) {
    const std::size_t left = c.items.size() - n, each = std::max(wanted_items(), left / (2 * workers_) + 1);
    std::vector<chunk_ptr> rest;
    for (auto before = std::next(c.place); n != c.items.size();) {
      const std::size_t end = n + std::min(each, c.items.size() - n);
      const auto more = std::make_shared<chunk>();
      more->items.reserve(end - n);
      for (; n != end; ++n) more->items.push_back(static_cast<item>(std::move(c.items[n])));
      more->place = chunks_.insert(before, more);
      rest.push_back(more);
    }
    return rest;
  }

  void keep_values(chunk& c, std::vector<value>&& values) { append(Ordered ? c.values : ready_, std::move(values)); }

  /// c has all its results, or failed behind those that it has. The first failure gives up what comes later; without
  /// an order that is everything.
  void end(const chunk_ptr& c, std::exception_ptr error, std::vector<chunk_ptr>& doomed) {
    c->is_done = true;
    c->error = std::move(error);
    if (!c->is_given_up) c->items.clear(); // else somebody may be at them
    if (c->error) {
      source_is_over_ = true;
      source_error_ = nullptr;
      if constexpr (Ordered)
        remove(std::next(c->place), doomed);
      else
        failure_ = c->error;
    }
    if constexpr (!Ordered) {
      chunks_.erase(c->place);
      ++ready_chunks_;
      if (c->error) remove(chunks_.begin(), doomed);
    }
  }

  /// Time is up: what is not there now fails.
  void expire() {
    std::vector<chunk_ptr> doomed;
    {
      std::lock_guard lock(mutex_);
      const auto late = std::ranges::find_if(chunks_, [](const chunk_ptr& c) { return !c->is_done; });
      if (late != chunks_.end()) {
        const chunk_ptr c = *late;
        c->is_given_up = true;
        doomed.push_back(c);
        end(c, std::make_exception_ptr(timed_out()), doomed);
      } else if (!source_is_over_) {
        source_is_over_ = true;
        source_error_ = std::make_exception_ptr(timed_out());
      }
    }
    give_up(doomed);
    this->notify();
  }

  void remove(typename chunk_list::iterator first, std::vector<chunk_ptr>& doomed) {
    for (auto i = first; i != chunks_.end(); ++i) {
      (*i)->is_given_up = true;
      doomed.push_back(*i);
    }
    chunks_.erase(first, chunks_.end());
  }

  void give_up(const std::vector<chunk_ptr>& doomed) noexcept {
    for (const chunk_ptr& c : doomed) {
      bool is_sent;
      {
        std::lock_guard lock(mutex_);
        is_sent = c->is_sent; // else whoever sends it sees that it is given up
      }
      if (is_sent) bridge_.cancel(c->ticket);
    }
  }

  bool is_over() const noexcept { return source_is_over_ && chunks_.empty(); }

  void end_timer() noexcept {
    if (const auto timer = timer_.lock()) timer->cancel();
    has_timer_ = true;
  }

  Bridge bridge_;
  const std::size_t chunk_size_, buffer_size_; // 0: learned
  const clock::time_point deadline_;
  std::size_t workers_ = 1;

  std::mutex draw_mutex_; // guards the next two; taken before mutex_
  Source source_;
  std::optional<item> set_aside_; // it did not fit into the last call

  std::mutex mutex_;         // guards the rest
  chunk_list chunks_;        // sent and not yet read, in order of input
  std::vector<value> ready_; // without an order
  std::size_t ready_chunks_ = 0;
  std::exception_ptr failure_, source_error_;
  bool source_is_over_ = false;
  std::size_t unread_ = 0, being_read_ = 0; // items
  double ns_per_item_ = 0;
  std::weak_ptr<net::steady_timer> timer_;
  bool has_timer_ = false;
};

template <class T>
inline constexpr bool is_stream = false;
template <class T>
inline constexpr bool is_stream<stream<T>> = true;

template <class R>
struct source_of {
  using type = range_source<R>;
};
template <class T>
struct source_of<stream<T>> {
  using type = stream_source<T>;
};

/// What map can take its items from, as deduced from R&&.
template <class R>
concept map_source = std::ranges::input_range<R> || is_stream<std::remove_cvref_t<R>>;

template <bool Ordered, class How, template <class, class> class Bridge, class Where, class F, class R>
auto start_map(Where&& where, F&& fn, R&& range, const map_options& options) {
  constexpr bool named_stream = is_stream<std::remove_cvref_t<R>> && std::is_lvalue_reference_v<R>;
  static_assert(!named_stream, "coproc: map reads the stream to its end: pass std::move(stream)");
  if constexpr (!named_stream) {
    using source = typename source_of<R>::type;
    using call = element_call<How, F, typename source::element>;
    if constexpr (call::verify()) {
      using bridge = Bridge<F, call>;
      auto core = std::make_shared<map_core<bridge, source, call, Ordered>>(
          bridge(std::forward<Where>(where), std::move(fn)), source(std::forward<R>(range)), options);
      core->begin();
      return stream<typename call::value>(std::move(core));
    }
  }
}

template <class Executor>
struct thread_chunks_on {
  template <class F, class Call>
  using type = thread_chunks<F, Call, Executor>;
};

template <bool Ordered, class E, class F, class R>
auto map_on_threads(E&& where, F&& fn, R&& range, const map_options& options) {
  static_assert(std::is_lvalue_reference_v<E> || !std::same_as<std::remove_cvref_t<E>, net::thread_pool>,
                "coproc: the pool must outlive its tasks: pass a named thread_pool");
  if constexpr (std::same_as<std::remove_cvref_t<E>, net::thread_pool>) {
    using executor = net::thread_pool::executor_type;
    return start_map<Ordered, by_copy, thread_chunks_on<executor>::template type>(where.get_executor(), std::move(fn),
                                                                                  std::forward<R>(range), options);
  } else {
    using executor = std::remove_cvref_t<E>;
    return start_map<Ordered, by_copy, thread_chunks_on<executor>::template type>(executor(where), std::move(fn),
                                                                                  std::forward<R>(range), options);
  }
}

} // namespace detail

/// Calls fn for every element of a range, in worker processes or on the threads of an executor, and gives the results
/// in the order of the elements.
///
///     auto sizes = coproc::map(pool, parse_file, paths);
///     while (auto n = co_await sizes.next()) total += *n;
///
/// The bridge is a process_pool, a pool_ref, a net::thread_pool or an executor. fn, its arguments and results are as
/// those of run_in_executor on the same bridge; an element is the argument, or its parts are, where it is a tuple and
/// fn takes these. For a void fn the results are std::monostate.
///
/// The range is any input range, or a stream: also an infinite, a single-pass or a move-only one. An lvalue is
/// viewed; a view is kept; the elements of any other rvalue are moved from. Work begins with the call. No more
/// elements are taken ahead of the reader than map_options::buffer_size says. They are taken within the call and by
/// next(), a stream's also when they come.
///
/// Many short calls travel as one: a chunk. Its length follows from the time that fn takes. What takes a chunk too
/// long is given to other workers. Options of a pool_ref are those of each chunk: a time-out of a task is one of the
/// chunk.
/// \par Errors       of the call: std::invalid_argument, an option out of range. Of next(): the first failure in the
///                   order of the elements, after all results before it: what fn throws, what run_in_executor fails
///                   with, what the range throws, timed_out. The elements behind it are cancelled. A worker that dies
///                   takes the results of its chunk along: with chunk_size 1 these are one
/// \par Cancel       cancelling next() loses nothing. stream::cancel() and the destructor cancel what runs, with
///                   terminal
/// \par Pressure     as run_in_executor
/// \par Threads      the range, and the stream, are used by one thread at a time: that of the reader
/// \par Lifetime     an lvalue range must outlive the stream, a thread_pool too; a process_pool may go first. Join a
///                   thread_pool before the reader's context goes: a thread of it may be about to return from a post
template <process_bridge P, class F, detail::map_source R>
auto map(P&& pool, F fn, R&& range, const map_options& options = {}) {
  return detail::start_map<true, detail::by_codec, detail::process_chunks>(static_cast<pool_ref>(pool), std::move(fn),
                                                                           std::forward<R>(range), options);
}

/// As map, on threads. Each chunk has a copy of fn.
template <thread_bridge E, class F, detail::map_source R>
  requires std::copy_constructible<F>
auto map(E&& where, F fn, R&& range, const map_options& options = {}) {
  return detail::map_on_threads<true>(std::forward<E>(where), std::move(fn), std::forward<R>(range), options);
}

/// As map, but gives the results as they come, chunk by chunk. The first failure in time is what ends the stream,
/// after the results that were there before.
/// @{
template <process_bridge P, class F, detail::map_source R>
auto map_unordered(P&& pool, F fn, R&& range, const map_options& options = {}) {
  return detail::start_map<false, detail::by_codec, detail::process_chunks>(static_cast<pool_ref>(pool), std::move(fn),
                                                                            std::forward<R>(range), options);
}
template <thread_bridge E, class F, detail::map_source R>
  requires std::copy_constructible<F>
auto map_unordered(E&& where, F fn, R&& range, const map_options& options = {}) {
  return detail::map_on_threads<false>(std::forward<E>(where), std::move(fn), std::forward<R>(range), options);
}
/// @}

} // namespace coproc
