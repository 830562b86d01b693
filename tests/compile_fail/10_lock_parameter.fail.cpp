// SPDX-License-Identifier: BSL-1.0
// expect: coproc: this type has no codec: make it an aggregate of types that have one, or specialise coproc::codec<T> (locks, threads, files and other handles cannot travel)
#include <coproc/codec/callable.hpp>

#include <mutex>
#include <string>

struct locked {
  std::string name;
  std::mutex lock;
};
unsigned long size(const locked& l);

int main() {
  if constexpr (coproc::detail::verify<decltype(&size), locked&>()) return 0;
}
