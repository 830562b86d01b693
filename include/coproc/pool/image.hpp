// SPDX-License-Identifier: BSL-1.0
// Which code exists in the workers: they are forked copies, so a function of a library that was loaded later is not in
// them. Front end, any thread; immutable after construction.
#pragma once

#include <algorithm>
#include <cstdint>
#include <link.h>
#include <vector>

namespace coproc::pool {

/// The executable segments that were mapped when the snapshot was taken. A template, so that a file that makes no pool does not
/// compile it.
template <class Info>
class basic_image_snapshot {
public:
  basic_image_snapshot() {
    ::dl_iterate_phdr(&visit, this);
    std::sort(ranges_.begin(), ranges_.end(), [](const range& a, const range& b) { return a.begin < b.begin; });
    main_ = find(reinterpret_cast<std::uintptr_t>(&visit));
  }

  /// Was there code at this address? (A library unloaded and another loaded at its very place is not told apart.)
  bool contains(std::uintptr_t address) const noexcept {
    if (address - main_.begin < main_.end - main_.begin) return true;
    const range r = find(address);
    return r.end != 0;
  }

private:
  struct range {
    std::uintptr_t begin = 0, end = 0;
  };

  static int visit(Info* info, std::size_t, void* self) {
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& h = info->dlpi_phdr[i];
      if (h.p_type != PT_LOAD || (h.p_flags & PF_X) == 0) continue;
      const std::uintptr_t begin = info->dlpi_addr + h.p_vaddr;
      static_cast<basic_image_snapshot*>(self)->ranges_.push_back({begin, begin + h.p_memsz});
    }
    return 0;
  }

  range find(std::uintptr_t address) const noexcept {
    const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                        [](std::uintptr_t a, const range& r) { return a < r.begin; });
    if (after == ranges_.begin() || address >= std::prev(after)->end) return {};
    return *std::prev(after);
  }

  std::vector<range> ranges_;
  range main_; // where this header's code is: nearly always where fn is too
};

using image_snapshot = basic_image_snapshot<dl_phdr_info>;

} // namespace coproc::pool
