// SPDX-License-Identifier: BSL-1.0
// batched: calls of many coroutines, gathered into few calls of a function that takes many items. The function runs
// in a pool; batches are made in the front end. A public header: may include everything.
#pragma once

#include <coproc/codec/plain_bytes.hpp>
#include <coproc/codec/signature.hpp>
#include <coproc/event.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>
#include <coproc/options.hpp>
#include <coproc/run_in_executor.hpp>
#include <coproc/semaphore.hpp>
#include <coproc/thread_bridge.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace coproc {

/// How batched gathers. Member order is contract.
struct batch_options {
  /// A batch of so many items goes at once [32].
  count max_batch = 0;
  /// A smaller one goes so long after its first item came. Zero: with what is there when the loop comes to it.
  duration max_delay = std::chrono::milliseconds(1);
  /// Items accepted and not completed, those that are being worked on included; the next ones wait for room [4096, or
  /// max_batch if that is more].
  count max_queue = 0;
};

/// What a function of batched puts in the place of a result, to fail one item and not the others: it returns
/// std::vector<std::variant<Out, failed_item>>.
struct failed_item {
  std::string what; ///< text of the std::runtime_error that this item ends with
};

namespace detail {

template <class F>
struct batch_signature {
  static constexpr bool known = false;
};
template <class Out, class In, class... More>
struct batch_types {
  static constexpr bool known = false;
};
template <class Out, class In>
  requires(!std::is_same_v<In, bool>)
struct batch_types<std::vector<Out>, std::span<const In>> {
  static constexpr bool known = true;
  using in = In;
  using out = Out;
};
template <class R, class P>
struct batch_of_signature {
  static constexpr bool known = false;
};
template <class R, class... P>
struct batch_of_signature<R, type_list<P...>> : batch_types<R, std::remove_cvref_t<P>...> {};
template <class F>
  requires signature<F>::known
struct batch_signature<F> : batch_of_signature<typename signature<F>::result, typename signature<F>::parameters> {};

/// What one item gives: Out of F's std::vector<Out>, or the T of its variant<T, failed_item>.
template <class Out>
struct batch_result {
  using type = Out;
  static Out take(Out&& out) { return std::move(out); }
};
template <class T>
struct batch_result<std::variant<T, failed_item>> {
  using type = T;
  static T take(std::variant<T, failed_item>&& out) {
    if (const failed_item* failed = std::get_if<failed_item>(&out)) throw std::runtime_error(failed->what);
    return std::move(std::get<T>(out));
  }
};

/// Whole vectors travel to another process; a span does only where its elements are plain bytes.
template <class F, class In, class Out>
struct batch_adapter {
  static std::vector<Out> call(std::vector<In> items) { return F{}(std::span<const In>(items)); }
};

template <class Bridge>
struct kept_bridge { // an executor
  using type = Bridge;
  static const type& use(const type& kept) noexcept { return kept; }
};
template <>
struct kept_bridge<net::thread_pool> {
  class type {
  public:
    type(net::thread_pool& pool) noexcept : pool_(&pool) {}
    net::thread_pool& pool() const noexcept { return *pool_; }

  private:
    net::thread_pool* pool_;
  };
  static net::thread_pool& use(const type& kept) noexcept { return kept.pool(); }
};
template <class Bridge>
  requires process_bridge<const Bridge&>
struct kept_bridge<Bridge> {
  using type = pool_ref;
  static const type& use(const type& kept) noexcept { return kept; }
};

/// Who waits, the batch that is open, and how many there are. Kept by batcher objects, and by coroutines that wait or
/// work: the frames of these alone keep items and batches, so that a context that goes takes them with it.
/// \par Threads  any; a batch's timer and signal are used on its executor only
template <class Bridge, class F>
class batch_state : public std::enable_shared_from_this<batch_state<Bridge, F>> {
  using types = batch_signature<F>;

public:
  using in_type = typename types::in;
  using out_type = typename types::out;
  using result_type = typename batch_result<out_type>::type;

