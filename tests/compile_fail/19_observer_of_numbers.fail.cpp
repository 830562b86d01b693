// SPDX-License-Identifier: BSL-1.0
// expect: coproc: an observer is called with one argument: on_worker_start: [](const coproc::worker_start& s) { ... }, on_worker_exit: [](const coproc::worker_exit& e) { ... }
#include <coproc/error.hpp>
#include <coproc/options.hpp>

int main() {
  coproc::pool_options options{.on_worker_start = [](int pid, int index) { return pid + index; }};
}
