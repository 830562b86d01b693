// SPDX-License-Identifier: BSL-1.0
// stream<T>: many results, one after the other, that a coroutine pulls; and make_stream, which makes one of a
// coroutine that yields. Front end. A public header: may include everything.
#pragma once

#include <coproc/bounded_channel.hpp>
#include <coproc/codec/callable.hpp>
#include <coproc/codec/moved.hpp>
#include <coproc/error.hpp>
#include <coproc/net/asio.hpp>
#include <coproc/net/join.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace coproc {

namespace detail {

inline std::exception_ptr aborted() {
  return std::make_exception_ptr(net::system_error(net::error::operation_aborted));
}

enum class pulled { items, nothing_yet, over };

/// What is behind a stream: the batch of items that its reader has already, and whoever makes the next ones (a
/// derived class).
/// \par Threads  one reader at a time, whoever that is; cancel() and notify() on any thread
template <class T>
class stream_core : public std::enable_shared_from_this<stream_core<T>> {
public:
  stream_core(const stream_core&) = delete;
  stream_core& operator=(const stream_core&) = delete;
  virtual ~stream_core() = default;

  /// Ends the producer. What the reader has not taken is dropped.
  void cancel() noexcept {
    if (cancelled_.exchange(true)) return;
    stop();
    notify();
  }
  bool is_cancelled() const noexcept { return cancelled_.load(std::memory_order_acquire); }

  /// There may be something to pull.
  void notify() noexcept {
    if (bound_.load(std::memory_order_acquire)) static_cast<void>(wake_->try_send({}));
  }

  /// Where the handler of a reader runs that names no executor; empty: the reader's own has to do, or its context is
  /// gone.
  net::any_io_executor executor() const noexcept { return is_bound() ? wake_->get_executor() : net::any_io_executor(); }
  bool is_bound() const noexcept { return bound_.load(std::memory_order_acquire); }

  // ---- for the reader, between a begin_reading() that is true and end_reading()

  bool begin_reading() noexcept { return !is_read_.exchange(true, std::memory_order_acquire); }
  void end_reading() noexcept { is_read_.store(false, std::memory_order_release); }

  /// Waiting for items happens on `ex`, where none was given before.
  void bind(net::any_io_executor ex) {
    wake_.emplace(std::move(ex), 1);
    bound_.store(true, std::memory_order_release);
  }

  bool has_item() const noexcept { return next_ != batch_.size() && !is_cancelled(); }
  T take_item() { return static_cast<T>(std::move(batch_[next_++])); }

  /// All that there are.
  void take_items(std::vector<T>& to) {
    if (next_ == 0 && to.empty()) {
      to.swap(batch_);
    } else {
      const auto first = batch_.begin() + static_cast<std::ptrdiff_t>(next_);
      to.insert(to.end(), std::make_move_iterator(first), std::make_move_iterator(batch_.end()));
    }
    batch_.clear();
    next_ = 0;
  }

  /// The next batch, when has_item() is false. \par Errors  what ended the producer, once
  pulled refill() {
    if (is_over_) return pulled::over;
    batch_.clear();
    next_ = 0;
    std::exception_ptr error;
    const pulled p = is_cancelled() ? pulled::over : pull(batch_, error);
    if (p != pulled::over) return p;
    is_over_ = true;
    if (is_cancelled()) error = aborted();
    if (error) std::rethrow_exception(error);
    return p;
  }

  /// The reader is about to wait in receive(), on its executor.
  virtual void before_waiting(const net::any_io_executor&) {}
  net::awaitable<std::optional<std::monostate>> receive() { return wake_->receive(); }
  template <class Handler>
  void async_receive(Handler handler) {
    wake_->async_receive(std::move(handler));
  }

protected:
  /// Without an executor it has that of its first reader.
  stream_core() = default;
  /// The same where ex is empty, since its context is gone.
  explicit stream_core(net::any_io_executor ex) {
    if (ex) bind(std::move(ex));
  }

private:
  /// Puts what there is into `into`, which is empty. over: there will be nothing any more, because of `error` if
  /// there is one.
  virtual pulled pull(std::vector<T>& into, std::exception_ptr& error) = 0;
  /// Nobody reads any more. On any thread, once, perhaps beside pull().
  virtual void stop() noexcept = 0;

