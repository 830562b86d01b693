// SPDX-License-Identifier: BSL-1.0
// What a task that did not return a value completes with, and what a value may view in its worker's memory. Front end,
// any thread.
#pragma once

#include <coproc/config.hpp>
#include <coproc/front/task_details.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>

namespace coproc::detail::front {

/// The exception for every verdict but `value`, made from what the record says.
COPROC_LAZY std::exception_ptr failure_of(const task_record& t) noexcept;

/// [place, place + bytes) of the result file of the task's worker, for as long as the pointer lives. `loan`: of the
/// task; taken if it is null. Throws bad_payload.
COPROC_LAZY std::shared_ptr<const std::byte> borrow_views(task_record& t, std::shared_ptr<void>& loan,
                                                          std::uint64_t place, std::uint64_t bytes);

} // namespace coproc::detail::front

#include <coproc/front/failure.ipp>
