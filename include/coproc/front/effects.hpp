// SPDX-License-Identifier: BSL-1.0
// What the dispatcher wants done: by the kernel in a front end, by fakes in tests and simulations. Front end, under the
// pool's mutex.
#pragma once

#include <coproc/shm/segment.hpp>

#include <cstdint>
#include <memory>
#include <utility>

namespace coproc::detail::front {

class worker;

/// What is wanted done. Called under the pool's mutex; none may call back into the dispatcher.
class effects {
public:
  virtual void signal(worker& w, int number) noexcept = 0; ///< through the pidfd; a dead process is no error
  virtual void dismiss(worker& w) noexcept = 0;            ///< it is to end in an orderly way once its ring is empty
  /// make an incarnation; answer with add_worker() or start_failed()
  virtual void request_start(unsigned index) = 0;
  virtual void forget_starts() noexcept = 0; ///< requests that are not answered yet need no answer any more
  virtual void server_hangs() noexcept = 0;  ///< the fork server does not answer START: end it
  virtual std::uint64_t private_bytes(const worker& w) const noexcept = 0; ///< resident and not shared; 0: unknown
  /// 0, EAGAIN (its socket is full now), or another errno
  virtual int send_segment(worker& w, const shm::argument_block& block) noexcept = 0;
  virtual void retire(std::unique_ptr<worker> w) noexcept = 0; ///< dead and dealt with: close its descriptors

protected:
  ~effects() = default;
};

} // namespace coproc::detail::front
