// SPDX-License-Identifier: BSL-1.0
// The tasks that have a queue_timeout, soonest first: an intrusive pairing heap, so that tasks without one cost nothing and
// nothing is allocated under the pool's mutex. Front end, under that mutex.
#pragma once

#include <coproc/pool/task_record.hpp>

#include <utility>

namespace coproc::pool {

/// Fredman, Sedgewick, Sleator, Tarjan, "The Pairing Heap", Algorithmica 1 (1986). push is O(1), erase O(log n) amortised.
class expiry_heap {
public:
  time_point next() const noexcept { return root_ ? root_->at : time_point::max(); }
  task_record* front() const noexcept { return root_ ? root_->task : nullptr; }

  void push(task_record& t) noexcept {
    expiry_node& n = t.cold().expiry;
    n.task = &t;
    n.parent = n.child = n.sibling = nullptr;
    root_ = root_ ? meld(root_, &n) : &n;
  }

  void erase(task_record& t) noexcept {
    expiry_node& n = t.cold().expiry;
    if (&n != root_) cut(n);
    expiry_node* const orphans = pair_up(std::exchange(n.child, nullptr));
    if (&n == root_)
      root_ = orphans;
    else if (orphans)
      root_ = meld(root_, orphans);
  }

private:
  // `parent` is the left sibling of every child but the first.
  static void cut(expiry_node& n) noexcept {
    expiry_node* const before = n.parent;
    (before->child == &n ? before->child : before->sibling) = n.sibling;
    if (n.sibling) n.sibling->parent = before;
    n.parent = n.sibling = nullptr;
  }

  static expiry_node* meld(expiry_node* a, expiry_node* b) noexcept {
    if (b->at < a->at) std::swap(a, b);
    b->parent = a;
    b->sibling = a->child;
    if (a->child) a->child->parent = b;
    a->child = b;
    return a;
  }

  // Two passes: neighbours from the left, then all pairs from the right.
  static expiry_node* pair_up(expiry_node* first) noexcept {
    expiry_node* pairs = nullptr;
    while (first) {
      expiry_node* const a = first;
      expiry_node* const b = a->sibling;
      first = b ? b->sibling : nullptr;
      a->parent = a->sibling = nullptr;
      if (b) b->parent = b->sibling = nullptr;
      expiry_node* const pair = b ? meld(a, b) : a;
      pair->sibling = pairs;
      pairs = pair;
    }
    expiry_node* all = nullptr;
    while (pairs) {
      expiry_node* const next = std::exchange(pairs->sibling, nullptr);
      all = all ? meld(all, pairs) : pairs;
      pairs = next;
    }
    return all;
  }

  expiry_node* root_ = nullptr;
};

} // namespace coproc::pool
