# SPDX-License-Identifier: BSL-1.0
# cmake -DCOMPILER=c++ -DSOURCE=x.fail.cpp -DINCLUDES=a|b -DDEFINITIONS=A|B [-DPRECOMPILED=file] [-DPASSED=file
#       -DHEADERS=include -DCOMPILER_VERSION=x] -P check.cmake
# Succeeds if SOURCE does not compile and the first error contains the text behind "// expect: " in it, and all of it.
# With PASSED, what succeeded is not compiled again until the source, a header below HEADERS, or the compiler changes.

file(READ "${SOURCE}" source)
string(REGEX MATCH "\n// expect: ([^\n]*)\n" line "${source}")
set(expected "${CMAKE_MATCH_1}")
if(expected STREQUAL "")
  message(FATAL_ERROR "${SOURCE} has no line \"// expect: \"")
endif()

include("${CMAKE_CURRENT_LIST_DIR}/flags.cmake")
if(PRECOMPILED) # what the source includes first, already parsed: each compiler finds the .gch beside that name
  list(APPEND flags -include "${PRECOMPILED}")
endif()

if(PASSED)
  file(GLOB_RECURSE inputs "${HEADERS}/*.hpp")
  set(state "${COMPILER} ${COMPILER_VERSION} ${flags}\n")
  foreach(input IN ITEMS ${inputs} "${SOURCE}" "${CMAKE_CURRENT_LIST_FILE}")
    file(SHA256 "${input}" hash)
    string(APPEND state "${hash} ${input}\n")
  endforeach()
  if(EXISTS "${PASSED}")
    file(READ "${PASSED}" passed_state)
    if(passed_state STREQUAL state)
      message(STATUS "unchanged since it passed")
      return()
    endif()
  endif()
endif()

set(ENV{LC_ALL} C)
execute_process(
  COMMAND "${COMPILER}" -fsyntax-only ${flags} "${SOURCE}"
  RESULT_VARIABLE status
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)
if(status EQUAL 0)
  message(FATAL_ERROR "${SOURCE} compiles")
endif()

string(REGEX MATCH "[^\n]* error: [^\n]*" first_error "${output}")
string(FIND "${first_error}" "${expected}" position)
if(position EQUAL -1)
  message(FATAL_ERROR "expected: ${expected}\nthe first error: ${first_error}\n\n${output}")
endif()
string(REGEX MATCHALL "[^\n]* error: " errors "${output}")
list(LENGTH errors count)
message(STATUS "${count} error(s), the first: ${first_error}")
if(PASSED)
  file(WRITE "${PASSED}" "${state}")
endif()
