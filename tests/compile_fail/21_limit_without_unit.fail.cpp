// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a time needs a unit: std::chrono::milliseconds(200), or 200ms with using namespace std::chrono_literals
#include <coproc/with_timeout.hpp>

coproc::net::awaitable<int> receive();
coproc::net::awaitable<void> serve() { co_await coproc::with_timeout(receive(), 200); }

int main() {}
