// The runner program of the tests: nothing but the runner, so that a child starts quickly.
#include "host/isolation/runner/runner.hpp"

// Address space that is there before the sandbox and takes no memory until a plugin writes to it: with it, a plugin can
// hold more memory than its limit allows, though its address space has a limit, too.
extern "C" {
extern __attribute__((visibility("default"))) char cm_test_ballast[8u << 20];
char cm_test_ballast[8u << 20];
}

int main(int argc, char** argv) {
  return cm::isolation::is_runner(argc, argv) ? cm::isolation::runner_main() : 2;
}
