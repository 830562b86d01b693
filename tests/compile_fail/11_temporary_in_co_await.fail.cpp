// SPDX-License-Identifier: BSL-1.0
// expect: coproc: g++ 12 destroys this temporary twice inside co_await (GCC PR 99576): give the object a name and pass the name, or coproc::moved(name)
// only: g++ 12
#include <coproc/codec/callable.hpp>

#include <string>

struct record {
  std::string name;
};

int main() {
  if constexpr (coproc::detail::verify_temporaries<int, record>()) return 0;
}
