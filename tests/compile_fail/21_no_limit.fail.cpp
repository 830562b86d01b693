// SPDX-License-Identifier: BSL-1.0
// expect: coproc: the limit of with_timeout is a std::chrono duration: with_timeout(200ms, operation)
#include <coproc/with_timeout.hpp>

coproc::net::awaitable<int> receive();
coproc::net::awaitable<void> serve() { co_await coproc::with_timeout(receive(), nullptr); }

int main() {}
