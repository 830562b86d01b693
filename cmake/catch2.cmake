# SPDX-License-Identifier: BSL-1.0
# Defines coproc_catch: Catch2 as the tests use it, `#include <catch2/catch.hpp>` and a main. Catch2 2 is a single
# header, whose main is compiled here once, with the sanitizers of the build; Catch2 3 gets a forwarding header.
if(NOT TARGET Catch2::Catch2)
  find_package(Catch2 CONFIG QUIET)
  if(NOT TARGET Catch2::Catch2 AND COPROC_FETCH_DEPS)
    coproc_fetch_headers(catch2 Catch2::Catch2 single_include
      GIT_REPOSITORY "https://github.com/catchorg/Catch2.git" GIT_TAG 182c910b4b63ff587a3440e08f84f70497e49a81) # 2.13.10
  elseif(NOT TARGET Catch2::Catch2)
    message(FATAL_ERROR "The tests of coproc need Catch2: install it (scripts/setup.sh does, with apt), configure with "
                        "-DCOPROC_FETCH_DEPS=ON, or leave the tests out with -DCOPROC_BUILD_TESTS=OFF.")
  endif()
endif()

add_library(coproc_catch INTERFACE)
if(Catch2_VERSION VERSION_GREATER_EQUAL 3)
  target_include_directories(coproc_catch SYSTEM INTERFACE "${PROJECT_SOURCE_DIR}/tests/support/catch2_v3")
  target_link_libraries(coproc_catch INTERFACE Catch2::Catch2WithMain)
else()
  add_library(coproc_catch_main STATIC "${PROJECT_SOURCE_DIR}/tests/support/catch_main.cpp")
  target_link_libraries(coproc_catch_main PUBLIC Catch2::Catch2 PRIVATE coproc_dev_options)
  target_compile_options(coproc_catch_main PRIVATE -O0) # -O1 takes three times as long, and the runner gains nothing.
  target_link_libraries(coproc_catch INTERFACE coproc_catch_main)
endif()
