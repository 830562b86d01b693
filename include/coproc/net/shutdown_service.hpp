// SPDX-License-Identifier: BSL-1.0
// Tells objects that hold waiting handlers when their execution context is being destroyed, so that those handlers are
// destroyed uninvoked while the context still exists; and when it goes on in a forked copy of the process. Runs in the
// front end, on the thread that does that.
// Layer net/.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/asio.hpp>

#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

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

/// A template so that a file that makes no object with waiting handlers does not compile it.
template <class Listener>
class basic_shutdown_service final : public net::execution_context::service {
  struct registry {
    std::mutex mutex;
    std::list<std::weak_ptr<Listener>> listeners;
  };

public:
  COPROC_VISIBLE static inline net::execution_context::id id;

  explicit basic_shutdown_service(net::execution_context& context) : service(context) {}

  /// Membership of one listener; safe to destroy after the context is gone.
  class registration {
  public:
    registration() = default;
    registration(registration&&) = delete;
    registration& operator=(registration&&) = delete;

    ~registration() {
      if (!registry_) return;
      std::lock_guard lock(registry_->mutex);
      registry_->listeners.erase(position_);
    }

    /// \pre not joined yet; Executor's context lives
    template <class Executor>
    void join(const Executor& ex, std::weak_ptr<Listener> listener) {
      auto& service = net::use_service<basic_shutdown_service>(
          static_cast<net::execution_context&>(net::query(ex, net::execution::context)));
      std::lock_guard lock(service.registry_->mutex);
      position_ = service.registry_->listeners.insert(service.registry_->listeners.end(), std::move(listener));
      registry_ = service.registry_;
    }

  private:
    std::shared_ptr<registry> registry_;
    typename std::list<std::weak_ptr<Listener>>::iterator position_;
  };

private:
  // A handler destroyed here may own the object of another listener, whose registration then leaves the list: hence no
  // lock while listeners are told, and places in the list that stay, empty. Newer Asio calls this twice.
  void shutdown() noexcept override {
    std::vector<std::weak_ptr<Listener>> listeners;
    {
      std::lock_guard lock(registry_->mutex);
      listeners.reserve(registry_->listeners.size());
      for (auto& listener : registry_->listeners) listeners.push_back(std::exchange(listener, {}));
    }
    for (auto& listener : listeners)
      if (auto alive = listener.lock()) alive->context_shutting_down();
  }

  void notify_fork(net::execution_context::fork_event event) override {
    if (event != net::execution_context::fork_child) return;
    std::vector<std::weak_ptr<Listener>> listeners;
    {
      std::lock_guard lock(registry_->mutex);
      listeners.assign(registry_->listeners.begin(), registry_->listeners.end());
    }
    for (auto& listener : listeners)
      if (auto alive = listener.lock()) alive->context_forked();
  }

  std::shared_ptr<registry> registry_ = std::make_shared<registry>();
};

using shutdown_service = basic_shutdown_service<shutdown_listener>;

} // namespace coproc::detail
