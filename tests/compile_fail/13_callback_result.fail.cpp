// SPDX-License-Identifier: BSL-1.0
// expect: coproc: callbacks need a default-constructible result: use run_in_executor or submit, or return std::optional
#include <coproc/codec/callable.hpp>

struct metres {
  explicit constexpr metres(int n) : n(n) {}
  int n;
};

int main() {
  if constexpr (coproc::detail::verify_callback_result<metres>()) return 0;
}
