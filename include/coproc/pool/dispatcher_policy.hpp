// SPDX-License-Identifier: BSL-1.0
// What the dispatcher wants done by whoever owns it: the process_host in a front end, fakes in tests and simulations. Front
// end, under the pool's mutex.
#pragma once

#include <coproc/pool/worker_record.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <utility>

namespace coproc::pool {

/// What is wanted done. Called under the pool's mutex; none may call back into the dispatcher.
template <class P>
concept dispatcher_policy = requires(P p, worker_record& w, const shm::argument_block& block, int signal, unsigned index) {
  { p.signal(w, signal) };          ///< through the pidfd; a dead process is no error
  { p.dismiss(w) };                 ///< it is to end in an orderly way once its ring is empty
  { p.request_start(index) };       ///< make an incarnation; answer with add_worker() or start_failed()
  { p.forget_starts() };            ///< requests that are not answered yet need no answer any more
  { p.server_hangs() };             ///< it does not answer START: end it
  { p.private_bytes(w) } -> std::same_as<std::uint64_t>; ///< resident and not shared; 0: unknown
  { p.send_segment(w, block) } -> std::same_as<int>;     ///< 0, EAGAIN (its socket is full now), or another errno
  { p.retire(std::declval<std::unique_ptr<worker_record>>()) }; ///< dead and dealt with: close its descriptors
};

} // namespace coproc::pool
