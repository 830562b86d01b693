// SPDX-License-Identifier: BSL-1.0
// Tells objects that hold waiting handlers when their execution context is being destroyed, so that those handlers are
// destroyed uninvoked while the context still exists; and when it goes on in a forked copy of the process. Runs in the
// front end, on the thread that does that.
// Layer net/.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/asio.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace coproc::detail {

/// An object with waiting handlers.
class COPROC_VISIBLE shutdown_listener { // as the id of the service has to be
public:
  /// The context is about to go: give up all handlers, uninvoked, and never touch the context again.
  virtual void context_shutting_down() noexcept = 0;

  /// This process is a forked copy, in which the context goes on (notify_fork).
  virtual void context_forked() noexcept {}

protected:
  ~shutdown_listener() = default;
};

class shutdown_service final : public net::execution_context::service {
  struct registry;

public:
  COPROC_VISIBLE static inline net::execution_context::id id;

  explicit shutdown_service(net::execution_context& context)
      : service(context), registry_(std::make_shared<registry>()) {}

  /// Membership of one listener; safe to destroy after the context is gone.
  class registration {
  public:
    registration() = default;
    registration(registration&&) = delete;
    registration& operator=(registration&&) = delete;
    ~registration() {
      if (!registry_) return;
      const std::lock_guard lock(registry_->mutex);
      leave();
    }

    /// \pre not joined yet; ex's context lives. \par Errors  std::bad_alloc, if it is the first of its context
    template <class Executor>
    void join(const Executor& ex, std::weak_ptr<shutdown_listener> listener) {
      auto& context = static_cast<net::execution_context&>(net::query(ex, net::execution::context));
      registry_ = net::use_service<shutdown_service>(context).registry_;
      listener_ = std::move(listener);
      const std::lock_guard lock(registry_->mutex);
      from_ = std::exchange(registry_->end, &next_);
      *from_ = this;
    }

  private:
    friend class shutdown_service;

    // Under the registry's mutex.
    void leave() noexcept {
      if (from_ == nullptr) return;
      *from_ = next_;
      (next_ != nullptr ? next_->from_ : registry_->end) = from_;
      from_ = nullptr;
    }

    std::weak_ptr<shutdown_listener> listener_;
    std::shared_ptr<registry> registry_;
    registration* next_ = nullptr;
    registration** from_ = nullptr; // what points here; null: not in the list
  };

private:
  struct registry {
    std::mutex mutex;
    registration* first = nullptr;
    registration** end = &first; // where the next one is to be
  };

  // A handler destroyed here may own the object of another listener, whose registration then leaves the list: hence no
  // lock while a listener is told. Newer Asio calls this twice.
  void shutdown() noexcept override {
    while (const auto listener = next_listener())
      if (*listener) (*listener)->context_shutting_down();
  }

  void notify_fork(net::execution_context::fork_event event) override {
    if (event != net::execution_context::fork_child) return;
    std::vector<std::weak_ptr<shutdown_listener>> listeners; // they stay registered
    {
      const std::lock_guard lock(registry_->mutex);
      for (registration* r = registry_->first; r != nullptr; r = r->next_) listeners.push_back(r->listener_);
    }
    for (const auto& listener : listeners)
      if (const auto alive = listener.lock()) alive->context_forked();
  }

  // Null: one that is being destroyed. Nothing: there is none left.
  std::optional<std::shared_ptr<shutdown_listener>> next_listener() noexcept {
    const std::lock_guard lock(registry_->mutex);
    registration* const first = registry_->first;
    if (first == nullptr) return std::nullopt;
    first->leave();
    return first->listener_.lock();
  }

  const std::shared_ptr<registry> registry_;
};

} // namespace coproc::detail
