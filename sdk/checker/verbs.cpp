#include "sdk/checker/verbs.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>

#include "sdk/checker/report.hpp"
#include "sdk/checker/runner.hpp"

namespace cm::checker {
namespace {

struct Arguments {
  RunOptions run;
  std::filesystem::path junit;
  bool json = false;
  bool list = false;
  bool markdown = false;
  std::uint32_t fuzz_seconds = 0;
  std::uint64_t seed = 0;
  bool has_seed = false;
  bool here = false;
};

int fuzz(const Arguments& arguments, const Subject& subject) {
  const std::uint64_t seed =
      arguments.has_seed
          ? arguments.seed
          : static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) % 1'000'000'000;
  const FuzzReport report = run_fuzz(subject, arguments.run, seed, arguments.fuzz_seconds);
  if (arguments.json) {
    std::cout << to_json(subject, {}, &report) << "\n";
  } else {
    print_header(std::cout, subject);
    print_fuzz(std::cout, report, subject);
  }
  return report.findings.empty() ? 0 : 1;
}

int check(const Arguments& arguments, const Subject& subject) {
  const auto begin = std::chrono::steady_clock::now();
  if (!arguments.json) {
    print_header(std::cout, subject);
  }
  std::map<std::string, std::string_view> reasons;  // of failures -> the check that told it first
  const auto show = [&](const CheckResult& result) {
    if (arguments.json) {
      return;
    }
    const bool failed = result.outcome.verdict == Verdict::kFailed;
    const bool known = failed && !reasons.try_emplace(reason_of(result.outcome), result.check->name).second;
    print_result(std::cout, result, known ? reasons[reason_of(result.outcome)] : std::string_view());
  };
  const auto results =
      arguments.here ? run_here(subject, arguments.run, show) : run_checks(subject, arguments.run, show);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  if (results.empty()) {
    std::cerr << "no check is called " << arguments.run.only << "; claudemesh plugin check --list names them all\n";
    return 2;
  }
  if (arguments.json) {
    std::cout << to_json(subject, results, nullptr) << "\n";
  } else {
    print_totals(std::cout, results, static_cast<std::uint64_t>(took.count()));
  }
  if (!arguments.junit.empty()) {
    std::ofstream file(arguments.junit);
    file << to_junit(subject, results);
    if (!file.flush()) {
      std::cerr << "cannot write " << arguments.junit.string() << "; give a path that can be written\n";
      return 2;
    }
  }
  return count(results).failed == 0 ? 0 : 1;
}

int run(const Arguments& arguments) {
  if (arguments.list) {
    if (arguments.markdown) {
      std::cout << list_as_markdown();
    } else {
      print_list(std::cout);
    }
    return 0;
  }
  if (arguments.run.file.empty()) {
    std::cerr << "found no FILE, expected the library of a plugin; or use --list\n";
    return 2;
  }
  const auto subject = load_subject(arguments.run.file, arguments.run.config_file);
  if (!subject) {
    std::cerr << subject.error().message << "\n";
    return 2;
  }
  return arguments.fuzz_seconds != 0 || arguments.has_seed ? fuzz(arguments, *subject) : check(arguments, *subject);
}

}  // namespace

void add_check_verb(CLI::App& plugin, int& exit_code) {
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* verb = plugin.add_subcommand("check", "Hold a plugin against the rules of the plugin ABI");
  verb->add_option("file", arguments->run.file, "The library")->type_name("FILE");
  verb->add_option("--config", arguments->run.config_file, "TOML with values for its options; see --help")
      ->type_name("FILE");
  CLI::Option* only = verb->add_option("--only", arguments->run.only, "Checks with this name, '*' stands for anything");
  only->type_name("PATTERN");
  verb->add_flag("--here", arguments->here, "With --only NAME: in this process, for a debugger")->needs(only);
  verb->add_option("--jobs", arguments->run.jobs, "Checks at the same time; 0: one per processor")
      ->check(CLI::Range(0, 64));
  verb->add_option("--slowness", arguments->run.slowness, "Multiplies all time limits, for slow machines")
      ->check(CLI::Range(1, 100));
  verb->add_option("--fuzz", arguments->fuzz_seconds, "Random lives for a time, instead of the checks")
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 86'400));
  CLI::Option* seed = verb->add_option("--seed", arguments->seed, "With --fuzz the first seed; alone: that one life");
  verb->add_flag("--json", arguments->json, "Answer as JSON");
  verb->add_option("--junit", arguments->junit, "Write the results as JUnit XML, too")->type_name("FILE");
  verb->add_flag("--list", arguments->list, "Name all checks");
  verb->add_flag("--markdown", arguments->markdown, "With --list: as a document");
  verb->footer(
      "Each check runs in a process of its own, in a simulated host. FILE of --config: values of options, "
      "[plugins.NAME]\n"
      "for other plugins that it needs, [check] for settings. docs/plugin-check.md explains them and all checks.\n"
      "Exit codes: 0 nothing failed, 1 something failed, 2 wrong arguments.");
  verb->callback([arguments, seed, &exit_code] {
    arguments->has_seed = seed->count() != 0;
    exit_code = run(*arguments);
  });
}

}  // namespace cm::checker
