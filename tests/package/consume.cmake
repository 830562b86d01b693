# SPDX-License-Identifier: BSL-1.0
# Configures, builds and runs consumer/ against a copy of coproc, taken in the way that <mode> names.
# Run by ctest, see CMakeLists.txt for the variables. <work_dir>.passed holds the state of the inputs that last passed.
cmake_minimum_required(VERSION 3.24)

function(run)
  list(JOIN ARGV " " shown)
  message(STATUS "${shown}")
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# The state of every file below <dir>: one line of path and hash each.
function(snapshot dir result)
  file(GLOB_RECURSE files LIST_DIRECTORIES true RELATIVE "${dir}" "${dir}/*")
  set(lines "")
  foreach(file IN LISTS files)
    set(hash directory)
    if(NOT IS_DIRECTORY "${dir}/${file}")
      file(SHA256 "${dir}/${file}" hash)
    endif()
    list(APPEND lines "${file} ${hash}")
  endforeach()
  set(${result} "${lines}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${work_dir}")
file(COPY "${source_dir}/CMakeLists.txt" "${source_dir}/LICENSE" "${source_dir}/cmake" "${source_dir}/include"
  DESTINATION "${work_dir}/coproc")
snapshot("${work_dir}/coproc" before)

string(REPLACE "|" ";" dependencies "${dependencies}")
set(common -G "${generator}" "-DCMAKE_MAKE_PROGRAM=${make_program}" "-DCMAKE_CXX_COMPILER=${compiler}" ${dependencies})

snapshot("${CMAKE_CURRENT_LIST_DIR}" test)
set(state "${before};${test};${common};${compiler_version}")
if(EXISTS "${work_dir}.passed")
  file(READ "${work_dir}.passed" passed)
  if(passed STREQUAL state)
    file(REMOVE_RECURSE "${work_dir}")
    message(STATUS "unchanged since it passed")
    return()
  endif()
endif()

# g++ gives some warnings only when it optimises; once is enough, where the headers of coproc are no system headers.
set(options "-Dmode=${mode}" -DCMAKE_BUILD_TYPE=Debug)
if(mode STREQUAL "find_package")
  run("${CMAKE_COMMAND}" -S "${work_dir}/coproc" -B "${work_dir}/build-coproc" ${common}
    -DCOPROC_BUILD_TESTS=OFF -DCOPROC_BUILD_EXAMPLES=OFF -DCOPROC_BUILD_BENCHMARKS=OFF)
  run("${CMAKE_COMMAND}" --install "${work_dir}/build-coproc" --prefix "${work_dir}/prefix")
  list(APPEND options "-DCMAKE_PREFIX_PATH=${work_dir}/prefix")
elseif(mode STREQUAL "add_subdirectory")
  list(APPEND options "-Dcoproc_dir=${work_dir}/coproc" -DCMAKE_BUILD_TYPE=Release)
elseif(mode STREQUAL "fetch_content")
  list(APPEND options "-DFETCHCONTENT_SOURCE_DIR_COPROC=${work_dir}/coproc")
else()
  message(FATAL_ERROR "unknown mode '${mode}'")
endif()

run("${CMAKE_COMMAND}" -S "${source_dir}/tests/package/consumer" -B "${work_dir}/build" ${common} ${options})
run("${CMAKE_COMMAND}" --build "${work_dir}/build")
file(GLOB programs "${work_dir}/build/app/consumer_*")
foreach(program IN LISTS programs)
  execute_process(COMMAND "${program}" OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
  if(NOT output MATCHES "^(6 x 7 = 42, computed by another process|coproc [0-9]+\\.[0-9]+)\n$")
    message(FATAL_ERROR "${program} printed: ${output}")
  endif()
endforeach()
if(NOT programs)
  message(FATAL_ERROR "there is no program in ${work_dir}/build/app")
endif()

snapshot("${work_dir}/coproc" after)
if(NOT before STREQUAL after)
  message(FATAL_ERROR "building wrote into the source tree of coproc: ${work_dir}/coproc")
endif()
file(REMOVE_RECURSE "${work_dir}")
file(WRITE "${work_dir}.passed" "${state}")
