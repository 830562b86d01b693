// SPDX-License-Identifier: BSL-1.0
// expect: coproc: a hook is copied as bytes (48 at most): capture references or trivially copyable values
#include <coproc/options.hpp>

#include <string>

int main() {
  std::string name = "abc";
  coproc::hook h = [name] { static_cast<void>(name.size()); };
  static_cast<void>(h);
}
