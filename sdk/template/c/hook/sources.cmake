set(sources src/{{name}}.c)
set(libraries "")
