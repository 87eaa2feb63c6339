# SPDX-License-Identifier: MIT
# Installs the headers, the CMake package (find_package(weft)), weft.pc and weft-lint.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# No file here depends on the architecture, so everything goes below share/.
set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/weft")
set(pkgconfig_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")

install(DIRECTORY include/weft DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")
install(PROGRAMS tools/check_coroutines.py DESTINATION "${CMAKE_INSTALL_BINDIR}" RENAME weft-lint)
install(TARGETS weft EXPORT weftTargets)
install(EXPORT weftTargets NAMESPACE weft:: DESTINATION "${package_dir}")

configure_package_config_file(cmake/weftConfig.cmake.in "${PROJECT_BINARY_DIR}/weftConfig.cmake"
    INSTALL_DESTINATION "${package_dir}")
# Before 1.0 a new minor version may break its users.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/weftConfigVersion.cmake"
    COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
    "${PROJECT_BINARY_DIR}/weftConfig.cmake"
    "${PROJECT_BINARY_DIR}/weftConfigVersion.cmake"
    cmake/Findliburing.cmake
    cmake/weftCompiled.cmake
    cmake/weftAdapters.cmake
    cmake/weftTls.cmake
    DESTINATION "${package_dir}")

# The prefix is found from where weft.pc lies, so that `cmake --install --prefix` gives a true file.
file(RELATIVE_PATH pc_to_prefix "/prefix/${pkgconfig_dir}" "/prefix")
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
set(pc_requires "fmt")
set(pc_libs "")
set(pc_cflags "")
if(NOT have_uring)
    set(pc_cflags " -DWEFT_NO_URING=1")
elseif(PC_LIBURING_FOUND)
    string(APPEND pc_requires " liburing")
else()
    set(pc_libs " -luring")
endif()
configure_file(cmake/weft.pc.in "${PROJECT_BINARY_DIR}/weft.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/weft.pc" DESTINATION "${pkgconfig_dir}")
