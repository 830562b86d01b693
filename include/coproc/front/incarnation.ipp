// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/incarnation.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF incarnation make_incarnation(unsigned index, std::uint64_t number, std::uint64_t max_result_bytes) {
  // Twice the largest result: one may be read while the next is written. Sparse, so it costs what is touched.
  // Behind that, as much again for results that are viewed in place.
  const auto pages = [](std::uint64_t bytes) { return (std::max<std::uint64_t>(bytes, 1) + 4095) / 4096 * 4096; };
  const std::uint64_t limit = os::file_size_limit() / 4096 * 4096;
  const std::uint64_t result_bytes = std::min(pages(2 * max_result_bytes), limit);
  const std::uint64_t view_bytes = std::min(pages(max_result_bytes), limit - result_bytes);
  incarnation made;
  made.request.incarnation = number;
  made.request.index = index;
  made.request.result_bytes = result_bytes;
  made.request.view_bytes = view_bytes;
  made.request.max_result_bytes = std::min(max_result_bytes, result_bytes);

  auto memory = std::make_shared<worker_memory>();
  const auto make = [](const char* name, std::uint64_t bytes, os::access mode, os::mapping& map) {
    os::shared_memory m = os::make_shared_memory(name, bytes, mode);
    map = std::move(m.map);
    os::seal_size(m.fd);
    return std::move(m.fd);
  };
  made.for_worker.mailbox = make("coproc-mailbox", shm::mailbox_bytes, os::access::read_write, memory->mailbox_map);
  made.for_worker.results =
      make("coproc-results", result_bytes + view_bytes, os::access::read_only, memory->results_map);
  memory->mailbox_map.keep_from_children();
  memory->results_map.keep_from_children();

  worker_handles handles;
  auto [ours, theirs] = os::make_socketpair();
  handles.control = std::move(ours);
  // Nobody reads there: what a worker sent, descriptors included, would lie in the queue and use up the user's quota.
  os::shut_down(handles.control.get(), SHUT_RD);
  made.for_worker.control = std::move(theirs);
  handles.eventfd = os::make_eventfd();
  made.for_worker.eventfd = os::duplicate(handles.eventfd.get());
  if (!made.for_worker.eventfd) os::throw_errno("dup of an eventfd");
  made.process =
      std::make_unique<worker>(index, number, std::move(memory), made.request.max_result_bytes, std::move(handles));
  return made;
}

} // namespace coproc::detail::front
