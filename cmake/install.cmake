# SPDX-License-Identifier: BSL-1.0
# Installs the headers and the CMake package: find_package(coproc) then gives coproc::coproc and
# coproc::compiled.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(coproc_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/coproc")
install(TARGETS coproc EXPORT coproc-targets FILE_SET HEADERS FILE_SET bodies)
install(EXPORT coproc-targets NAMESPACE coproc:: DESTINATION "${coproc_package_dir}")

configure_package_config_file(cmake/coprocConfig.cmake.in "${PROJECT_BINARY_DIR}/coprocConfig.cmake"
  INSTALL_DESTINATION "${coproc_package_dir}" NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/coprocConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/coprocConfig.cmake" "${PROJECT_BINARY_DIR}/coprocConfigVersion.cmake"
  cmake/dependencies.cmake cmake/asio.cmake cmake/compiled.cmake cmake/coproc.cpp DESTINATION "${coproc_package_dir}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
