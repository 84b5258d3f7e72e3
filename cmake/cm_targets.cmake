# Helpers that every room uses, so that a target is declared the same way everywhere.
include(GoogleTest)

# cm_add_library(NAME SOURCES ... [LIBS ...]): a static library of one room.
function(cm_add_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS;PRIVATE_LIBS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_LIBS} PRIVATE cm_warnings ${ARG_PRIVATE_LIBS})
endfunction()

# cm_add_test(NAME SOURCES ... [LIBS ...] [TIMEOUT seconds] [LABELS ...]): a GoogleTest program, one ctest entry.
function(cm_add_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBS;LABELS;ENV" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE cm_warnings ${ARG_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_property(GLOBAL APPEND PROPERTY CM_TEST_TARGETS ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}" ENVIRONMENT "${ARG_ENV}")
endfunction()

# cm_add_fuzz(NAME SOURCES ... [LIBS ...] [CORPUS dir]): one parser. With CM_FUZZ a libFuzzer program; otherwise the
# same entry point behind a small driver that runs the corpus and one second of seeded mutations as a unit test.
function(cm_add_fuzz name)
  cmake_parse_arguments(ARG "" "CORPUS" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE cm_warnings ${ARG_LIBS})
  if(CM_FUZZ)
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/fuzz_driver.cpp)
    add_test(NAME ${name} COMMAND ${name} --seconds 1 ${ARG_CORPUS})
    set_tests_properties(${name} PROPERTIES TIMEOUT 60 LABELS fuzz)
  endif()
  set_property(GLOBAL APPEND PROPERTY CM_FUZZ_TARGETS ${name})
  if(ARG_CORPUS)
    get_filename_component(corpus ${ARG_CORPUS} ABSOLUTE)
    set_property(GLOBAL APPEND PROPERTY CM_FUZZ_CORPORA "${name} ${corpus}")
  endif()
endfunction()

# cm_add_plugin(NAME SOURCES ... [LIBS ...] MANIFEST plugin.toml [NO_INSTALL]): a shared library with exactly one exported
# symbol. NO_INSTALL: an example, which is no part of an installation.
function(cm_add_plugin name)
  cmake_parse_arguments(ARG "NO_INSTALL" "MANIFEST" "SOURCES;LIBS" ${ARGN})
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/${name}_manifest.c)
  add_custom_command(
    OUTPUT ${generated}
    COMMAND cm-manifest ${CMAKE_CURRENT_SOURCE_DIR}/${ARG_MANIFEST} ${generated} ${PROJECT_VERSION}
    DEPENDS ${ARG_MANIFEST} cm-manifest
    VERBATIM)
  add_library(${name} MODULE ${ARG_SOURCES} ${generated})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE cm_warnings claudemesh_sdk ${ARG_LIBS})
  target_link_options(${name} PRIVATE
    -Wl,--version-script=${PROJECT_SOURCE_DIR}/sdk/cmake/plugin.map -Wl,--exclude-libs,ALL)
  if(NOT CM_PLUGIN_UNDEFINED_OK)
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()
  set_target_properties(${name} PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins)
  if(NOT ARG_NO_INSTALL)
    install(TARGETS ${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/claudemesh/plugins)
  endif()
  set_property(GLOBAL APPEND PROPERTY CM_PLUGIN_TARGETS ${name})
endfunction()