  std::optional<bounded_channel<std::monostate>> wake_; // one message: look again
  std::atomic<bool> bound_ = false, cancelled_ = false, is_read_ = false;
  bool is_over_ = false;
  std::vector<T> batch_;
  std::size_t next_ = 0;
};

/// The one who reads.
template <class T>
class reading_scope {
public:
  explicit reading_scope(stream_core<T>& core) : core_(core) {
    if (!core.begin_reading())
      throw pool_error(make_error_code(errc::already_awaited),
                       "a stream is read by one at a time: await the next() before, or let one coroutine read for all");
  }
  reading_scope(const reading_scope&) = delete;
  reading_scope& operator=(const reading_scope&) = delete;
  ~reading_scope() { core_.end_reading(); }

private:
  stream_core<T>& core_;
};

/// Waits until has_item(). False: the stream is over. Lets others run in between even if it does not wait.
template <class T>
net::awaitable<bool> fill_batch(stream_core<T>& core) {
  if (!core.is_bound()) core.bind(co_await net::this_coro::executor);
  for (bool waited = false;; waited = true) {
    const pulled p = core.refill();
    if (p == pulled::over) co_return false;
    if (p == pulled::items) {
      if (!waited) co_await net::post(net::use_awaitable);
      if (core.has_item()) co_return true; // else it has just been cancelled
      continue;
    }
    core.before_waiting(co_await net::this_coro::executor);
    co_await core.receive();
  }
}

template <class T>
net::awaitable<std::optional<T>> next_of(stream_core<T>& core) {
  std::shared_ptr<stream_core<T>> alive; // while it waits: to share it costs as much as an item that is there
  const reading_scope<T> scope(core);
  if (!core.has_item()) {
    alive = core.shared_from_this();
    if (!co_await fill_batch(core)) co_return std::nullopt;
  }
  co_return core.take_item();
}

/// The same for a handler, whose slot has its own say.
template <class T>
net::awaitable<std::optional<T>> next_for_handler(std::shared_ptr<stream_core<T>> core) {
  co_await net::this_coro::reset_cancellation_state(net::enable_total_cancellation());
  co_return co_await next_of(*core);
}

template <class T>
struct next_initiation {
  std::shared_ptr<stream_core<T>> core;

  // The coroutine runs where the handler does, because there its slot is used.
  template <class Handler>
  void operator()(Handler handler) const {
    net::any_io_executor ex = core->executor();
    if (core->is_bound() && !ex) return; // the context is gone, and the handler goes, too
    using associated = decltype(net::get_associated_executor(handler, ex));
    if constexpr (std::is_convertible_v<associated, net::any_io_executor>) {
      if (ex)
        ex = net::get_associated_executor(handler, ex);
      else
        ex = net::get_associated_executor(handler);
    }
    net::co_spawn(ex, next_for_handler(core), std::move(handler));
  }
};

/// A coroutine that runs by itself, and that any thread can cancel. Owned by its completion handler alone, so that a
/// context that is destroyed takes it along.
class spawned_coroutine : public std::enable_shared_from_this<spawned_coroutine> {
public:
  explicit spawned_coroutine(net::any_io_executor ex) : executor_(std::move(ex)) {}
  spawned_coroutine(const spawned_coroutine&) = delete;
  spawned_coroutine& operator=(const spawned_coroutine&) = delete;

  /// Starts body on ex, or on a strand of it. end(std::exception_ptr) is called at its end; when the context goes
  /// first, end is destroyed uninvoked.
  template <class End>
  static std::weak_ptr<spawned_coroutine> start(const net::any_io_executor& ex, net::awaitable<void> body, End end) {
    const auto self = std::make_shared<spawned_coroutine>(serial_executor(ex));
    net::co_spawn(self->executor_, std::move(body),
                  net::bind_cancellation_slot(self->signal_.slot(), ending<End>(self, std::move(end))));
    return self;
  }

  /// \pre its context is not being destroyed
  static void cancel(const std::weak_ptr<spawned_coroutine>& who,
                     net::cancellation_type type = net::cancellation_type::terminal) {
    if (const auto self = who.lock())
      net::post(self->executor_, [self, type] {
        if (!self->has_ended_) self->signal_.emit(type);
      });
  }

private:
  template <class End>
  class ending {
  public:
    ending(std::shared_ptr<spawned_coroutine> self, End&& end) : self_(std::move(self)), end_(std::move(end)) {}
    ending(ending&&) noexcept = default;
    ending& operator=(ending&&) = delete;
    ~ending() {
      if (self_) self_->has_ended_ = true;
    }
    void operator()(std::exception_ptr e) {
      std::exchange(self_, nullptr)->has_ended_ = true;
      std::move(end_)(std::move(e));
    }