  batch_state(typename kept_bridge<Bridge>::type bridge, F fn, const batch_options& options)
      : bridge_(std::move(bridge)), fn_(std::move(fn)),
        max_batch_(checked(options.max_batch, 32, "coproc: batched: max_batch must not be negative")),
        max_queue_(checked(options.max_queue, std::max<std::size_t>(4096, max_batch_),
                           "coproc: batched: max_queue must not be negative")),
        max_delay_(options.max_delay) {
    if (max_delay_ < duration::zero()) throw std::invalid_argument("coproc: batched: max_delay must not be negative");
  }

  static net::awaitable<result_type> call(std::shared_ptr<batch_state> self, in_type value) {
    net::any_io_executor ex = co_await net::this_coro::executor;
    auto asking = self->room(ex);
    const auto permit = co_await std::move(asking);
    auto mine = std::make_shared<item>(std::move(ex), std::move(value));
    const presence here(self, mine);
    self->submit(mine);
    auto waiting = mine->done.wait();
    co_await std::move(waiting);
    if (mine->error) std::rethrow_exception(mine->error);
    co_return batch_result<out_type>::take(std::move(*mine->result));
  }

private:
  struct batch;

  enum class place : std::uint8_t { outside, gathered, working, over };

  struct item {
    item(net::any_io_executor ex, in_type&& v) : executor(ex), done(std::move(ex)), value(std::move(v)) {}

    const net::any_io_executor executor;
    event done;
    in_type value;
    place where = place::outside; // guarded by the mutex, as the next
    std::weak_ptr<batch> in;
    std::optional<out_type> result; // of the batch, then of the item's coroutine
    std::exception_ptr error;
  };
  using item_ptr = std::shared_ptr<item>;

  struct batch {
    explicit batch(net::any_io_executor ex) : executor(std::move(ex)) {}

    const net::any_io_executor executor; // nothing runs there at the same time
    std::vector<item_ptr> items;         // guarded by the mutex, as the next
    std::size_t alive = 0;
    bool goes = false; // on the executor, as the next
    net::steady_timer* timer = nullptr;
    net::cancellation_signal signal;
  };
  using batch_ptr = std::shared_ptr<batch>;

  // In the frame of the coroutine that awaits an item: whatever way it goes, the item is given up.
  class presence {
  public:
    presence(std::shared_ptr<batch_state> of, item_ptr i) noexcept : of_(std::move(of)), item_(std::move(i)) {}
    presence(const presence&) = delete;
    presence& operator=(const presence&) = delete;
    ~presence() { of_->leave(*item_); }

  private:
    std::shared_ptr<batch_state> of_;
    item_ptr item_;
  };

  // In the frame of a batch: whatever way it goes, nobody waits for it any more.
  class responsibility {
  public:
    responsibility(std::shared_ptr<batch_state> of, batch_ptr b) noexcept : of_(std::move(of)), batch_(std::move(b)) {}
    responsibility(const responsibility&) = delete;
    responsibility& operator=(const responsibility&) = delete;
    ~responsibility() { of_->abandon(*batch_); }

  private:
    std::shared_ptr<batch_state> of_;
    batch_ptr batch_;
  };

  static std::size_t checked(count n, std::size_t otherwise, const char* negative) {
    if (n.value < 0) throw std::invalid_argument(negative);
    return n.value == 0 ? otherwise : static_cast<std::size_t>(n.value);
  }

  // Of the context of whoever came first, and made anew when that is gone, with all who wait there.
  net::awaitable<semaphore_permit> room(const net::any_io_executor& ex) {
    std::lock_guard lock(mutex_);
    if (!room_ || !room_->get_executor()) room_.emplace(ex, max_queue_);
    return room_->acquire();
  }

