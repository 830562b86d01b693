// SPDX-License-Identifier: BSL-1.0
// Where the arguments of calls lie that do not fit into a record's cache lines: in its cold part, in a block of a
// segment, or in the memory of an argument_array; and how large they may be. Front end, any thread: the caller's own
// record.
#pragma once

#include <coproc/codec/writer.hpp>
#include <coproc/config.hpp>
#include <coproc/error.hpp>
#include <coproc/front/task_details.hpp>
#include <coproc/shm/segment.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace coproc::detail::front {

class arguments {
public:
  arguments(std::shared_ptr<shm::segment_pool> segments, std::uint64_t max_payload,
            std::uint64_t max_queue_bytes) noexcept
      : segments_(std::move(segments)), max_payload_(max_payload), max_queue_bytes_(max_queue_bytes) {}

  /// The most that one call may have.
  static constexpr std::uint64_t limit(std::uint64_t max_payload, std::uint64_t max_queue_bytes) noexcept {
    return max_payload < max_queue_bytes ? max_payload : max_queue_bytes;
  }

  /// What is thrown for so many, naming the limit.
  COPROC_LAZY pool_error too_large(std::uint64_t bytes) const;

  /// Room for `more_bytes` than `w` has.
  COPROC_LAZY void grow(task_record& t, writer& w, std::size_t more_bytes) const;

  /// They are complete.
  COPROC_LAZY void seal(task_record& t, writer& w) const;

  /// The task refers to an argument_array.
  COPROC_LAZY void keep(task_record& t, const std::shared_ptr<const array_memory>& memory) const;

  /// Memory for an argument_array.
  COPROC_LAZY std::shared_ptr<const array_memory> lend(std::size_t count, std::size_t element_bytes) const;

  const void* owner() const noexcept { return segments_.get(); }

private:
  std::shared_ptr<shm::segment_pool> segments_;
  std::uint64_t max_payload_, max_queue_bytes_;
};

} // namespace coproc::detail::front

#include <coproc/front/arguments.ipp>
