// SPDX-License-Identifier: BSL-1.0
// The line in which operations wait for an event: first come, first served, and each can leave from the middle when it
// is cancelled. Not synchronised: the owner's mutex guards it. Layer net/.
#pragma once

#include <coproc/config.hpp>
#include <coproc/net/operation.hpp>

#include <cstdint>
#include <utility>
#include <vector>

namespace coproc::detail {

/// A place in a line that a cancellation slot can keep: it outlives the waiter and never names another one.
class waiter_ticket {
public:
  waiter_ticket() = default;
  explicit operator bool() const noexcept { return generation_ != 0; }

private:
  friend class waiter_line;

  waiter_ticket(std::uint32_t index, std::uint32_t generation) noexcept : index_(index), generation_(generation) {}

  std::uint32_t index_ = 0;
  std::uint32_t generation_ = 0; // 0: no ticket
};

/// What an operation derives from besides operation<...> so that it can wait in a line.
class waiter_links {
  friend class waiter_line;
  waiter_links* previous_ = nullptr;
  waiter_links* next_ = nullptr;
  waiter_ticket ticket_;
};

/// The line, whoever owns the waiters. Everything is O(1).
class waiter_line {
public:
  waiter_line() = default;
  waiter_line(const waiter_line&) = delete;
  waiter_line& operator=(const waiter_line&) = delete;

  waiter_links* front() const noexcept { return first_; }
  /// \par Errors  std::bad_alloc
  COPROC_DECL waiter_ticket reserve();
  COPROC_DECL void release(waiter_ticket t) noexcept;
  COPROC_DECL void push_back(waiter_links& w, waiter_ticket ticket) noexcept;
  COPROC_DECL waiter_links* pop_front() noexcept;
  COPROC_DECL waiter_links* remove(waiter_ticket t) noexcept;

protected:
  /// Everybody, not the tickets: those still kept in slots must never be taken for newer ones.
  COPROC_DECL void take_all(waiter_line& from) noexcept;

private:
  static constexpr std::uint32_t none = static_cast<std::uint32_t>(-1);

  struct entry {
    waiter_links* waiter = nullptr;
    std::uint32_t generation = 1;
    std::uint32_t next_free = none;
  };

  COPROC_LAZY waiter_links* take(waiter_links* w) noexcept;

  waiter_links* first_ = nullptr;
  waiter_links* last_ = nullptr;
  std::vector<entry> tickets_; // grows to the largest number of cancellable waiters at one time
  std::uint32_t free_ = none;
};

/// A line that owns its waiters; whoever is left when it dies is destroyed uninvoked.
template <class Waiter>
class waiter_list : waiter_line {
public:
  waiter_list() = default;
  ~waiter_list() {
    while (pop_front()) {
    }
  }

  bool empty() const noexcept { return front() == nullptr; }

  /// The one who has waited longest, staying in line; null when nobody waits.
  Waiter* front() const noexcept { return static_cast<Waiter*>(waiter_line::front()); }

  /// A ticket for a waiter that may join later; to be used in push_back or given back with release.
  using waiter_line::release;
  using waiter_line::reserve;

  void push_back(operation_ptr<Waiter> waiter, waiter_ticket ticket = {}) noexcept {
    waiter_line::push_back(*waiter.release(), ticket);
  }

  /// The one who has waited longest; null when nobody waits.
  operation_ptr<Waiter> pop_front() noexcept { return owned(waiter_line::pop_front()); }

  /// The ticket's owner, taken out of the line; null when it is there no more, or not yet.
  operation_ptr<Waiter> remove(waiter_ticket t) noexcept { return owned(waiter_line::remove(t)); }

  /// Everybody, in order, to be finished outside the owner's lock.
  waiter_list drain() noexcept { return waiter_list(*this); }

private:
  explicit waiter_list(waiter_list& from) noexcept { take_all(from); }

  static operation_ptr<Waiter> owned(waiter_links* w) noexcept {
    return operation_ptr<Waiter>(static_cast<Waiter*>(w));
  }
};

} // namespace coproc::detail

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/net/waiter_list.ipp>
#endif
