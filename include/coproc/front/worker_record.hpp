// SPDX-License-Identifier: BSL-1.0
// One incarnation of a worker as the front end sees it: its memory, the private mirror of its ring, and the validation
// of whatever it wrote: rules R1 to R3, docs/protocol.md. Nothing here makes a system call. Front end, under the pool's
// mutex.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/result_account.hpp>
#include <coproc/front/task_details.hpp>
#include <coproc/os/cache.hpp>
#include <coproc/shm/sent_segments.hpp>
#include <coproc/shm/sleep.hpp>

#include <algorithm>
#include <array>
#include <bitset>
#include <vector>

namespace coproc::detail::front {

/// The shared memory of one incarnation as mapped by the front end. Kept alive by its worker_record, and by results that
/// still lie in it.
struct worker_memory {
  os::mapping mailbox_map;  ///< read-write
  os::mapping results_map;  ///< read-only

  shm::mailbox& mailbox() const noexcept { return *reinterpret_cast<shm::mailbox*>(mailbox_map.data()); }

  /// A result of its file has been decoded, or dropped. Any thread.
  COPROC_LAZY void free_result(unsigned group) noexcept;

  /// A loan of its views has ended. Any thread; no other has this loan.
  COPROC_LAZY void give_back(unsigned loan) noexcept;

  /// The next flush wakes the worker if it sleeps: it may be waiting for room, or could give memory back to the system.
  COPROC_LAZY void note_freed() noexcept;

  result_account results;
  /// What the mailbox says. Relaxed: who has a loan has it by way of the worker. Atomic, because a broken one may lend it twice.
  shm::loan_flags returned{};

  std::atomic<bool> freed_since_flush{false};
  std::shared_ptr<std::atomic<bool>> freed_somewhere; ///< the dispatcher's; set after freed_since_flush
};

/// What the front end holds of a worker besides memory; pids are for people, signals go through the pidfd.
struct worker_handles {
  os::unique_fd control;   ///< front end's end of the control socket
  os::unique_fd eventfd;   ///< the worker's doorbell
  os::unique_fd pidfd;     ///< set by STARTED
  os::unique_fd statm;     ///< its /proc/<pid>/statm, which stays its own whatever becomes of the pid
  pid_t pid = 0;
};

/// How long a worker with tasks behind a running one goes without progress before others take them.
inline constexpr std::chrono::microseconds steal_after{200};

class worker_record {
public:
  enum class state : std::uint8_t {
    starting,    ///< START sent
    live,        ///< takes tasks
    leaving,     ///< told to end in an orderly way, its ring is empty
    ending,      ///< SIGTERM sent: takes no more
    killed,      ///< SIGKILL sent
    dead,        ///< known dead; waits for its exit status
    quarantined, ///< survives SIGKILL: given up, its slot replaced
  };
  worker_record(unsigned its_index, std::uint64_t its_incarnation, std::shared_ptr<worker_memory> its_memory,
                      std::uint64_t max_result_bytes)
      : index(its_index), incarnation(its_incarnation), memory(std::move(its_memory)), max_result_bytes_(max_result_bytes) {}

  const unsigned index;
  const std::uint64_t incarnation;
  const std::shared_ptr<worker_memory> memory;
  worker_handles handles;
  std::unique_ptr<worker_record> next;    ///< in a list of the dead

  state status = state::starting;
  bool due = false;                             ///< to be replaced once its successor is ready; works until then
  bool relieved = false;                        ///< it is ready: no more tasks for this one
  exit_cause due_to = exit_cause::recycled;
  task_record* victim = nullptr;                       ///< the task that the kill is meant for
  duration grace{};                             ///< between SIGTERM and SIGKILL
  time_point next_step = time_point::max();     ///< escalation, or the end of waiting for the exit status
  time_point born_at{};
  time_point start_deadline = time_point::max();///< to be initialized
  std::uint64_t tasks_issued = 0, tasks_done = 0;
  std::uint64_t task_limit = 0;                 ///< of tasks_issued; 0: none
  std::size_t homebound = 0;                    ///< tasks in its ring that must run here
  bool exit_known = false;
  worker_exit exit;                             ///< `cause` is why it is killed, from then on
  bool stalled = false;                         ///< did not start its head in time; no new work until it moves
  time_point deaf_since = time_point::max();    ///< its socket has been full since, though its ring is empty
  bool dirty = false;                           ///< published to since the last flush
  time_point head_since = time_point::max();    ///< when the present head was first seen at the head
  time_point head_deadline = time_point::max(); ///< head_since + its timeout
  time_point head_soft_deadline = time_point::max(); ///< head_since + its soft_timeout
  bool head_since_initialized = true;           ///< the worker was initialized by head_since
  bool head_woke_it = false;                    ///< it slept when the present head was given to it
  time_point active_at{};                       ///< last publication or progress
  time_point steal_at{};                        ///< not before, tasks behind its head may be taken
  time_point measured_at{};                     ///< its memory
  shm::waker waker;
  bool may_leave = false;                       ///< it was told to end when it is idle for long
  shm::sent_segments segments;                  ///< argument segments that it maps

