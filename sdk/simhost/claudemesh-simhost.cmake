# The deterministic host of the SDK: find_package(claudemesh-sdk REQUIRED COMPONENTS simhost), then link claudemesh::simhost.
# Installed beside claudemesh-sdk-config.cmake, whose variables it uses.
include(CMakeFindDependencyMacro)
find_dependency(PkgConfig)
find_dependency(Threads)
pkg_check_modules(CLAUDEMESH_SIMHOST REQUIRED IMPORTED_TARGET sqlite3 libsodium tomlplusplus)
get_filename_component(claudemesh_simhost_lib_dir "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
if(NOT TARGET claudemesh::simhost)
  add_library(claudemesh::simhost STATIC IMPORTED)
  set_target_properties(claudemesh::simhost PROPERTIES
    IMPORTED_LOCATION "${claudemesh_simhost_lib_dir}/libclaudemesh_simhost.a"
    INTERFACE_INCLUDE_DIRECTORIES "${CLAUDEMESH_SDK_INCLUDE_DIR}/claudemesh-simhost"
    INTERFACE_COMPILE_FEATURES cxx_std_20
    INTERFACE_LINK_LIBRARIES "claudemesh::sdk;PkgConfig::CLAUDEMESH_SIMHOST;Threads::Threads;${CMAKE_DL_LIBS}")
endif()
