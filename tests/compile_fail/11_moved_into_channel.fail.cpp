// SPDX-License-Identifier: BSL-1.0
// expect: coproc: inside co_await g++ 12 destroys temporaries of this type twice (GCC PR 99576): write coproc::moved(name) for std::move(name), and give what has no name one
// only: g++ 12
#include <coproc/bounded_channel.hpp>

#include <string>
#include <utility>

struct record {
  std::string name;
};

coproc::net::awaitable<void> produce(coproc::bounded_channel<record>& channel) {
  record next;
  co_await channel.send(std::move(next));
}

int main() {}
