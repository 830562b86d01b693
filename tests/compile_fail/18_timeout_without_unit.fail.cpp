// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a time needs a unit: std::chrono::milliseconds(200), or 200ms with using namespace std::chrono_literals
#include <coproc/options.hpp>

int main() {
  coproc::task_options options{.timeout = 200};
}