  private:
    std::shared_ptr<spawned_coroutine> self_;
    End end_;
  };

  const net::any_io_executor executor_;
  net::cancellation_signal signal_;
  bool has_ended_ = false; // used on the executor only, like the signal
};

/// Calls f(error), once; with operation_aborted when it is destroyed uninvoked.
template <class F>
class called_at_end {
public:
  explicit called_at_end(F f) : f_(std::move(f)) {}
  called_at_end(called_at_end&& o) : f_(std::move(o.f_)), is_armed_(std::exchange(o.is_armed_, false)) {}
  called_at_end& operator=(called_at_end&&) = delete;
  ~called_at_end() {
    if (is_armed_) f_(aborted());
  }
  void operator()(std::exception_ptr e) {
    is_armed_ = false;
    f_(std::move(e));
  }

private:
  F f_;
  bool is_armed_ = true;
};

/// A stream whose items come out of a coroutine, which starts with the first next().
template <class T>
class generator_core : public stream_core<T> {
public:
  net::awaitable<void> put(T item) {
    if (this->is_cancelled()) std::rethrow_exception(aborted());
    if (!items_.try_send(std::move(item))) co_await items_.send(coproc::moved(item));
    this->notify();
  }

protected:
  explicit generator_core(const net::any_io_executor& ex) : stream_core<T>(ex), items_(ex, 1) {}

  void ended(std::exception_ptr e) {
    error_ = std::move(e);
    is_over_.store(true, std::memory_order_release);
    this->notify();
  }

private:
  virtual std::weak_ptr<spawned_coroutine> start(const net::any_io_executor& ex) = 0;

  pulled pull(std::vector<T>& into, std::exception_ptr& error) override {
    if (!std::exchange(is_started_, true)) begin();
    const bool over = is_over_.load(std::memory_order_acquire); // before the last look
    while (auto item = items_.try_receive()) into.push_back(std::move(*item));
    if (!into.empty()) return pulled::items;
    if (!over) return pulled::nothing_yet;
    error = error_;
    return pulled::over;
  }

  void begin() {
    const net::any_io_executor ex = this->executor();
    if (!ex) return ended(aborted());
    const auto producer = start(ex);
    std::unique_lock lock(mutex_);
    producer_ = producer;
    if (!is_stopped_) return;
    lock.unlock();
    spawned_coroutine::cancel(producer);
  }

  void stop() noexcept override {
    std::unique_lock lock(mutex_);
    is_stopped_ = true;
    const auto producer = producer_;
    lock.unlock();
    spawned_coroutine::cancel(producer);
  }

  bounded_channel<T> items_;
  bool is_started_ = false; // of the reader
  std::exception_ptr error_;
  std::atomic<bool> is_over_ = false; // publishes error_
  std::mutex mutex_;                  // guards the rest
  std::weak_ptr<spawned_coroutine> producer_;
  bool is_stopped_ = false;
};

struct stream_access;

} // namespace detail

/// A sequence of items that come one after the other, from map, make_stream, as_completed: move-only, and pulled by
/// its reader.
/// \par Threads   one next() at a time, on any thread; cancel() on any thread beside it
/// \par Lifetime  the destructor is a cancel(). A next() that waits then completes with operation_aborted
template <class T>
class [[nodiscard]] stream {
public:
  using value_type = T; ///< of an item

  /// For coproc itself.
  explicit stream(std::shared_ptr<detail::stream_core<T>> core) noexcept : core_(std::move(core)) {}
  /// The stream that was moved from can only be destroyed or assigned to. One that is assigned to ends as by
  /// destruction.
  /// @{
  stream(stream&&) noexcept = default;
  stream& operator=(stream&& other) noexcept {
    if (this != &other) {
      cancel();
      core_ = std::move(other.core_);
    }
    return *this;
  }
  /// @}
  ~stream() { cancel(); }

  /// The next item, waiting for it; nullopt once the stream is over. Items that are there already are given without
  /// suspending; other work of the executor gets its turn at least between any two that were not made together.
  /// \par Errors  what ended the producer, once, after everything that it had sent; then nullopt. operation_aborted
  ///              after cancel(). pool_error(already_awaited): another next() waits, which goes on
  /// \par Cancel  any type ends the wait with operation_aborted, and loses no item: the next next() has it
  /// \par Lifetime  the stream must live when the result is awaited; it may go, or be moved, before next() completes
  net::awaitable<std::optional<T>> next() { return detail::next_of(*core_); }

