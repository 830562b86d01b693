// SPDX-License-Identifier: BSL-1.0
// A handler that waits for its completion, with the data that waits with it: where it is called, what it keeps running,
// whose memory it uses. What sits in the lines of channels and semaphores. Front end, any thread. Layer net/.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/completion.hpp>
#include <coproc/net/executors.hpp>
#include <coproc/net/postable.hpp>

#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace coproc::detail {

template <class Signature>
class operation;

/// A waiting handler whose type is forgotten. Data that waits with it goes into a class derived from this one.
/// \par Memory    one block, from the handler's allocator; it is back before the handler is called
/// \par Failure   post needs no memory and loses nothing; see postable
/// \par Threads   one at a time; post may be called on any thread
/// \par Lifetime  post and destroy end it. Must be ended before the contexts of its executors are gone (by a service's
///                shutdown)
template <class... Args>
class operation<void(Args...)> : public postable {
public:
  using signature = void(Args...);

  /// Calls the handler on its executor, never inline.
  virtual void post(Args... args) noexcept = 0;

  /// There was no memory to begin it as it should be: it must be posted with an error, at once.
  bool is_starved() const noexcept { return starved_; }

protected:
  operation() = default;
  ~operation() = default;

  bool starved_ = false;
};

struct operation_destroyer {
  template <class Operation>
  void operator()(Operation* op) const noexcept {
    op->destroy();
  }
};

/// Owns an operation; its destructor destroys the handler uninvoked.
template <class Operation>
using operation_ptr = std::unique_ptr<Operation, operation_destroyer>;

/// Finishes an owned operation by posting its handler.
template <class Operation, class... Args>
void post(operation_ptr<Operation> op, Args... args) noexcept {
  op.release()->post(std::move(args)...);
}

/// Memory for an operation that is about to be begun. An initiating function takes it before async_initiate, where want
/// of it is an exception of the caller; the initiation itself must not throw, which would destroy a coroutine that
/// waits.
class operation_memory {
public:
  operation_memory() = default;
  /// \par Errors  std::bad_alloc
  explicit operation_memory(std::size_t bytes) : block_(allocate(bytes, alignof(std::max_align_t))), bytes_(bytes) {}
  operation_memory(operation_memory&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  /// An initiation that is begun twice, such as a deferred one, has memory for one of them; the other looks for its
  /// own.
  operation_memory(const operation_memory&) noexcept {}
  operation_memory& operator=(operation_memory&&) = delete;
  ~operation_memory() {
    if (block_ != nullptr) free(block_, bytes_, alignof(std::max_align_t));
  }

  std::size_t bytes() const noexcept { return bytes_; }
  /// For free(), with bytes() and the largest fundamental alignment.
  void* release() noexcept {
    bytes_ = 0;
    return std::exchange(block_, nullptr);
  }

  // Of Asio's per-thread cache.
  COPROC_DECL static void* allocate(std::size_t bytes, std::size_t alignment);
  COPROC_DECL static void free(void* block, std::size_t bytes, std::size_t alignment) noexcept;

private:
  void* block_ = nullptr;
  std::size_t bytes_ = 0;
};

// ---- inside

/// Where a handler is called, with outstanding work there and for the executor of the I/O object.
/// \par Speed  a handler on the plain io_context that io_ex names (each co_await has one) bypasses any_io_executor,
///             whose prefer, dispatch and work tracking cost some 60 ns; with work_tracking::elsewhere it counts no
///             work
template <class Executor>
class handler_route {
public:
  /// \par Errors  std::bad_alloc, from an any_io_executor whose target is large
  handler_route(const Executor& ex, const net::any_io_executor& io_ex, work_tracking tracking)
      : way_(choose(ex, io_ex, tracking)) {}

  /// For what ends at once: counts no work where that may fail.
  static handler_route brief(const Executor& ex, const net::any_io_executor& io_ex) noexcept {
    using is_any = std::is_same<Executor, net::any_io_executor>;
    return handler_route(way(std::in_place_index<2>, elsewhere{io_ex, counted(ex, is_any()), {}}));
  }

