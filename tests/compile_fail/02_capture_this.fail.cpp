// SPDX-License-Identifier: BSL-1.0
// expect: coproc: this callable captures a reference, a pointer, this or a view, which mean nothing in another process: capture values, or pass the object as an argument
#include <coproc/codec/callable.hpp>

struct server {
  int base = 1;
  int handle() {
    auto fn = [this](int n) { return base + n; };
    if constexpr (coproc::detail::verify<decltype(fn), int>()) return 0;
    return 1;
  }
};

int main() { static_cast<void>(server().handle()); }
