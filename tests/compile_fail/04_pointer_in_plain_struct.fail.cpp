// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a pointer means nothing in another process: pass the object itself, std::string for text, std::vector or std::span<const T> for arrays
#include <coproc/codec/callable.hpp>

struct buffer {
  unsigned long size;
  const void* data;
};
unsigned long size(buffer b);

int main() {
  if constexpr (coproc::detail::verify<decltype(&size), buffer>()) return 0;
}
