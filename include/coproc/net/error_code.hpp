// SPDX-License-Identifier: BSL-1.0
// The vocabulary half of the door to Asio: error_code and system_error, nothing that pulls in an I/O object.
// Every layer may include it, so that the errors of coproc are the errors of the Asio in use.
#pragma once

#if !defined(ASIO_STANDALONE)
#define ASIO_STANDALONE 1
#endif
// Asio 1.22 asks what libstdc++ has before it includes any of it: without this, source files that include Asio first
// would free with operator delete what others allocate with aligned_alloc.
#include <cstddef>

#include <asio/version.hpp>

// Asio 1.22 switches coroutines on for g++ and for clang with libc++, not for clang with libstdc++ (fixed in 1.26).
#if ASIO_VERSION < 102600 && defined(__clang__) && !defined(ASIO_HAS_CO_AWAIT)
#define ASIO_HAS_CO_AWAIT 1
#endif

#include <asio/error.hpp>
#include <asio/error_code.hpp>
#include <asio/system_error.hpp>

namespace coproc {
namespace net = ::asio;
}
