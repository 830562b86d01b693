// SPDX-License-Identifier: BSL-1.0
// Memory that is advised to be huge is what was asked for, to whole huge pages, and nothing else.
#include <coproc/os/huge_pages.hpp>

#include <catch2/catch.hpp>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>

using namespace coproc;

namespace {

// The flags that the kernel has for the mapping that contains `at`: "rd wr mr mw me ac sd hg", for instance.
std::string flags_of(const void* at) {
  std::ifstream smaps("/proc/self/smaps");
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  bool here = false;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::istringstream words(line);
    if (words >> std::hex >> begin >> dash >> end && dash == '-') here = begin <= address && address < end;
    if (here && line.starts_with("VmFlags:")) return line.substr(8) + " ";
  }
  return {};
}

constexpr std::size_t huge = std::size_t{2} << 20;

struct region {
  std::byte* const memory =
      static_cast<std::byte*>(::mmap(nullptr, 8 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  std::byte* const aligned =
      reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(memory) + huge - 1) / huge * huge);
  region() { REQUIRE(memory != MAP_FAILED); }
  ~region() { ::munmap(memory, 8 * huge); }
};

} // namespace

TEST_CASE("whole huge pages within the range are advised, and no byte outside") {
  if (::access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) != 0) {
    WARN("this kernel has no transparent huge pages");
    return;
  }
  const region r;
  os::expect_writes(r.aligned + huge - 1, 2 * huge + 2); // ends one byte into a page
  CHECK(flags_of(r.aligned + huge - 1).find(" hg ") == std::string::npos);
  CHECK(flags_of(r.aligned + huge).find(" hg ") != std::string::npos);
  CHECK(flags_of(r.aligned + 3 * huge - 1).find(" hg ") != std::string::npos);
  CHECK(flags_of(r.aligned + 3 * huge).find(" hg ") == std::string::npos);
}

TEST_CASE("a range without a whole huge page is left alone; errno is, too") {
  const region r;
  errno = 77;
  os::expect_writes(r.aligned + 1, 2 * huge - 2);
  CHECK(flags_of(r.aligned + huge).find(" hg ") == std::string::npos);
  os::expect_writes(nullptr, 8 * huge); // nothing is mapped there
  CHECK(errno == 77);
}
