set(sources src/{{name}}.c src/rules.c src/json_text.c src/plugin_base.c)
set(libraries "")
