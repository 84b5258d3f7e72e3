set(sources src/{{name}}.c src/plugin_base.c)
find_package(PkgConfig REQUIRED)
pkg_check_modules(SQLITE3 REQUIRED IMPORTED_TARGET sqlite3)
set(libraries PkgConfig::SQLITE3)
