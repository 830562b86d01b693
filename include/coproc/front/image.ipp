// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/image.hpp>

namespace coproc::detail::front {

COPROC_LAZY_DEF image_snapshot::image_snapshot() {
  ::dl_iterate_phdr(&visit<>, this);
  std::sort(ranges_.begin(), ranges_.end(), [](const range& a, const range& b) { return a.begin < b.begin; });
  main_ = find(reinterpret_cast<std::uintptr_t>(&visit<>));
}

COPROC_LAZY_DEF bool image_snapshot::contains(std::uintptr_t address) const noexcept {
  if (address - main_.begin < main_.end - main_.begin) return true;
  const range r = find(address);
  return r.end != 0;
}

COPROC_LAZY_DEF int image_snapshot::visit(dl_phdr_info* info, std::size_t, void* self) {
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& h = info->dlpi_phdr[i];
    if (h.p_type != PT_LOAD || (h.p_flags & PF_X) == 0) continue;
    const std::uintptr_t begin = info->dlpi_addr + h.p_vaddr;
    static_cast<image_snapshot*>(self)->ranges_.push_back({begin, begin + h.p_memsz});
  }
  return 0;
}

COPROC_LAZY_DEF auto image_snapshot::find(std::uintptr_t address) const noexcept -> range {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                      [](std::uintptr_t a, const range& r) { return a < r.begin; });
  if (after == ranges_.begin() || address >= std::prev(after)->end) return {};
  return *std::prev(after);
}

} // namespace coproc::detail::front
