// SPDX-License-Identifier: BSL-1.0
// A user's program that includes and links all of coproc, and makes no pool: that would take most of the time to
// compile.
#include <coproc/coproc.hpp>

#include <cstdio>

int main() {
  coproc::net::io_context io;
  coproc::net::post(io, [] { std::printf("coproc %d.%d\n", COPROC_VERSION_MAJOR, COPROC_VERSION_MINOR); });
  io.run();
}
