# cm_add_plugin(NAME SOURCES file... MANIFEST plugin.toml [LIBS library...]): the shared library NAME.so, a plugin.
#
# SOURCES may be C (C11) or C++ (C++20). The manifest is compiled into an ELF note; its version is that of [plugin] or, when
# that is not given, of the project. The library exports cm_plugin_entry and nothing else, and may leave no symbol undefined,
# because the program that loads it offers none. Nothing is installed; NO_INSTALL is understood and changes nothing.
set(_CM_PLUGIN_MAP "${CMAKE_CURRENT_LIST_DIR}/plugin.map")

function(cm_add_plugin name)
  cmake_parse_arguments(ARG "NO_INSTALL" "MANIFEST" "SOURCES;LIBS" ${ARGN})
  if(NOT ARG_SOURCES OR NOT ARG_MANIFEST OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "cm_add_plugin(${name}): found '${ARGN}', expected SOURCES file... MANIFEST plugin.toml [LIBS ...]")
  endif()
  set(version ${PROJECT_VERSION})
  if(NOT version)
    set(version 0.0.0)
  endif()
  get_filename_component(manifest ${ARG_MANIFEST} ABSOLUTE)
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/${name}_manifest.c)
  add_custom_command(
    OUTPUT ${generated}
    COMMAND claudemesh::manifest ${manifest} ${generated} ${version}
    DEPENDS ${manifest}
    VERBATIM)
  add_library(${name} MODULE ${ARG_SOURCES} ${generated})
  target_link_libraries(${name} PRIVATE claudemesh::sdk ${ARG_LIBS})
  target_compile_features(${name} PRIVATE c_std_11 cxx_std_20)
  target_link_options(${name} PRIVATE
    -Wl,--version-script=${_CM_PLUGIN_MAP} -Wl,--exclude-libs,ALL -Wl,-z,defs -Wl,-z,relro,-z,now)
  set_target_properties(${name} PROPERTIES
    PREFIX "" SUFFIX .so POSITION_INDEPENDENT_CODE ON
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
endfunction()
