// SPDX-License-Identifier: BSL-1.0
// How this thread computes with floating-point numbers: rounding, denormal numbers, which exceptions trap. A few
// nanoseconds to look at, without a system call. Worker.
#pragma once

#include <cfenv>
#include <cstdint>
#include <cstring>

namespace coproc::os {

/// The modes at the time when it was made. (Not the flags that say what has happened: whoever tests them clears them
/// first.)
class float_modes {
public:
#if defined(__x86_64__)
  float_modes() noexcept { read(sse_, x87_); }

  /// Whoever has changed them since has no say any more.
  void restore() const noexcept {
    constexpr std::uint32_t flags = 0x3f;
    std::uint32_t sse;
    std::uint16_t x87;
    read(sse, x87);
    if (((sse ^ sse_) & ~flags) == 0 && x87 == x87_) [[likely]]
      return;
    sse = sse_ & ~flags; // a flag whose exception traps would trap at once
    asm volatile("ldmxcsr %0\n\tfnclex\n\tfldcw %1" : : "m"(sse), "m"(x87_));
  }

private:
  static void read(std::uint32_t& sse, std::uint16_t& x87) noexcept {
    asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(sse), "=m"(x87));
  }

  std::uint32_t sse_;
  std::uint16_t x87_;
#elif defined(FE_DFL_MODE)
  float_modes() noexcept { ::fegetmode(&modes_); }

  void restore() const noexcept {
    femode_t now;
    ::fegetmode(&now);
    if (std::memcmp(&now, &modes_, sizeof now) != 0) ::fesetmode(&modes_);
  }

private:
  femode_t modes_;
#else
  void restore() const noexcept {}
#endif
};

} // namespace coproc::os
