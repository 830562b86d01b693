// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a time needs a unit: std::chrono::milliseconds(200), or 200ms with using namespace std::chrono_literals
#include <coproc/pool.hpp>

coproc::net::awaitable<void> end(coproc::process_pool& pool) { co_await pool.shutdown(10); }

int main() {}
