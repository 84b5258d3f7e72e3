// The checker without the rest of the program: what tests use, so that they depend on nothing else.
#include <CLI/CLI.hpp>

#include "sdk/checker/runner.hpp"
#include "sdk/checker/verbs.hpp"

int main(int argc, char** argv) {
  cm::checker::become_child_if_asked(argc, argv);
  CLI::App app("the checks of plugins", "cm-plugin-check");
  app.require_subcommand(1);
  int exit_code = 0;
  cm::checker::add_check_verb(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return exit_code;
}
