# SPDX-License-Identifier: BSL-1.0
# Defines coproc::compiled: the library compiled once, in the build that uses it and with its flags, so that files which make pools
# compile as fast as files which call them. A program links either this or coproc::coproc, everywhere. Shared by the build and by
# the installed package.
if(NOT TARGET coproc::compiled)
  add_library(coproc_compiled STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/coproc.cpp")
  add_library(coproc::compiled ALIAS coproc_compiled)
  target_link_libraries(coproc_compiled PUBLIC coproc::coproc)
  target_compile_definitions(coproc_compiled PUBLIC COPROC_SEPARATE_COMPILATION)
  set_target_properties(coproc_compiled PROPERTIES POSITION_INDEPENDENT_CODE ON)
endif()
