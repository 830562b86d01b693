// SPDX-License-Identifier: BSL-1.0
// expect: coproc: this type has no codec: make it an aggregate of types that have one, or specialise coproc::codec<T> (locks, threads, files and other handles cannot travel)
#include <coproc/codec/callable.hpp>

#include <string>

class person {
public:
  explicit person(std::string name);

private:
  std::string name_;
};
person name();

int main() {
  if constexpr (coproc::detail::verify<decltype(&name)>()) return 0;
}
