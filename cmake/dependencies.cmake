# SPDX-License-Identifier: BSL-1.0
# Finds what the headers of coproc include: threads, Asio and Boost (headers). Shared by the build and by the
# installed package, so that both look in the same way; what cannot be found is left in coproc_missing for the caller.
#
# With COPROC_FETCH_DEPS=ON a library that is not installed is downloaded at the version of Debian 12: by commit where
# upstream is a git repository, else by SHA-256. All of them are used as headers only: none of their builds runs.
set(coproc_missing "")

# Makes the imported target <target> for the headers in <include> of a source that FetchContent_Declare describes.
# Targets are GLOBAL, since a project that adds coproc as a subdirectory links them from its own directories.
function(coproc_fetch_headers name target include)
  include(FetchContent)
  message(STATUS "coproc: ${name} is not installed: downloading it, pinned by hash")
  # A SOURCE_SUBDIR without CMakeLists.txt downloads a source and leaves its build alone.
  FetchContent_Declare(coproc_${name} ${ARGN} SOURCE_SUBDIR none)
  FetchContent_MakeAvailable(coproc_${name})
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} INTERFACE "${coproc_${name}_SOURCE_DIR}/${include}")
endfunction()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads QUIET)
if(NOT TARGET Threads::Threads)
  list(APPEND coproc_missing "threads")
endif()

include("${CMAKE_CURRENT_LIST_DIR}/asio.cmake")

if(NOT TARGET Boost::headers)
  find_package(Boost 1.81 CONFIG QUIET)
  if(NOT TARGET Boost::headers AND COPROC_FETCH_DEPS)
    coproc_fetch_headers(boost Boost::headers .
      URL "https://archives.boost.io/release/1.81.0/source/boost_1_81_0.tar.bz2"
          "https://downloads.sourceforge.net/project/boost/boost/1.81.0/boost_1_81_0.tar.bz2"
      URL_HASH SHA256=71feeed900fbccca04a3b4f2f84a7c217186f28a940ed8b7ed4725986baf99fa
      DOWNLOAD_EXTRACT_TIMESTAMP OFF)
  elseif(NOT TARGET Boost::headers)
    list(APPEND coproc_missing "Boost 1.81")
  endif()
endif()
