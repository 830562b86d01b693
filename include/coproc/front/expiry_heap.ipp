// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/expiry_heap.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF void expiry_heap::push(task_record& t) noexcept {
  expiry_node& n = details(t).expiry;
  n.task = &t;
  n.parent = n.child = n.sibling = nullptr;
  root_ = root_ ? meld(root_, &n) : &n;
}

COPROC_LAZY_DEF void expiry_heap::erase(task_record& t) noexcept {
  expiry_node& n = details(t).expiry;
  if (&n != root_) cut(n);
  expiry_node* const orphans = pair_up(std::exchange(n.child, nullptr));
  if (&n == root_)
    root_ = orphans;
  else if (orphans)
    root_ = meld(root_, orphans);
}

COPROC_LAZY_DEF void expiry_heap::cut(expiry_node& n) noexcept {
  expiry_node* const before = n.parent;
  (before->child == &n ? before->child : before->sibling) = n.sibling;
  if (n.sibling) n.sibling->parent = before;
  n.parent = n.sibling = nullptr;
}

COPROC_LAZY_DEF expiry_node* expiry_heap::meld(expiry_node* a, expiry_node* b) noexcept {
  if (b->at < a->at) std::swap(a, b);
  b->parent = a;
  b->sibling = a->child;
  if (a->child) a->child->parent = b;
  a->child = b;
  return a;
}

COPROC_LAZY_DEF expiry_node* expiry_heap::pair_up(expiry_node* first) noexcept {
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

} // namespace coproc::detail::front
