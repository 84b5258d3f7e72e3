set(sources src/{{name}}.c src/plugin_base.c)
set(libraries "")
