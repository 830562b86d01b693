// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a time is a whole number of nanoseconds: std::chrono::milliseconds(200), or 200ms, in place of 0.2s; else std::chrono::duration_cast<coproc::duration>(time)
#include <coproc/options.hpp>

using namespace std::chrono_literals;

int main() {
  coproc::task_options options{.timeout = 0.2s};
}
