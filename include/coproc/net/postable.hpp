// SPDX-License-Identifier: BSL-1.0
// What is posted to an executor once or again and again, and brings the memory for that: handing it over never throws,
// and never loses it. Front end, any thread. Layer net/.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/executors.hpp>
#include <coproc/net/post_room.hpp>

#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

namespace coproc::detail {

/// Base of what is posted.
///
/// Memory that is short cannot make it fail. Executors of an io_context or a thread_pool, and strands on them, also
/// within any_io_executor, take what they need from room_. Any other executor may throw std::bad_alloc: then the
/// context below it, or that of the I/O object, is asked to try again, until it has worked. It is destroyed uninvoked
/// where neither is one of Asio's, where an executor throws something else, and where a context has been shut down.
/// \par Exception  a strand on an any_io_executor allocates when it has taken the function already; what it cannot run
///                 then it never runs, and nothing else either (Asio 1.22 to 1.38)
class postable {
public:
  postable(const postable&) = delete;
  postable& operator=(const postable&) = delete;

  /// Ends it without a call.
  virtual void destroy() noexcept = 0;

protected:
  postable() = default;
  ~postable() = default;

  /// By the executor that it was posted to.
  virtual void run() = 0;
  /// By the context of an executor that had no memory for it: posts or dispatches it again.
  virtual void post_again() = 0;

  /// Takes what a post to a strand needs beyond room_; false: there is no memory. Without it such a post goes through
  /// the context below the strand, and may so be overtaken by a later one.
  template <class Executor>
  bool prepare_post_to(const Executor& ex) noexcept;

  /// Each post is followed by one of run and destroy, perhaps before this returns and on another thread.
  /// `or_else`: where to try again, if there is nothing below ex; may be empty.
  template <class Executor>
  void post_to(const Executor& ex, base_context or_else) noexcept;
  /// The same, but run() is called here and now when the executor allows that. Throws what run() throws.
  template <class Executor>
  void dispatch_to(const Executor& ex, base_context or_else);

  post_room room_;

private:
  class posted;
  class handing_over;

  template <class Executor, class Use>
  static void with_known(const Executor& ex, Use use);
  template <class Executor>
  bool needs_spare(const Executor& ex, bool may_run_here) const noexcept;
  template <bool may_run_here, class Executor>
  void hand_over(const Executor& ex, base_context or_else);
};

/// One attempt, on the stack of the thread that makes it: tells what becomes of the posted function meanwhile.
class postable::handing_over {
public:
  enum class state : std::uint8_t { under_way, begun, given_back };

  explicit handing_over(const postable& p) noexcept : what_(&p), outer_(std::exchange(innermost_, this)) {}
  handing_over(const handing_over&) = delete;
  handing_over& operator=(const handing_over&) = delete;
  ~handing_over() { innermost_ = outer_; }

  bool begun() const noexcept { return state_ == state::begun; }
  bool given_back() const noexcept { return state_ == state::given_back; }

  /// False: p was posted some time ago, or by another thread.
  static bool tell(const postable* p, state s) noexcept {
    for (handing_over* h = innermost_; h != nullptr; h = h->outer_)
      if (h->what_ == p && h->state_ == state::under_way) {
        h->state_ = s;
        return true;
      }
    return false;
  }

private:
  const postable* what_;
  state state_ = state::under_way;
  handing_over* outer_;
  COPROC_VISIBLE static inline thread_local constinit handing_over* innermost_ = nullptr;
};

/// The function that the executor gets.
class postable::posted {
public:
  using allocator_type = post_allocator<void>;

  posted(postable& p, bool again) noexcept : what_(&p), again_(again) {}
  posted(posted&& other) noexcept : what_(std::exchange(other.what_, nullptr)), again_(other.again_) {}
  posted& operator=(posted&&) = delete;
  ~posted() {
    if (what_ != nullptr && !handing_over::tell(what_, handing_over::state::given_back)) what_->destroy();
  }

