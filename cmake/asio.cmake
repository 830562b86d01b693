# SPDX-License-Identifier: BSL-1.0
# Defines coproc::asio: stand-alone Asio as coproc uses it. Reuses a target asio::asio that a parent project or a package
# manager defines, else looks for the headers, since neither upstream nor Debian ships a CMake package.
if(NOT TARGET asio::asio)
  find_package(asio CONFIG QUIET)
endif()
if(NOT TARGET asio::asio)
  find_path(COPROC_ASIO_INCLUDE_DIR asio/version.hpp DOC "The directory with asio/version.hpp")
  mark_as_advanced(COPROC_ASIO_INCLUDE_DIR)
  if(COPROC_ASIO_INCLUDE_DIR)
    add_library(asio::asio INTERFACE IMPORTED GLOBAL)
    target_include_directories(asio::asio INTERFACE "${COPROC_ASIO_INCLUDE_DIR}")
  elseif(COPROC_FETCH_DEPS)
    coproc_fetch_headers(asio asio::asio asio/include
      GIT_REPOSITORY "https://github.com/chriskohlhoff/asio.git" GIT_TAG bba12d10501418fd3789ce01c9f86a77d37df7ed) # 1.22.1
  else()
    list(APPEND coproc_missing "Asio 1.22")
  endif()
endif()

if(TARGET asio::asio AND NOT TARGET coproc::asio)
  add_library(coproc::asio INTERFACE IMPORTED GLOBAL)
  target_link_libraries(coproc::asio INTERFACE asio::asio)
  target_compile_definitions(coproc::asio INTERFACE ASIO_STANDALONE)

  # Asio before 1.26 leaves coroutines off for clang with libstdc++. <coproc/net/error_code.hpp> switches them on, but
  # a program that includes Asio first, or in another source file, must see the same Asio.
  get_target_property(coproc_asio_include asio::asio INTERFACE_INCLUDE_DIRECTORIES)
  find_file(coproc_asio_version asio/version.hpp PATHS ${coproc_asio_include} NO_CACHE)
  if(coproc_asio_version)
    file(STRINGS "${coproc_asio_version}" coproc_asio_version REGEX "^#define ASIO_VERSION [0-9]+")
    string(REGEX MATCH "[0-9]+" coproc_asio_version "${coproc_asio_version}")
    if(coproc_asio_version LESS 102201)
      list(APPEND coproc_missing "Asio 1.22.1 (found is ${coproc_asio_version})")
    elseif(coproc_asio_version LESS 102600)
      target_compile_definitions(coproc::asio INTERFACE $<$<CXX_COMPILER_ID:Clang>:ASIO_HAS_CO_AWAIT=1>)
    endif()
  endif()
endif()
