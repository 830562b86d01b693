# SPDX-License-Identifier: BSL-1.0
# cmake -DCOMPILER=c++ -DCOMPILER_VERSION=x -DINCLUDES=a|b -DDEFINITIONS=A|B -DHEADERS=include -DNAMES=a.hpp|b.hpp
#       -DDIRECTORY=dir -P precompile.cmake
# Makes <dir>/<name>.gch of each name below HEADERS; not again until a header or the compiler changes.
include("${CMAKE_CURRENT_LIST_DIR}/flags.cmake")
string(REPLACE "|" ";" names "${NAMES}")

file(GLOB_RECURSE inputs "${HEADERS}/*.hpp")
set(state "${COMPILER} ${COMPILER_VERSION} ${flags} ${names}\n")
foreach(input IN LISTS inputs)
  file(TIMESTAMP "${input}" time) # clang compares it, too
  string(APPEND state "${time} ${input}\n")
endforeach()
if(EXISTS "${DIRECTORY}/state")
  file(READ "${DIRECTORY}/state" made_state)
  if(made_state STREQUAL state)
    message(STATUS "unchanged")
    return()
  endif()
endif()

file(REMOVE_RECURSE "${DIRECTORY}")
foreach(name IN LISTS names)
  cmake_path(GET name PARENT_PATH folder)
  file(MAKE_DIRECTORY "${DIRECTORY}/${folder}")
  # -w: #pragma once is strange to compilers in what they take for a main file
  execute_process(COMMAND "${COMPILER}" -w ${flags} -x c++-header "${HEADERS}/${name}" -o "${DIRECTORY}/${name}.gch"
    COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(WRITE "${DIRECTORY}/state" "${state}")