  allocator_type get_allocator() const noexcept { return allocator_type(what_->room_); }

  void operator()() {
    postable* const p = std::exchange(what_, nullptr);
    handing_over::tell(p, handing_over::state::begun);
    if (again_)
      p->post_again();
    else
      p->run();
  }

private:
  postable* what_;
  bool again_;
};

// Work is counted by whoever waits, so that two executors that differ in that alone are one.
template <class Executor, class Use>
void postable::with_known(const Executor& ex, Use use) {
  constexpr auto untracked = net::execution::outstanding_work.untracked;
  if constexpr (std::is_same_v<Executor, net::any_io_executor>) {
    const auto known = [&]<class T>(std::type_identity<T>) {
      const T* const target = executor_target<T>(ex);
      if (target == nullptr) return false;
      const auto known_executor = net::prefer(*target, untracked); // a copy: what ex is in may be gone while it is used
      use(known_executor);
      return true;
    };
    const auto known_base = [&]<class T>(std::type_identity<T>) {
      using tracked = tracked_executor<T>;
      return known(std::type_identity<net::strand<tracked>>()) || known(std::type_identity<tracked>()) ||
             known(std::type_identity<net::strand<T>>()) || known(std::type_identity<T>());
    };
    if (!known_base(std::type_identity<io_executor>()) && !known_base(std::type_identity<pool_executor>())) use(ex);
  } else {
    use(ex);
  }
}

/// A strand whose executor takes what it allocates from a post_room; any other that does not is none of Asio's
/// contexts.
template <class Executor>
inline constexpr bool allocates_twice = false;
template <class Inner>
inline constexpr bool allocates_twice<net::strand<Inner>> = requires(const Inner& ex) { ex.running_in_this_thread(); };

template <class Executor>
bool postable::prepare_post_to(const Executor& ex) noexcept {
  try {
    with_known(ex, [&]<class Known>(const Known&) {
      if constexpr (allocates_twice<Known>) room_.add_spare();
    });
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

// A strand's own turn needs no memory when the executor below it can run it here and now.
template <class Executor>
bool postable::needs_spare(const Executor& ex, bool may_run_here) const noexcept {
  if constexpr (allocates_twice<Executor>)
    return !room_.has_spare() && !(may_run_here && ex.get_inner_executor().running_in_this_thread());
  else
    return false;
}

template <bool may_run_here, class Executor>
void postable::hand_over(const Executor& ex, base_context or_else) {
  bool short_of_memory = false;
  {
    handing_over attempt(*this);
    try {
      with_known(ex, [&](const auto& known) {
        short_of_memory = needs_spare(known, may_run_here);
        if (short_of_memory) return;
        if constexpr (may_run_here)
          net::dispatch(known, posted(*this, false));
        else
          net::post(known, posted(*this, false));
      });
    } catch (const std::bad_alloc&) {
      if (attempt.begun()) throw;
      short_of_memory = true;
      if (!attempt.given_back()) return;
    } catch (...) {
      if (attempt.begun()) throw;
    }
    if (!short_of_memory && !attempt.given_back()) return; // it may be gone
  }
  base_context base;
  if (short_of_memory) base = base_of(ex);
  if (short_of_memory && !base) base = or_else;
  // The place in room_ is free: this cannot be refused.
  const auto try_again_in = [this](auto& context) { net::post(context.get_executor(), posted(*this, true)); };
  if (base.io != nullptr) return try_again_in(*base.io);
  if (base.threads != nullptr) return try_again_in(*base.threads);
  destroy();
}

template <class Executor>
void postable::post_to(const Executor& ex, base_context or_else) noexcept {
  hand_over<false>(ex, or_else);
}

template <class Executor>
void postable::dispatch_to(const Executor& ex, base_context or_else) {
  hand_over<true>(ex, or_else);
}

} // namespace coproc::detail