  /// Calls use(executor of the handler, what is below that of the I/O object).
  template <class Use>
  void with_executors(Use use) const {
    if (const elsewhere* e = std::get_if<2>(&way_))
      use(e->handler, e->base);
    else
      use(plain(), base_context());
  }

  /// The I/O object is through with it.
  void leave_io() noexcept {
    elsewhere* const e = std::get_if<2>(&way_);
    if (e == nullptr) return;
    e->base = base_of(e->io);
    e->io = {};
  }

private:
  struct elsewhere {
    net::any_io_executor io; // until leave_io()
    tracked_executor<Executor> handler;
    base_context base{}; // from then on
  };
  using way = std::variant<io_executor, tracked_executor<io_executor>, elsewhere>;

  explicit handler_route(way&& w) noexcept : way_(std::move(w)) {}

  static way choose(const Executor& ex, const net::any_io_executor& io_ex, work_tracking tracking) {
    constexpr auto tracked = net::execution::outstanding_work.tracked;
    if (const io_executor* common = common_io_executor(ex, io_ex)) {
      if (tracking == work_tracking::elsewhere) return way(std::in_place_index<0>, *common);
      return way(std::in_place_index<1>, net::prefer(*common, tracked));
    }
    return way(std::in_place_index<2>,
               elsewhere{tracking == work_tracking::here ? net::any_io_executor(net::prefer(io_ex, tracked)) : io_ex,
                         net::prefer(ex, tracked),
                         {}});
  }

  static const Executor& counted(const Executor& ex, std::true_type) noexcept { return ex; }
  static auto counted(const Executor& ex, std::false_type) noexcept {
    return net::prefer(ex, net::execution::outstanding_work.tracked);
  }

  io_executor plain() const noexcept {
    if (const io_executor* io = std::get_if<0>(&way_)) return *io;
    return net::query(*std::get_if<1>(&way_), net::execution::context).get_executor();
  }

  way way_;
};

template <class Base, class Handler, class Signature = typename Base::signature>
class stored_operation;

template <class Base, class Handler, class... Args>
class stored_operation<Base, Handler, void(Args...)> final : public Base {
  using route = handler_route<std::decay_t<net::associated_executor_t<Handler, net::any_io_executor>>>;
  using associated_allocator = net::associated_allocator_t<Handler>;
  using allocator = typename std::allocator_traits<associated_allocator>::template rebind_alloc<stored_operation>;
  using traits = std::allocator_traits<allocator>;

  // Then common memory takes the place of operator new.
  static constexpr bool asks_for_nothing = std::is_same_v<allocator, std::allocator<stored_operation>>;

  struct block {
    void* place;
    std::size_t common_bytes; // 0: from the handler's allocator
  };

public:
  template <class... BaseArgs>
  static operation_ptr<Base> make(Handler&& handler, operation_memory memory, const net::any_io_executor& io_ex,
                                  work_tracking tracking, BaseArgs&&... base_args) {
    bool starved = false;
    const associated_allocator a = net::get_associated_allocator(handler);
    const block b = find_block(a, memory, starved);
    stored_operation* op = nullptr;
    try {
      op = ::new (b.place) stored_operation(b.common_bytes, find_route(handler, io_ex, tracking, starved),
                                            std::move(handler), std::forward<BaseArgs>(base_args)...);
    } catch (...) {
      free(b, a);
      throw;
    }
    op->starved_ = starved || !op->prepare_post();
    return operation_ptr<Base>(op);
  }

  void post(Args... args) noexcept override {
    arguments_.emplace(std::move(args)...);
    route_.leave_io();
    route_.with_executors([this](const auto& ex, const auto& base) { this->post_to(ex, base); });
  }

