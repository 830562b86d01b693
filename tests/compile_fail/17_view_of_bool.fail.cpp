// SPDX-License-Identifier: BSL-1.0
// expect: coproc: the elements of a result_view are read as they lie there: use types of plain bytes without bool (std::uint8_t will do), or return a std::vector
#include <coproc/result_view.hpp>

struct sample {
  double value;
  bool valid;
};

int main() { coproc::result_array<sample> a(10); }
