// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/ring.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF bool ring::says_it_left() const noexcept {
  return mailbox().worker.phase.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(shm::worker_phase::left);
}

COPROC_LAZY_DEF bool ring::initialized() const noexcept {
  if (!initialized_)
    initialized_ = mailbox().worker.phase.load(std::memory_order_relaxed) >=
                   static_cast<std::uint32_t>(shm::worker_phase::initialized);
  return initialized_;
}

COPROC_LAZY_DEF void ring::publish(task_record& t) noexcept {
  const std::uint64_t seq = issued_++;
  tasks_[seq % shm::ring_slots] = &t;
  revoked_.reset(seq % shm::ring_slots);
  t.where = place::issued;
  t.seq = seq;
  ++unfinished_;
  ++tasks_issued_;
  homebound_ += t.home_worker >= 0;
  owes_wake_up_ = true;
  const std::size_t inline_length = t.arguments_inline() ? t.call.length : 0;
  shm::slot& s = mailbox().at(seq);
  // who has another task to go on with fetches these lines sooner from where they are
  const bool awaited = unfinished_ == 1;
  if (awaited && t.needs_segments()) demote_arguments(t);
  shm::publish(s, seq, t.call, t.inline_bytes(inline_length));
  if (awaited && inline_length > shm::first_line_bytes) {
    shm::demote_further_bytes(s, inline_length);
    os::demote(&s);
  }
}

COPROC_LAZY_DEF bool ring::revoke(task_record& t) noexcept {
  if (!shm::revoke(mailbox().at(t.seq), t.seq)) return false;
  tasks_[t.seq % shm::ring_slots] = nullptr;
  revoked_.set(t.seq % shm::ring_slots);
  --unfinished_;
  --tasks_issued_;
  homebound_ -= t.home_worker >= 0;
  return true;
}

COPROC_LAZY_DEF auto ring::drain_one() noexcept -> drained {
  if (load() == 0) return {drained_kind::nothing};
  const std::uint64_t seq = drained_;
  const std::size_t i = seq % shm::ring_slots;
  shm::slot& s = mailbox().at(seq);
  prefetch_behind(seq);
  const std::uint64_t w = shm::load_state(s);
  if (!legal_head(w)) return {drained_kind::violation};
  if (w != shm::pack(seq, shm::slot_state::done)) return {drained_kind::nothing};
  task_record* const t = tasks_[i];
  if (t != nullptr && !take_result(s, *t)) return {drained_kind::violation};
  tasks_[i] = nullptr;
  ++drained_;
  head_running_ = false;
  const std::uint64_t ran_ns = s.entry.load(std::memory_order_relaxed);
  shm::release(s, seq);
  if (t == nullptr) return {drained_kind::acknowledged};
  --unfinished_;
  ++tasks_done_;
  homebound_ -= t->home_worker >= 0;
  return {drained_kind::finished, t, ran_ns};
}

COPROC_LAZY_DEF bool ring::head_done() const noexcept { return head_is(shm::slot_state::done); }

COPROC_LAZY_DEF bool ring::runs_head() const noexcept { return head_is(shm::slot_state::running); }

COPROC_LAZY_DEF auto ring::state_of(const task_record& t) noexcept -> task_state {
  const std::uint64_t w = shm::load_state(mailbox().at(t.seq));
  if (w == shm::pack(t.seq, shm::slot_state::running)) {
    if (t.seq == drained_) head_running_ = true;
    return task_state::running;
  }
  if (w == shm::pack(t.seq, shm::slot_state::ready))
    return t.seq == drained_ && head_running_ ? task_state::illegal : task_state::ready;
  return w == shm::pack(t.seq, shm::slot_state::done) ? task_state::done : task_state::illegal;
}

COPROC_LAZY_DEF bool ring::legal_remains() noexcept {
  for (std::uint64_t seq = drained_; seq != issued_; ++seq) {
    const std::uint64_t w = shm::load_state(mailbox().at(seq));
    if (tasks_[seq % shm::ring_slots] == nullptr) {
      if (w != shm::pack(seq, shm::slot_state::revoked)) return false;
      continue;
    }
    if (w == shm::pack(seq, shm::slot_state::ready) && !(seq == drained_ && head_running_)) continue;
    if (w == shm::pack(seq, shm::slot_state::running) && seq == drained_) continue;
    return false;
  }
  return true;
}

COPROC_LAZY_DEF void ring::clear() noexcept {
  drained_ = issued_;
  unfinished_ = homebound_ = 0;
  tasks_.fill(nullptr);
}

COPROC_LAZY_DEF void ring::message_sent() noexcept {
  shm::store(shm::site::sent_messages, mailbox().parent.sent_messages, ++sent_messages_, std::memory_order_release);
  owes_wake_up_ = true;
}

COPROC_LAZY_DEF void ring::owe_for_freed() noexcept {
  // Taken before the fence of the flush: cleared after it, a result freed in between could be forgotten
  // (tests/model/flush.pml).
  auto& freed = memory->freed_since_flush;
  if (freed.load(std::memory_order_relaxed) && freed.exchange(false, std::memory_order_acq_rel)) owes_wake_up_ = true;
}

