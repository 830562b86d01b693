// SPDX-License-Identifier: BSL-1.0
// The library as one source file, for programs that define COPROC_SEPARATE_COMPILATION: include this in exactly one of
// them. The CMake target coproc::compiled does both.
#pragma once

#if !defined(COPROC_SEPARATE_COMPILATION)
// clang-format off
#error "coproc: src.hpp is for programs that define COPROC_SEPARATE_COMPILATION in every file that includes coproc"
// clang-format on
#endif

#include <coproc/chrome_trace.ipp>
#include <coproc/error.ipp>
#include <coproc/event.ipp>
#include <coproc/net/completion.ipp>
#include <coproc/net/exception_of.ipp>
#include <coproc/net/join.ipp>
#include <coproc/net/operation.ipp>
#include <coproc/net/post_room.ipp>
#include <coproc/net/shutdown_gate.ipp>
#include <coproc/net/waiter_list.ipp>
#include <coproc/process_pool.ipp>
#include <coproc/semaphore.ipp>
#include <coproc/task_group.ipp>
#include <coproc/with_timeout.ipp>
