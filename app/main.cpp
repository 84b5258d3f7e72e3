// The composition root: the host's verbs, and whatever other rooms add.
#include <CLI/CLI.hpp>

#include <filesystem>
#include <iostream>
#include <memory>

#include "host/isolation/runner/runner.hpp"
#include "host/loader/verbs.hpp"
#include "host/services/host.hpp"
#include "host/services/list_running.hpp"
#include "sdk/checker/runner.hpp"
#include "sdk/checker/verbs.hpp"
#include "sdk/template/new_plugin.hpp"
#ifdef CM_HAVE_CLI
#include "cli/verbs.hpp"
#endif
#ifdef CM_HAVE_SIM
#include "sim/verbs.hpp"
#endif

namespace {

void add_run(CLI::App& app, int& exit_code) {
  CLI::App* run = app.add_subcommand("run", "Run the plugins that a configuration file names");
  auto options = std::make_shared<cm::host::RunOptions>();
  run->add_option("file", options->file, "The TOML configuration file")->required();
  run->add_flag("--safe-mode", options->safe_mode, "Load only the plugins that came with the program");
  run->footer(
      "SIGTERM or SIGINT drains and stops; a second one stops at once. SIGHUP reads the file again and changes\n"
      "only what differs, all or nothing. SIGUSR2 starts the program again and hands over to it without closing a\n"
      "listening socket. Exit codes: 0 clean, 1 failure to start, 2 error in the configuration.");
  run->callback([options, &exit_code] { exit_code = cm::host::run_host(*options); });
}

}  // namespace

int main(int argc, char** argv) {
  // The process of one isolated plugin: nothing else of the program is set up in it.
  if (cm::isolation::is_runner(argc, argv)) {
    return cm::isolation::runner_main();
  }
  // So is the process of one check of a plugin.
  cm::checker::become_child_if_asked(argc, argv);
  CLI::App app("claudemesh: an end-to-end encrypted mesh for agents, made of plugins", "claudemesh");
  app.set_version_flag("-V,--version", "claudemesh " CM_VERSION);
  app.require_subcommand(1);
  int exit_code = 0;
  add_run(app, exit_code);
  cm::loader::VerbContext verbs{std::cout, std::cerr, cm::config::Environment::of_process(), {}};
  verbs.list_running = [](const std::string& address, bool json) {
    return cm::host::list_running(address, json, std::cout, std::cerr);
  };
  cm::loader::add_host_verbs(app, verbs, exit_code);
  cm::sdk::add_new_plugin_verb(app, std::cout, std::cerr, exit_code);
  cm::checker::add_check_verb(*app.get_subcommand("plugin"), exit_code);
#ifdef CM_HAVE_CLI
  cm::cli::add_verbs(app, exit_code);
#endif
#ifdef CM_HAVE_SIM
  cm::sim::add_verbs(app, exit_code);
#endif
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
#ifdef CM_HAVE_CLI
    exit_code = cm::cli::report_parse_error(app, error, std::cout, std::cerr);
#else
    // CLI11 numbers its errors; all of them are a wrong command line to the caller.
    return app.exit(error) == 0 ? 0 : 2;
#endif
  }
#ifdef CM_HAVE_CLI
  exit_code = cm::cli::report_unwritten(app, exit_code, std::cout, std::cerr);
#endif
  return exit_code;
}
