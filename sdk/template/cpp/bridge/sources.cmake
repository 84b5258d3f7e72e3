set(sources src/{{name}}.cpp)
set(libraries "")