  void submit(item_ptr i) {
    batch_ptr opened;
    {
      std::lock_guard lock(mutex_);
      batch_ptr b = open_.lock();
      if (!b) open_ = b = opened = std::make_shared<batch>(serial_executor(i->executor));
      i->where = place::gathered;
      i->in = b;
      b->items.push_back(std::move(i));
      if (b->items.size() >= max_batch_) {
        open_.reset();
        net::post(b->executor, [b] {
          b->goes = true;
          if (b->timer != nullptr) b->timer->cancel();
        });
      }
    }
    if (opened) start(opened);
  }

  void start(batch_ptr b) {
    auto body = run(this->shared_from_this(), b);
    net::co_spawn(b->executor, std::move(body),
                  net::bind_cancellation_slot(b->signal.slot(), [b](const std::exception_ptr&) {}));
  }

  static net::awaitable<void> run(std::shared_ptr<batch_state> self, batch_ptr b) {
    const responsibility of_batch(self, b);
    auto gathering = self->gather_items(*b);
    co_await std::move(gathering);
    std::vector<in_type> values = self->close(b);
    if (values.empty()) co_return;
    std::exception_ptr error;
    std::vector<out_type> results;
    const std::size_t expected = values.size();
    try {
      auto working = self->work_on(std::move(values));
      results = co_await std::move(working);
      if (results.size() != expected)
        throw std::length_error("coproc: batched: the function returned " + std::to_string(results.size()) +
                                " results for " + std::to_string(expected) + " items");
    } catch (...) {
      error = std::current_exception();
    }
    self->finish(*b, std::move(error), &results);
  }

  net::awaitable<void> gather_items(batch& b) {
    if (b.goes) co_return;
    net::steady_timer timer(b.executor, max_delay_);
    b.timer = &timer;
    auto waiting = timer.async_wait(as_tuple(net::use_awaitable));
    co_await std::move(waiting);
    b.timer = nullptr;
  }

  // Nobody joins it any more.
  std::vector<in_type> close(const batch_ptr& b) {
    std::lock_guard lock(mutex_);
    if (open_.lock() == b) open_.reset();
    std::vector<in_type> values;
    values.reserve(b->items.size());
    for (const auto& i : b->items) {
      i->where = place::working;
      values.push_back(std::move(i->value));
    }
    b->alive = b->items.size();
    return values;
  }

  auto work_on(std::vector<in_type> values) const {
    if constexpr (process_bridge<const typename kept_bridge<Bridge>::type&>) {
      if constexpr (plain_bytes<in_type>) {
        return run_in_executor(bridge_, fn_, values);
      } else {
        static_assert(std::is_empty_v<F> && std::is_default_constructible_v<F>,
                      "coproc: items that are not plain bytes need a captureless lambda as the function of batched");
        return run_in_executor(bridge_, &batch_adapter<F, in_type, out_type>::call, values);
      }
    } else {
      return run_in_executor(kept_bridge<Bridge>::use(bridge_), fn_, moved(values));
    }
  }

  void abandon(batch& b) {
    {
      std::lock_guard lock(mutex_);
      if (open_.lock().get() == &b) open_.reset();
      if (b.items.empty()) return;
    }
    finish(b, std::make_exception_ptr(net::system_error(net::error::operation_aborted)), nullptr);
  }

  void finish(batch& b, std::exception_ptr error, std::vector<out_type>* results) {
    std::vector<item_ptr> items;
    {
      std::lock_guard lock(mutex_);
      items.swap(b.items);
      for (std::size_t n = 0; n < items.size(); ++n) {
        item& i = *items[n];
        if (i.where == place::over) continue;
        i.where = place::over;
        if (error)
          i.error = error;
        else
          i.result.emplace(std::move((*results)[n]));
      }
    }
    for (const auto& i : items) i->done.set();
  }

