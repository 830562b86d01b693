// SPDX-License-Identifier: BSL-1.0
// expect: coproc: inside co_await g++ 12 destroys temporaries of this type twice (GCC PR 99576): write coproc::moved(name) for std::move(name), and give what has no name one
// only: g++ 12
#include <coproc/codec/callable.hpp>

#include <string>

struct record {
  std::string name;
};

int main() {
  if constexpr (coproc::detail::verify_temporaries<int, record>()) return 0;
}