  /// As next, completing on the handler's executor, by default that of the stream.
  /// \par Signature  void(std::exception_ptr, std::optional<T>)
  /// \par Completes  exactly once, never inside the initiating call
  template <net::completion_token_for<void(std::exception_ptr, std::optional<T>)> Token>
  auto async_next(Token&& token) {
    return net::async_initiate<Token, void(std::exception_ptr, std::optional<T>)>(detail::next_initiation<T>{core_},
                                                                                  token);
  }

  /// Ends the producer, which is cancelled with terminal, and the stream: what was not read is dropped, the next()
  /// that waits, or else the next one, gets operation_aborted, later ones nullopt. Without effect on a stream that is
  /// over. Returns at once.
  void cancel() noexcept {
    if (core_) core_->cancel();
  }

private:
  friend struct detail::stream_access;

  std::shared_ptr<detail::stream_core<T>> core_;
};

namespace detail {

struct stream_access {
  template <class T>
  static const std::shared_ptr<stream_core<T>>& core_of(const stream<T>& s) noexcept {
    return s.core_;
  }
};

} // namespace detail

/// Reads a stream to its end: all items in order.
/// \par Errors, Cancel  as stream::next; what was read before is lost, and the stream is cancelled
template <class T>
[[nodiscard]] net::awaitable<std::vector<T>> collect(stream<T> s) {
  const auto core = detail::stream_access::core_of(s);
  const detail::reading_scope<T> scope(*core);
  std::vector<T> all;
  if (core->has_item()) core->take_items(all);
  while (co_await detail::fill_batch(*core)) core->take_items(all);
  co_return all;
}

/// Where the body of make_stream puts its items. It lives as long as the body runs.
template <class T>
class yielder {
public:
  /// For make_stream.
  explicit yielder(detail::generator_core<T>& core) noexcept : core_(core) {}
  yielder(const yielder&) = delete;
  yielder& operator=(const yielder&) = delete;

  /// Gives an item to the reader, waiting for room: at most one item is made ahead of the reader. The item is taken
  /// (copied, or moved from) before the call returns.
  /// \par Errors  operation_aborted when the reader has gone, at once and from then on
  /// @{
  net::awaitable<void> yield(const T& item)
    requires std::copy_constructible<T>
  {
    return core_.put(item);
  }
  net::awaitable<void> yield(T&& item) {
    if constexpr (detail::verify_temporaries<T>()) return core_.put(std::move(item));
  }
  net::awaitable<void> yield(moved_ref<T> item) { return core_.put(T(item.get())); }
  /// @}

private:
  detail::generator_core<T>& core_;
};

namespace detail {

template <class T, class Body>
class generator_of final : public generator_core<T> {
public:
  generator_of(const net::any_io_executor& ex, Body&& body) : generator_core<T>(ex), body_(std::move(body)) {}

private:
  std::weak_ptr<spawned_coroutine> start(const net::any_io_executor& ex) override {
    auto self = std::static_pointer_cast<generator_of>(this->shared_from_this());
    auto running = run(self, std::move(body_));
    return spawned_coroutine::start(ex, std::move(running),
                                    called_at_end([self](std::exception_ptr e) { self->ended(std::move(e)); }));
  }

  static net::awaitable<void> run(std::shared_ptr<generator_of> self, Body body) {
    yielder<T> out(*self);
    co_await body(out);
  }

  Body body_;
};

} // namespace detail

/// The items that a coroutine yields: asyncio's async generator.
///
///     auto rows = coproc::make_stream<row>(io, [](coproc::yielder<row>& out) -> coproc::net::awaitable<void> {
///       while (auto r = co_await read_row()) co_await out.yield(*r);
///     });
///
/// body, a net::awaitable<void>(yielder<T>&), is moved into the stream and starts with the first next(). It runs on
/// the executor (on a strand of it, where that is no strand), and lives until it has ended. Its end is the end of the
/// stream.
/// \par Errors    of next(): what body throws
/// \par Cancel    cancel(), and the destructor of the stream, cancel body with terminal; it ends in its own time
/// \par Lifetime  a context that goes before body has ended destroys it, and what waits for the stream, uninvoked
template <class T, executor_or_context Where, class Body>
  requires std::is_invocable_r_v<net::awaitable<void>, Body&, yielder<T>&>
stream<T> make_stream(Where&& where, Body body) {
  return stream<T>(std::make_shared<detail::generator_of<T, Body>>(detail::executor_of(std::forward<Where>(where)),
                                                                   std::move(body)));
}

} // namespace coproc
