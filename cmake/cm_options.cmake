# Compiler settings shared by every room.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CM_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize takes them (address,undefined or thread)")
option(CM_FUZZ "Build the fuzz targets with libFuzzer (clang only)" OFF)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

add_library(cm_warnings INTERFACE)
target_compile_options(cm_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wimplicit-fallthrough -Werror
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual>
  # g++ 12 sees overlapping copies in `"text" + string` at -O3 where there are none (GCC bug 105651).
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>)

add_compile_options(-fno-omit-frame-pointer)
add_compile_options($<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2> -fstack-protector-strong)
add_link_options(-Wl,-z,relro,-z,now)

if(CM_FUZZ)
  # Coverage feedback from the libraries too, not only from the entry point.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

if(CM_SANITIZE)
  add_compile_options(-fsanitize=${CM_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CM_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # `function` compares C++ spellings of types: a C plugin has no noexcept, so each call over the ABI would be reported.
    add_compile_options($<$<COMPILE_LANGUAGE:C>:-fno-sanitize=function>)
    if(CM_SANITIZE MATCHES "address")
      # The indicators would be second exported symbols of a plugin that is built without our version script.
      add_compile_options($<$<COMPILE_LANGUAGE:C>:-fno-sanitize-address-use-odr-indicator>)
    endif()
  endif()
  # A sanitized shared library takes the runtime's symbols from the executable.
  set(CM_PLUGIN_UNDEFINED_OK ON)
endif()