  void destroy() noexcept override {
    const associated_allocator a = net::get_associated_allocator(handler_);
    [[maybe_unused]] const Handler handler(std::move(handler_)); // dies after its memory
    end(a);
  }

private:
  template <class... BaseArgs>
  stored_operation(std::size_t common_bytes, route&& r, Handler&& handler, BaseArgs&&... base_args)
      : Base(std::forward<BaseArgs>(base_args)...), route_(std::move(r)), handler_(std::move(handler)),
        common_bytes_(common_bytes) {}
  ~stored_operation() = default;

  static block find_block(const associated_allocator& from, operation_memory& memory, bool& starved) {
    constexpr bool is_aligned = alignof(stored_operation) <= alignof(std::max_align_t);
    const bool fits = is_aligned && sizeof(stored_operation) <= memory.bytes();
    const auto common = [&] {
      const std::size_t bytes = memory.bytes();
      return block{memory.release(), bytes};
    };
    if constexpr (asks_for_nothing) {
      if (fits) return common();
      return {operation_memory::allocate(sizeof(stored_operation), alignof(stored_operation)),
              sizeof(stored_operation)};
    } else {
      try {
        allocator a(from);
        return {traits::allocate(a, 1), 0};
      } catch (const std::bad_alloc&) {
        if (!fits) throw;
        starved = true;
        return common();
      }
    }
  }

  static void free(const block& b, const associated_allocator& from) noexcept {
    if (b.common_bytes != 0) return operation_memory::free(b.place, b.common_bytes, alignof(stored_operation));
    allocator a(from);
    traits::deallocate(a, static_cast<stored_operation*>(b.place), 1);
  }

  static route find_route(const Handler& handler, const net::any_io_executor& io_ex, work_tracking tracking,
                          bool& starved) noexcept {
    const auto ex = net::get_associated_executor(handler, io_ex);
    try {
      return route(ex, io_ex, tracking);
    } catch (const std::bad_alloc&) {
      starved = true;
      return route::brief(ex, io_ex);
    }
  }

  bool prepare_post() noexcept {
    bool prepared = true;
    route_.with_executors([&](const auto& ex, const auto&) { prepared = this->prepare_post_to(ex); });
    return prepared;
  }

  void post_again() override {
    route_.with_executors([this](const auto& ex, const auto& base) { this->dispatch_to(ex, base); });
  }

  void run() override {
    const associated_allocator a = net::get_associated_allocator(handler_);
    Handler handler(std::move(handler_));
    std::tuple<Args...> args(std::move(*arguments_));
    end(a);
    clear_slot(handler);
    std::apply([&handler](Args&... arg) { std::move(handler)(std::move(arg)...); }, args);
  }

  void end(const associated_allocator& a) noexcept {
    const block b{this, common_bytes_};
    this->~stored_operation();
    free(b, a);
  }

  route route_;
  Handler handler_;
  std::optional<std::tuple<Args...>> arguments_; // once it is posted
  const std::size_t common_bytes_;
};

/// Stands for handlers of coroutines and other small ones.
struct handler_of_common_size {
  std::byte bytes[128];
  template <class... A>
  void operator()(A&&...) const {}
};

/// Memory for a Base with any handler whose size is common. \par Errors  std::bad_alloc
template <class Base>
operation_memory memory_for_operation() {
  return operation_memory(sizeof(stored_operation<Base, handler_of_common_size>));
}

/// Stores a handler as a Base. `memory` is for a handler that names no allocator, if it is small enough, and for any
/// other to be told that there is none: see is_starved().
/// \par Errors  std::bad_alloc when neither `memory` nor anything else will do; the handler is as it was then. What the
///              constructor of Base throws
template <class Base, class Handler, class... BaseArgs>
operation_ptr<Base> make_operation(Handler&& handler, operation_memory memory, const net::any_io_executor& io_ex,
                                   work_tracking tracking, BaseArgs&&... base_args) {
  static_assert(!std::is_reference_v<Handler>, "coproc: pass the handler as an rvalue");
  return stored_operation<Base, Handler>::make(std::move(handler), std::move(memory), io_ex, tracking,
                                               std::forward<BaseArgs>(base_args)...);
}

} // namespace coproc::detail

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/net/operation.ipp>
#endif
