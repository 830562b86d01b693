// SPDX-License-Identifier: BSL-1.0
// Memory beside a payload which its reader can reach, too: what lies there is referred to instead of being copied. The codec
// layer knows the interface alone; whose memory it is, and when it is free again, is decided above.
#pragma once

#include <coproc/codec/reader.hpp>

#include <cstddef>
#include <cstdint>

namespace coproc::detail {

class far_memory {
public:
  /// For a reader: the n bytes at `place`, which stay as long as the payload does. Throws bad_payload.
  virtual const std::byte* look([[maybe_unused]] std::uint64_t place, [[maybe_unused]] std::uint64_t n) {
    reject("a payload refers to memory that it has not");
  }

protected:
  ~far_memory() = default;
};

} // namespace coproc::detail
