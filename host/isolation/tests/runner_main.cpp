// The runner program of the tests: nothing but the runner, so that a child starts quickly.
#include "host/isolation/runner/runner.hpp"

int main(int argc, char** argv) {
  return cm::isolation::is_runner(argc, argv) ? cm::isolation::runner_main() : 2;
}
