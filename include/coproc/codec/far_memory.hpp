// SPDX-License-Identifier: BSL-1.0
// Memory beside a payload which its reader can reach, too: what lies there is referred to instead of being copied. The
// codec layer knows the interface alone; whose memory it is, and when it is free again, is decided above.
#pragma once

#include <coproc/codec/reader.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace coproc::detail {

class far_memory {
public:
  /// For a writer: the place of [at, at + bytes) in that memory, from now on also the reader's; empty: copy it.
  virtual std::optional<std::uint64_t> lend([[maybe_unused]] const void* at, [[maybe_unused]] std::size_t bytes) {
    return {};
  }

  /// For a reader: the n bytes at `place`, which stay as long as the payload does. Throws bad_payload.
  virtual const std::byte* look([[maybe_unused]] std::uint64_t place, [[maybe_unused]] std::uint64_t n) {
    reject("a payload refers to memory that it has not");
  }

  /// For a reader: what was lent, for as long as the pointer lives. Throws bad_payload.
  virtual std::shared_ptr<const std::byte> borrow([[maybe_unused]] std::uint64_t place,
                                                  [[maybe_unused]] std::uint64_t bytes) {
    reject("a payload refers to memory that it has not");
  }

protected:
  ~far_memory() = default;
};

} // namespace coproc::detail
