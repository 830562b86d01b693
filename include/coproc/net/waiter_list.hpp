// SPDX-License-Identifier: BSL-1.0
// The line in which operations wait for an event: first come, first served, and each can leave from the middle when it
// is cancelled. Not synchronised: the owner's mutex guards it. Layer net/.
#pragma once

#include <coproc/net/operation.hpp>

#include <cstdint>
#include <utility>
#include <vector>

namespace coproc::detail {

template <class Waiter>
class waiter_list;

/// A place in a waiter_list that a cancellation slot can keep: it outlives the waiter and never names another one.
class waiter_ticket {
public:
  waiter_ticket() = default;
  explicit operator bool() const noexcept { return generation_ != 0; }

private:
  template <class Waiter>
  friend class waiter_list;

  waiter_ticket(std::uint32_t index, std::uint32_t generation) noexcept : index_(index), generation_(generation) {}

  std::uint32_t index_ = 0;
  std::uint32_t generation_ = 0; // 0: no ticket
};

/// What an operation derives from besides operation<...> so that it can wait in a waiter_list.
template <class Waiter>
class waiter_links {
  friend class waiter_list<Waiter>;
  Waiter* previous_ = nullptr;
  Waiter* next_ = nullptr;
  waiter_ticket ticket_;
};

/// Owns its waiters; whoever is left when it dies is destroyed uninvoked. Everything is O(1).
template <class Waiter>
class waiter_list {
public:
  waiter_list() = default;
  waiter_list& operator=(waiter_list&&) = delete;
  ~waiter_list() {
    while (pop_front()) {
    }
  }

  bool empty() const noexcept { return first_ == nullptr; }

  /// The one who has waited longest, staying in line; null when nobody waits.
  Waiter* front() const noexcept { return first_; }

  /// A ticket for a waiter that may join later; to be used in push_back or given back with release.
  waiter_ticket reserve() {
    if (free_ == none) {
      tickets_.push_back({});
      return waiter_ticket(static_cast<std::uint32_t>(tickets_.size() - 1), tickets_.back().generation);
    }
    const std::uint32_t index = free_;
    free_ = std::exchange(tickets_[index].next_free, none);
    return waiter_ticket(index, tickets_[index].generation);
  }

  void release(waiter_ticket t) noexcept {
    if (!t) return;
    entry& e = tickets_[t.index_];
    e.waiter = nullptr;
    if (++e.generation == 0) e.generation = 1;
    e.next_free = std::exchange(free_, t.index_);
  }

  void push_back(operation_ptr<Waiter> waiter, waiter_ticket ticket = {}) noexcept {
    Waiter* w = waiter.release();
    links(w).ticket_ = ticket;
    if (ticket) tickets_[ticket.index_].waiter = w;
    links(w).previous_ = last_;
    (last_ == nullptr ? first_ : links(last_).next_) = w;
    last_ = w;
  }

  /// The one who has waited longest; null when nobody waits.
  operation_ptr<Waiter> pop_front() noexcept { return first_ == nullptr ? nullptr : take(first_); }

  /// The ticket's owner, taken out of the line; null when it is there no more, or not yet.
  operation_ptr<Waiter> remove(waiter_ticket t) noexcept {
    if (t.index_ >= tickets_.size()) return nullptr;
    const entry& e = tickets_[t.index_];
    return e.generation == t.generation_ && e.waiter != nullptr ? take(e.waiter) : nullptr;
  }

  /// Everybody, in order, to be finished outside the owner's lock.
  waiter_list drain() noexcept {
    waiter_list all;
    while (auto w = pop_front()) all.push_back(std::move(w));
    return all;
  }

private:
  // For drain only: tickets stay behind, so that those still kept in slots are never taken for newer ones.
  waiter_list(waiter_list&& other) noexcept
      : first_(std::exchange(other.first_, nullptr)), last_(std::exchange(other.last_, nullptr)) {}

  static constexpr std::uint32_t none = static_cast<std::uint32_t>(-1);

  struct entry {
    Waiter* waiter = nullptr;
    std::uint32_t generation = 1;
    std::uint32_t next_free = none;
  };

  static waiter_links<Waiter>& links(Waiter* w) noexcept { return *w; }

  operation_ptr<Waiter> take(Waiter* w) noexcept {
    waiter_links<Waiter>& l = links(w);
    (l.previous_ == nullptr ? first_ : links(l.previous_).next_) = l.next_;
    (l.next_ == nullptr ? last_ : links(l.next_).previous_) = l.previous_;
    release(std::exchange(l.ticket_, {}));
    return operation_ptr<Waiter>(w);
  }

  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
  std::vector<entry> tickets_; // grows to the largest number of cancellable waiters at one time
  std::uint32_t free_ = none;
};

} // namespace coproc::detail
