// SPDX-License-Identifier: BSL-1.0
// expect: does not match declaration order in
// only: g++ 12
#include <coproc/options.hpp>

using namespace std::chrono_literals;

int main() {
  coproc::task_options options{.queue_timeout = 1s, .timeout = 2s}; // clang accepts it, and warns with -Wreorder-init-list
}
