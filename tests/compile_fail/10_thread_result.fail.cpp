// SPDX-License-Identifier: BSL-1.0
// expect: coproc: this type has no codec: make it an aggregate of types that have one, or specialise coproc::codec<T> (locks, threads, files and other handles cannot travel)
#include <coproc/codec/callable.hpp>

#include <thread>

std::thread start();

int main() {
  if constexpr (coproc::detail::verify<decltype(&start)>()) return 0;
}