  shm::mailbox& mailbox() const noexcept { return memory->mailbox(); }
  std::uint64_t load() const noexcept { return issued_ - drained_; }
  bool ring_full() const noexcept { return load() == shm::ring_slots; }
  COPROC_LAZY bool takes_work() const noexcept;
  /// It has been given all tasks that it may run.
  bool exhausted() const noexcept { return task_limit != 0 && tasks_issued >= task_limit; }
  /// It ends by its own will, because it was idle for long; by its own word, which decides nothing but scheduling.
  COPROC_LAZY bool left() const noexcept;
  /// Its initializer is through; by its own word, which decides nothing but scheduling.
  COPROC_LAZY bool initialized() const noexcept;
  /// Tasks in its ring that are neither finished nor revoked.
  std::size_t unfinished() const noexcept { return unfinished_; }

  /// Writes a task into the ring: bytes first, then READY (rules R1 and R2, docs/protocol.md).
  COPROC_LAZY void publish(task_record& t) noexcept;

  /// Takes `t` back unless the worker has begun it. The slot stays occupied until the worker acknowledges (rule R1,
  /// docs/protocol.md).
  COPROC_LAZY bool revoke(task_record& t) noexcept;

  /// Calls f(task) for each task that is issued here and not revoked, oldest first, from position `from` on.
  template <class F>
  void each_issued(F f, std::uint64_t from = 0) {
    for (std::uint64_t seq = std::max(drained_, from); seq != issued_; ++seq)
      if (task_record* t = tasks_[seq % shm::ring_slots]) f(*t);
  }

  /// The task that the worker runs or will begin next: the first that was not taken back.
  COPROC_LAZY task_record* head() const noexcept;

  /// The same from the newest back to position `from`: the order for taking tasks back, since the worker, which goes on
  /// meanwhile from the other end, would otherwise begin one whose elder is already gone.
  template <class F>
  void each_issued_backwards(F f, std::uint64_t from = 0) {
    for (std::uint64_t seq = issued_; seq-- > std::max(drained_, from);)
      if (task_record* t = tasks_[seq % shm::ring_slots]) f(*t);
  }

  enum class drained_kind { nothing, finished, acknowledged, violation };
  struct drained {
    drained_kind kind;
    task_record* task = nullptr;        ///< finished: with outcome and result set
    std::uint64_t ran_ns = 0;    ///< finished: as the worker says; 0: not measured
  };

  /// Consumes the head if it is DONE. Loads each worker-writable word once, validates, copies out (rule R3,
  /// docs/protocol.md).
  COPROC_LAZY drained drain_one() noexcept;

  /// One look at the head, for the race between sleeping and DONE.
  COPROC_LAZY bool head_done() const noexcept;

  /// The same for RUNNING; a hint.
  COPROC_LAZY bool runs_head() const noexcept;

  template <class Set>
  void add_head(Set& set) const noexcept {
    set.add(mailbox().at(drained_), shm::pack(drained_, shm::slot_state::done));
  }

  enum class task_state { ready, running, done, illegal };

  /// What the worker's word says of an issued task.
  COPROC_LAZY task_state look(const task_record& t) noexcept;

  /// After death and drain: is what is left a legal ring, RUNNING? READY*, REVOKED only where revoked?
  COPROC_LAZY bool legal_remains() noexcept;

  /// Does it run the task at its head, as far as the front end has seen?

  /// The rest of a dead ring is forgotten; its tasks have been dealt with.
  COPROC_LAZY void clear_ring() noexcept;

  /// A message was sent on its control socket.
  COPROC_LAZY void message_sent() noexcept;

  COPROC_LAZY void publish_front_end_cpu(std::uint32_t cpu) noexcept;

  COPROC_LAZY void request_shutdown() noexcept;

  COPROC_LAZY void raise_stop(const task_record& t) noexcept;

  /// Asks for a ring: the front end is about to sleep, or sleeps. 0: it polls.
  COPROC_LAZY void arm(std::uint64_t arm_epoch) noexcept;

private:
  COPROC_LAZY static void demote_arguments(task_record& t) noexcept;

  // Slots come from another CPU's cache, records of a pool with many tasks from a far one: on their way while others are seen to.
  COPROC_LAZY void look_ahead(std::uint64_t seq) const noexcept;

  COPROC_LAZY bool head_is(shm::slot_state s) const noexcept;

  // The head may be READY, RUNNING or DONE; never READY again once seen RUNNING; REVOKED only where revoked. Rule R3,
  // docs/protocol.md.
  COPROC_LAZY bool legal_head(std::uint64_t w) noexcept;

  COPROC_LAZY bool take_result(shm::slot& s, task_record& t) noexcept;

  // Of any kind and length, so this one alone would do; the other spares short values a call.
  template <class = void>
  [[gnu::noinline]] bool take_unusual_result(const shm::slot& s, task_record& t, const shm::packed_location& where,
                                             std::uint64_t length) noexcept;

  std::uint64_t max_result_bytes_;
  std::uint64_t issued_ = 0, drained_ = 0, armed_ = 0, sent_messages_ = 0;
  std::size_t unfinished_ = 0;
  std::uint32_t front_end_cpu_ = 0;
  bool head_running_ = false;
  mutable bool initialized_ = false;
  std::array<task_record*, shm::ring_slots> tasks_{};
  std::bitset<shm::ring_slots> revoked_;
};

} // namespace coproc::detail::front

#include <coproc/front/worker_record.ipp>
