// SPDX-License-Identifier: BSL-1.0
// Which addresses were code when a snapshot was taken. A library that is loaded later is not in it. One thread.
#include <coproc/front/image.hpp>

#include <catch2/catch.hpp>

#include <cstdlib>
#include <dlfcn.h>
#include <initializer_list>
#include <memory>
#include <sys/mman.h>

using coproc::detail::front::image_snapshot;

namespace {

template <class F>
std::uintptr_t address(F* f) {
  return reinterpret_cast<std::uintptr_t>(f);
}

int here() { return 1; }

} // namespace

TEST_CASE("functions of the program and of its libraries are in the image") {
  const image_snapshot image;
  CHECK(image.contains(address(&here)));
  CHECK(image.contains(address(&::malloc)));
  CHECK(image.contains(address(&::dlopen)));
}

TEST_CASE("data, null, the stack and memory mapped later are not") {
  const image_snapshot image;
  int local = 0;
  static int data = 0;
  CHECK_FALSE(image.contains(0));
  CHECK_FALSE(image.contains(~std::uintptr_t{0}));
  CHECK_FALSE(image.contains(address(&local)));
  CHECK_FALSE(image.contains(address(&data)));
  void* const code = ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK_FALSE(image.contains(reinterpret_cast<std::uintptr_t>(code)));
  ::munmap(code, 4096);
}

TEST_CASE("a library that is loaded after the snapshot is not in it, but in the next") {
  const image_snapshot before;
  // Some library of the system that this program is not linked with.
  void* library = nullptr;
  const char* symbol = nullptr;
  for (const auto& [name, function] : {std::pair{"libz.so.1", "zlibVersion"}, {"libcrypt.so.1", "crypt"}}) {
    if (::dlopen(name, RTLD_NOW | RTLD_NOLOAD) != nullptr) continue;
    library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    symbol = function;
    if (library != nullptr && ::dlsym(library, symbol) != nullptr) break;
  }
  if (library == nullptr) {
    WARN("no library to load: not tested");
    return;
  }
  const auto f = reinterpret_cast<std::uintptr_t>(::dlsym(library, symbol));
  CHECK_FALSE(before.contains(f));
  const image_snapshot after;
  CHECK(after.contains(f));
  ::dlclose(library);
}
