#include "sim/verbs.hpp"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "protocol/json.hpp"
#include "sim/scenario.hpp"

namespace cm::sim {
namespace {

constexpr std::uint32_t kMembersMax = 8;

struct Arguments {
  std::uint64_t seed = 1;
  std::uint64_t runs = 1;
  ScenarioOptions scenario;
  bool trace = false;
  bool json = false;
};

void print_json(const ScenarioReport& report) {
  protocol::JsonValue json{protocol::JsonValue::Object()};
  const auto number = [&json](const char* key, std::uint64_t value) {
    json.set(key, protocol::JsonValue(static_cast<double>(value)));
  };
  number("seed", report.seed);
  number("accepted", report.messages_accepted);
  number("refused", report.messages_refused);
  number("crashes", report.crashes);
  number("partitions", report.partitions);
  number("events", report.events);
  number("virtual_ms", report.virtual_ms);
  protocol::JsonValue::Array violations;
  for (const std::string& violation : report.violations) {
    violations.emplace_back(violation);
  }
  json.set("violations", protocol::JsonValue(std::move(violations)));
  std::printf("%s\n", protocol::to_json(json).c_str());
}

void print_text(const ScenarioReport& report, const Arguments& arguments) {
  if (arguments.runs == 1 || !report.violations.empty()) {
    std::printf("seed %llu: %llu accepted, %llu crashes, %llu partitions, %llu events in %llu virtual seconds\n",
                static_cast<unsigned long long>(report.seed), static_cast<unsigned long long>(report.messages_accepted),
                static_cast<unsigned long long>(report.crashes), static_cast<unsigned long long>(report.partitions),
                static_cast<unsigned long long>(report.events),
                static_cast<unsigned long long>(report.virtual_ms / 1000));
  }
  for (const std::string& violation : report.violations) {
    std::printf("  ✘ %s\n", violation.c_str());
  }
  if (!report.violations.empty()) {
    std::printf("  replay: claudemesh sim --seed %llu --steps %u --members %u --trace\n",
                static_cast<unsigned long long>(report.seed), arguments.scenario.steps, arguments.scenario.members);
  }
}

int run(const Arguments& arguments) {
  std::uint64_t failed = 0;
  std::uint64_t accepted = 0;
  std::uint64_t crashes = 0;
  for (std::uint64_t i = 0; i < arguments.runs; ++i) {
    ScenarioOptions options = arguments.scenario;
    options.seed = arguments.seed + i;
    if (arguments.trace) {
      options.trace = [](std::string_view line) {
        std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
      };
    }
    const ScenarioReport report = run_scenario(options);
    accepted += report.messages_accepted;
    crashes += report.crashes;
    failed += report.violations.empty() ? 0 : 1;
    if (arguments.json) {
      print_json(report);
    } else {
      print_text(report, arguments);
    }
    std::fflush(stdout);
  }
  if (!arguments.json) {
    std::printf("%s %llu seed%s, %llu messages accepted, %llu crashes, %llu with a violation\n",
                failed == 0 ? "✔" : "✘", static_cast<unsigned long long>(arguments.runs),
                arguments.runs == 1 ? "" : "s", static_cast<unsigned long long>(accepted),
                static_cast<unsigned long long>(crashes), static_cast<unsigned long long>(failed));
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

void add_verbs(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* verb = app.add_subcommand(
      "sim", "Simulate a mesh with crashes and faults on virtual time, and check that nothing is lost");
  verb->add_option("--seed", arguments->seed, "First seed; the same seed gives the same run")->capture_default_str();
  verb->add_option("--runs", arguments->runs, "Number of seeds, one after the other")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb->add_option("--steps", arguments->scenario.steps, "Actions of members and faults in one run")
      ->capture_default_str();
  verb->add_option("--members", arguments->scenario.members, "Members of the mesh")
      ->check(CLI::Range(2u, kMembersMax))
      ->capture_default_str();
  verb->add_option("--broker-plugin", arguments->scenario.broker_plugin, "Plugin that plays the broker")
      ->capture_default_str();
  verb->add_option("--daemon-plugin", arguments->scenario.daemon_plugin, "Plugin that plays the daemon")
      ->capture_default_str();
  verb->add_flag("--trace", arguments->trace, "Print every notable event on standard error");
  verb->add_flag("--json", arguments->json, "One JSON object per seed");
  verb->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace cm::sim