COPROC_LAZY_DEF void ring::publish_front_end_cpu(std::uint32_t cpu) noexcept {
  if (std::exchange(front_end_cpu_, cpu) != cpu)
    shm::store(shm::site::front_end_cpu, mailbox().parent.cpu, cpu, std::memory_order_relaxed);
}

COPROC_LAZY_DEF void ring::request_shutdown() noexcept {
  shm::store(shm::site::shutdown, mailbox().parent.shutdown, std::uint32_t{1}, std::memory_order_release);
  waker_.force(mailbox());
  shm::waker::wake(mailbox());
}

COPROC_LAZY_DEF void ring::raise_stop(const task_record& t) noexcept {
  shm::store(shm::site::stop, mailbox().parent.stop, t.seq + 1, std::memory_order_relaxed);
}

COPROC_LAZY_DEF void ring::arm(std::uint64_t arm_epoch) noexcept {
  if (armed_ == arm_epoch) return;
  armed_ = arm_epoch;
  shm::store(shm::site::armed, mailbox().doorbell.armed, arm_epoch, std::memory_order_release);
}

COPROC_LAZY_DEF void ring::demote_arguments(task_record& t) noexcept {
  const auto& block = details(t).block;
  if (block) os::each_outer_line(block.data(), t.call.length, os::demote);
}

COPROC_LAZY_DEF void ring::prefetch_behind(std::uint64_t seq) const noexcept {
  __builtin_prefetch(&mailbox().at(seq + 6).state);
  if (const task_record* const t = tasks_[(seq + 3) % shm::ring_slots]) t->prefetch();
}

COPROC_LAZY_DEF bool ring::head_is(shm::slot_state s) const noexcept {
  return load() != 0 && shm::load_state(mailbox().at(drained_)) == shm::pack(drained_, s);
}

COPROC_LAZY_DEF bool ring::legal_head(std::uint64_t w) noexcept {
  const std::uint64_t seq = drained_;
  if (w == shm::pack(seq, shm::slot_state::done)) return true;
  const std::size_t i = seq % shm::ring_slots;
  if (revoked_.test(i)) return w == shm::pack(seq, shm::slot_state::revoked);
  if (w == shm::pack(seq, shm::slot_state::running)) return head_running_ = true;
  return w == shm::pack(seq, shm::slot_state::ready) && !head_running_;
}

COPROC_LAZY_DEF bool ring::take_result(shm::slot& s, task_record& t) noexcept {
  const auto where = shm::packed_location::unpack(s.location.load(std::memory_order_relaxed));
  const std::uint64_t length = s.length.load(std::memory_order_relaxed);
  if (where.tag != static_cast<std::uint64_t>(shm::result_kind::value_inline) || length > task_record::near_bytes)
    return take_unusual_result(s, t, where, length);
  shm::copy_few_bytes(t.bytes, s.bytes, length);
  t.result_length = length;
  t.outcome = verdict::value;
  return true;
}

template <class>
bool ring::take_unusual_result(const shm::slot& s, task_record& t, const shm::packed_location& where,
                               std::uint64_t length) noexcept {
  auto kind = static_cast<shm::result_kind>(where.tag);
  const bool has_views = kind > shm::result_kind::exception_in_file;
  const auto tag = shm::result_tag::unpack(where.tag);
  if (has_views) {
    if (tag.loan >= shm::max_loans) return false;
    kind = tag.without_views();
  }
  switch (kind) {
  case shm::result_kind::value_inline:
  case shm::result_kind::exception_inline:
    if (length > shm::inline_bytes) return false;
    shm::copy_few_bytes(t.make_inline_room(length), s.bytes, length);
    break;
  case shm::result_kind::value_in_file:
  case shm::result_kind::exception_in_file: {
    const std::uint64_t file_bytes = memory->results_map.size();
    if (length > max_result_bytes_ || where.offset > file_bytes || length > file_bytes - where.offset) return false;
    auto& cold = make_details(t);
    cold.far_result = memory->results_map.data() + where.offset;
    cold.result_owner = memory;
    cold.result_group = memory->results.drained();
    t.encumbered = t.result_in_file = true;
    break;
  }
  default: return false;
  }
  t.result_length = length;
  const bool threw = kind == shm::result_kind::exception_inline || kind == shm::result_kind::exception_in_file;
  t.outcome = threw ? verdict::exception : verdict::value;
  if (has_views) {
    auto& cold = make_details(t);
    cold.result_owner = memory;
    cold.loan = static_cast<unsigned>(tag.loan);
    t.encumbered = true;
  }
  return true;
}

COPROC_LAZY_DEF task_record* ring::head() const noexcept {
  for (std::uint64_t seq = drained_; seq != issued_; ++seq)
    if (task_record* t = tasks_[seq % shm::ring_slots]) return t;
  return nullptr;
}

} // namespace coproc::detail::front