  void leave(item& i) {
    batch_ptr forsaken;
    item_ptr keep; // dies outside of the mutex
    {
      std::lock_guard lock(mutex_);
      const batch_ptr b = i.in.lock();
      if (i.where == place::gathered && b) {
        const auto at =
            std::find_if(b->items.begin(), b->items.end(), [&](const item_ptr& p) { return p.get() == &i; });
        if (at != b->items.end()) {
          keep = std::move(*at);
          b->items.erase(at);
        }
      } else if (i.where == place::working && b && --b->alive == 0) {
        forsaken = b;
      }
      i.where = place::over;
    }
    if (forsaken)
      net::post(forsaken->executor, [forsaken] { forsaken->signal.emit(net::cancellation_type::terminal); });
  }

  const typename kept_bridge<Bridge>::type bridge_;
  const F fn_;
  const std::size_t max_batch_, max_queue_;
  const duration max_delay_;

  std::mutex mutex_; // guards the rest
  std::optional<semaphore> room_;
  std::weak_ptr<batch> open_;
};

} // namespace detail

/// What batched makes: `co_await b(x)` gives the result of x. A handle; copies are the same.
/// \par Threads   any. A batch is made on the executor of the coroutine whose item opens it
/// \par Order     items are worked on in the order in which they were given
/// \par Errors    of one item: std::runtime_error with the text of its failed_item. Of all in a batch: what the
///                function throws, what run_in_executor throws (worker_lost ...), std::length_error when there are not
///                as many results as items. An item is tried once
/// \par Pressure  beyond max_queue items a call waits for room, in order
/// \par Cancel    any type that reaches the waiting coroutine ends its call at once with operation_aborted. Its item is
///                taken out, unless it is being worked on: then its result is dropped, and the others of the batch are
///                not disturbed. A batch whose items are all cancelled is cancelled by terminal cancellation
/// \par Lifetime  the bridge must outlive the calls. Where the context of the coroutine that opened a batch goes, the
///                others in that batch end with operation_aborted
template <class Bridge, class F>
class batcher {
  using state = detail::batch_state<Bridge, F>;

public:
  using argument_type = typename state::in_type;   ///< of one call
  using result_type = typename state::result_type; ///< of one call

  /// For batched().
  batcher(typename detail::kept_bridge<Bridge>::type bridge, F fn, const batch_options& options)
      : state_(std::make_shared<state>(std::move(bridge), std::move(fn), options)) {}

  /// Adds value (coproc::moved(name): moved) to a batch when it is awaited, and gives its result. Any other token:
  /// net::co_spawn(executor, b(x), token).
  template <class X>
    requires std::convertible_to<detail::argument_t<X>, argument_type>
  [[nodiscard]] net::awaitable<result_type> operator()(X&& value) const {
    if constexpr (detail::verify_temporaries<X>())
      return state::call(state_, argument_type(detail::take_argument<X>(value)));
  }

private:
  std::shared_ptr<state> state_;
};

/// Gathers calls of single items into calls of fn, which run in bridge: a process_pool, a pool_ref, a net::thread_pool
/// or an executor. fn takes a std::span<const In> and returns a std::vector<Out> with one result for each item, or a
/// std::vector<std::variant<Out, failed_item>>.
/// \par Errors  std::invalid_argument: a negative number
template <class Bridge, class F>
  requires(process_bridge<const std::remove_cvref_t<Bridge>&> || thread_bridge<Bridge>)
[[nodiscard]] auto batched(Bridge&& bridge, F fn, const batch_options& options = {}) {
  using kept = std::remove_cvref_t<Bridge>;
  static_assert(std::is_lvalue_reference_v<Bridge> || !std::is_same_v<kept, net::thread_pool>,
                "coproc: the pool must outlive its tasks: pass a named thread_pool");
  static_assert(detail::batch_signature<F>::known,
                "coproc: batched takes a function of std::span<const In> that returns std::vector<Out>");
  if constexpr (detail::batch_signature<F>::known)
    return batcher<kept, F>(std::forward<Bridge>(bridge), std::move(fn), options);
}

} // namespace coproc
