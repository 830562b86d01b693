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
  time_point next() const noexcept { return root_ ? root_->expires_at : time_point::max(); }
  task_record* front() const noexcept { return root_; }

  void push(task_record& t) noexcept {
    t.heap_parent = t.heap_child = t.heap_sibling = nullptr;
    root_ = root_ ? meld(root_, &t) : &t;
  }

  void erase(task_record& t) noexcept {
    if (&t != root_) cut(t);
    task_record* const orphans = pair_up(std::exchange(t.heap_child, nullptr));
    if (&t == root_)
      root_ = orphans;
    else if (orphans)
      root_ = meld(root_, orphans);
  }

private:
  // heap_parent is the left sibling of every child but the first.
  static void cut(task_record& t) noexcept {
    task_record* const before = t.heap_parent;
    (before->heap_child == &t ? before->heap_child : before->heap_sibling) = t.heap_sibling;
    if (t.heap_sibling) t.heap_sibling->heap_parent = before;
    t.heap_parent = t.heap_sibling = nullptr;
  }

  static task_record* meld(task_record* a, task_record* b) noexcept {
    if (b->expires_at < a->expires_at) std::swap(a, b);
    b->heap_parent = a;
    b->heap_sibling = a->heap_child;
    if (a->heap_child) a->heap_child->heap_parent = b;
    a->heap_child = b;
    return a;
  }

  // Two passes: neighbours from the left, then all pairs from the right.
  static task_record* pair_up(task_record* first) noexcept {
    task_record* pairs = nullptr;
    while (first) {
      task_record* const a = first;
      task_record* const b = a->heap_sibling;
      first = b ? b->heap_sibling : nullptr;
      a->heap_parent = a->heap_sibling = nullptr;
      if (b) b->heap_parent = b->heap_sibling = nullptr;
      task_record* const pair = b ? meld(a, b) : a;
      pair->heap_sibling = pairs;
      pairs = pair;
    }
    task_record* all = nullptr;
    while (pairs) {
      task_record* const next = std::exchange(pairs->heap_sibling, nullptr);
      all = all ? meld(all, pairs) : pairs;
      pairs = next;
    }
    return all;
  }

  task_record* root_ = nullptr;
};

} // namespace coproc::pool
