// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a hook (preload, initializer, finalizer) is called without arguments: [] { ... }
#include <coproc/options.hpp>

int main() {
  coproc::pool_options options{.initializer = [](int index) { return index; }};
}
