# SPDX-License-Identifier: BSL-1.0
# coproc_dev_options: warnings and sanitizers for our own tests, examples and benchmarks. Users never see this target.
# They print with fmt; the headers of coproc do not need it.
if(NOT TARGET fmt::fmt-header-only)
  find_package(fmt 9 CONFIG QUIET)
  if(NOT TARGET fmt::fmt-header-only AND COPROC_FETCH_DEPS)
    coproc_fetch_headers(fmt fmt::fmt-header-only include
      GIT_REPOSITORY "https://github.com/fmtlib/fmt.git" GIT_TAG a33701196adfad74917046096bf5a2aa0ab0bb50) # 9.1.0
    target_compile_definitions(fmt::fmt-header-only INTERFACE FMT_HEADER_ONLY=1)
  elseif(NOT TARGET fmt::fmt-header-only)
    message(FATAL_ERROR "The tests, examples and benchmarks of coproc need fmt 9: install it (scripts/setup.sh does, with apt), "
                        "configure with -DCOPROC_FETCH_DEPS=ON, or leave them out.")
  endif()
endif()

add_library(coproc_dev_options INTERFACE)
target_link_libraries(coproc_dev_options INTERFACE coproc::coproc
                      $<IF:$<TARGET_EXISTS:fmt::fmt>,fmt::fmt,fmt::fmt-header-only>)
target_compile_options(coproc_dev_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
# -std=c++20 rather than gnu++20, for what is linked with coproc_dev_options in directories below.
set(CMAKE_CXX_EXTENSIONS OFF)

# A false positive of g++ 12 on the frames of large coroutines at -O2, which -isystem does not hold back.
target_compile_options(coproc_dev_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-mismatched-new-delete>)

if(COPROC_SANITIZE)
  set(coproc_sanitize -fsanitize=${COPROC_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  if(COPROC_SANITIZE MATCHES "undefined")
    # It probes memory through a pipe, and so fails where a test has used up all descriptors.
    list(APPEND coproc_sanitize -fno-sanitize=vptr)
  endif()
  target_compile_options(coproc_dev_options INTERFACE ${coproc_sanitize} -g1)
  target_link_options(coproc_dev_options INTERFACE ${coproc_sanitize})
  # Sanitizers add false positives to this warning, says g++'s manual.
  target_compile_options(coproc_dev_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  if(COPROC_SANITIZE STREQUAL "thread")
    # g++ warns that TSan does not model fences; Asio has some.
    target_compile_options(coproc_dev_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
  endif()
endif()
