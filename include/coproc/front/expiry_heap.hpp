// SPDX-License-Identifier: BSL-1.0
// The tasks that have a queue_timeout, soonest first: an intrusive pairing heap, so that tasks without one cost nothing
// and nothing is allocated under the pool's mutex. Front end, under that mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/task_details.hpp>

#include <utility>

namespace coproc::detail::front {

/// Fredman, Sedgewick, Sleator, Tarjan, "The Pairing Heap", Algorithmica 1 (1986). push is O(1), erase O(log n)
/// amortised.
class expiry_heap {
public:
  time_point next() const noexcept { return root_ ? root_->at : time_point::max(); }
  task_record* front() const noexcept { return root_ ? root_->task : nullptr; }

  COPROC_LAZY void push(task_record& t) noexcept;

  COPROC_LAZY void erase(task_record& t) noexcept;

private:
  // `parent` is the left sibling of every child but the first.
  COPROC_LAZY static void cut(expiry_node& n) noexcept;

  COPROC_LAZY static expiry_node* meld(expiry_node* a, expiry_node* b) noexcept;

  // Two passes: neighbours from the left, then all pairs from the right.
  COPROC_LAZY static expiry_node* pair_up(expiry_node* first) noexcept;

  expiry_node* root_ = nullptr;
};

} // namespace coproc::detail::front

#include <coproc/front/expiry_heap.ipp>
