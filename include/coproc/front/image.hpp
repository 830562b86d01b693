// SPDX-License-Identifier: BSL-1.0
// Which code exists in the workers: they are forked copies, so a function of a library that was loaded later is not in
// them. Front end, any thread; immutable after construction.
#pragma once

#include <algorithm>
#include <coproc/config.hpp>
#include <cstdint>
#include <link.h>
#include <vector>

namespace coproc::detail::front {

/// The executable segments that were mapped when the snapshot was taken. A template, so that a file that makes no pool
/// does not compile it.
class image_snapshot {
public:
  COPROC_LAZY image_snapshot();

  /// Was there code at this address? (A library unloaded and another loaded at its very place is not told apart.)
  COPROC_LAZY bool contains(std::uintptr_t address) const noexcept;

private:
  struct range {
    std::uintptr_t begin = 0, end = 0;
  };

  COPROC_LAZY static int visit(dl_phdr_info* info, std::size_t, void* self);

  COPROC_LAZY range find(std::uintptr_t address) const noexcept;

  std::vector<range> ranges_;
  range main_; // where this header's code is: nearly always where fn is too
};

} // namespace coproc::detail::front

#include <coproc/front/image.ipp>
