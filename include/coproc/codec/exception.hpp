// SPDX-License-Identifier: BSL-1.0
// What a task threw, as bytes: written by the worker inside a catch block, turned into an exception of the matching
// type by the front end. The codec layer.
#pragma once

#include <coproc/codec/call.hpp>
#include <coproc/codec/writer.hpp>
#include <coproc/config.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>

namespace coproc::detail {

/// What a worker wrote into the result payload.
enum class outcome : std::uint8_t { value = 1, exception = 2 };

/// Runs in the worker what encode_call() encoded. Every C++ exception, also one from decoding or encoding, becomes
/// outcome::exception with an encoded exception in result; only a forced unwind (pthread_exit) passes.
COPROC_LAZY outcome run_entry(entry_function entry, std::span<const std::byte> arguments, writer& result);

/// Encodes the exception that the calling catch block handles. It first tries in full, then, if the writer cannot grow,
/// with shorter texts; if not even those fit, it leaves nothing, which decodes as bad_payload.
COPROC_LAZY void encode_exception(writer& w) noexcept;

/// The exception that encode_exception wrote: coproc's own types as they were, standard ones as remote<E>, all others
/// as remote_exception; bad_payload if the bytes are none of these.
COPROC_LAZY std::exception_ptr decode_exception(std::span<const std::byte> bytes) noexcept;

} // namespace coproc::detail

#include <coproc/codec/exception.ipp>
