# Two Debian packages from one build: claudemesh (program, plugins, configurations, units) and claudemesh-sdk (headers, tools,
# documents and examples for plugins). `packaging/check-package BUILD-DIR` makes and judges them.
file(STRINGS ${PROJECT_SOURCE_DIR}/LICENSE license_lines)
set(license "")
foreach(line IN LISTS license_lines)
  string(APPEND license " ${line}\n")
endforeach()
string(REGEX REPLACE "\n \n" "\n .\n" license "${license}")
configure_file(debian/copyright.in ${CMAKE_CURRENT_BINARY_DIR}/copyright @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/claudemesh-sdk COMPONENT sdk)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME claudemesh)
set(CPACK_PACKAGE_VENDOR "claudemesh")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "the claudemesh authors <maintainers@claudemesh.invalid>")
set(CPACK_STRIP_FILES ON)
# Units are written while installing and name the program by the prefix, so that must be the real one.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL program sdk)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)

set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME claudemesh)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION net)
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "encrypted mesh for coding agents and the people who run them
A plugin host that a configuration makes a broker, which stores and forwards
sealed messages, or the daemon of a user, which keeps keys, outbox and inbox.")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS "ca-certificates")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS "claudemesh-sdk")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_CONTROL_EXTRA
  "${CMAKE_CURRENT_SOURCE_DIR}/debian/postinst;${CMAKE_CURRENT_SOURCE_DIR}/debian/postrm")

set(CPACK_DEBIAN_SDK_PACKAGE_NAME claudemesh-sdk)
set(CPACK_DEBIAN_SDK_PACKAGE_SECTION libdevel)
set(CPACK_COMPONENT_SDK_DESCRIPTION "headers and tools to write plugins for claudemesh
The plugin ABI in C, a layer for C++20, the manifest compiler, packages for
CMake and pkg-config, examples and documents. A plugin needs nothing else.")
set(CPACK_DEBIAN_SDK_PACKAGE_RECOMMENDS "claudemesh, cmake, pkg-config")
include(CPack)
