// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a pointer means nothing in another process: pass the object itself, std::string for text, std::vector or std::span<const T> for arrays
#include <coproc/codec/callable.hpp>

#include <string>

struct request {
  std::string name;
  const char* body;
};
unsigned long size(const request& r);

int main() {
  if constexpr (coproc::detail::verify<decltype(&size), const request&>()) return 0;
}
