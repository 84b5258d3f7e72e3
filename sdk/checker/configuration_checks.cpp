// Options: what the schema promises, values at the limits, values that must be refused, secrets, and the reload in two
// phases.
#include <algorithm>

#include "host/config/host_config.hpp"
#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"

namespace cm::checker {
namespace {

constexpr int kReloads = 50;

Values with(const Subject& subject, const std::string& option, const std::string& value) {
  Values values = subject.config.values;
  values[option] = value;
  return values;
}

Outcome works_with_defaults(const Subject& subject) {
  // Only what is required, and what a person gave for it.
  Values values;
  for (const auto& option : subject.manifest->options) {
    const auto given = subject.config.values.find(option.name);
    if (given != subject.config.values.end() && (option.required || option.refers_to_plugins() ||
                                                 option.type == options::OptionType::kPath || option.name == "vfs")) {
      values[option.name] = given->second;
    }
  }
  Bench bench(subject, {.values = values});
  if (!bench.bring_up()) {
    return bench.could_not("start with its defaults");
  }
  bench.end();
  return ok();
}

Outcome accepts_every_good_value(const Subject& subject) {
  for (const auto& option : subject.manifest->options) {
    for (const std::string& value : good_values(option)) {
      progress(option.name + " = " + value.substr(0, 60));
      Bench bench(subject, {.values = with(subject, option.name, value)});
      if (!bench.prepared()) {
        continue;  // refused by the host, in words
      }
      if (!bench.bring_up() && bench.problem_of_subject() &&
          bench.problem().find("without a text") != std::string::npos) {
        return failed("with " + option.name + " = " + value.substr(0, 60) + " " + bench.problem(),
                      "it works, or says what is wrong with the value",
                      "narrow the range of the option, or call set_error");
      }
      bench.end();
    }
  }
  return subject.manifest->options.empty() ? skipped("it has no options") : ok();
}

Outcome refuses_bad_values(const Subject& subject) {
  for (const auto& option : subject.manifest->options) {
    for (const std::string& value : bad_values(option)) {
      progress(option.name + " = " + value.substr(0, 60));
      const Bench bench(subject, {.values = with(subject, option.name, value)});
      if (bench.prepared()) {
        return failed(option.name + " = " + value.substr(0, 60) + " is accepted",
                      "a refusal before the plugin is created: " + options::describe_expected(option),
                      "declare the type, the range or the choices of the option");
      }
    }
  }
  return subject.manifest->options.empty() ? skipped("it has no options") : ok();
}

Outcome refuses_typing_errors(const Subject& subject) {
  for (const auto& option : subject.manifest->options) {
    const std::string typo = option.name.substr(0, option.name.size() - 1);
    if (typo.empty()) {
      continue;
    }
    const std::string value = subject.config.values.contains(option.name) ? subject.config.values.at(option.name)
                              : option.default_value                      ? options::spell_raw(*option.default_value)
                                                                          : std::string("\"x\"");
    progress(typo + " = " + value);
    Values values = subject.config.values;
    values[typo] = value;
    const Bench bench(subject, {.values = values});
    const bool meant = subject.manifest->find_option(typo) != nullptr;
    if (bench.prepared() || meant) {
      return failed("the key " + typo + ", a typing error of " + option.name + ", means another option",
                    "a wrong key is an error that names the nearest right one",
                    "give options names that differ in more than the last letter");
    }
  }
  return subject.manifest->options.empty() ? skipped("it has no options") : ok();
}

Outcome reads_declared_options(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    // An undeclared option may be the very reason.
    for (const sim::BreachNote& note : bench.breaches()) {
      if (note.breach == sim::Breach::kUndeclaredOption) {
        return failed(note.text, "only options of the manifest, with their type",
                      "declare the option, or correct its name");
      }
    }
    return bench.could_not("start");
  }
  exercise(bench, {.quiet_ms = 500});
  for (const sim::BreachNote& note : bench.breaches()) {
    if (note.breach == sim::Breach::kUndeclaredOption) {
      return failed(note.text, "only options of the manifest, with their type",
                    "declare the option, or correct its name");
    }
  }
  return ok();
}

Outcome hides_secrets(const Subject& subject) {
  const std::string secret = "Zx9-check-secret-7Qp";
  Values values = subject.config.values;
  bool any = false;
  for (const auto& option : subject.manifest->options) {
    if (option.secret && option.type != options::OptionType::kList) {
      values[option.name] = toml_text(secret);
      any = true;
    }
  }
  if (!any) {
    return skipped("it has no secret options");
  }
  Bench bench(subject, {.values = values});
  const bool up = bench.bring_up();
  if (up) {
    exercise(bench);
  }
  const std::string problem = bench.problem();
  bench.end();
  for (const std::string& line : bench.log_lines()) {
    if (line.find(secret) != std::string::npos) {
      return failed("a log line contains the value of a secret option: " + line.substr(0, line.find(secret)) + "***",
                    "no secret in any log, error or metric", "log that it is set, not what it is");
    }
  }
  return problem.find(secret) == std::string::npos
             ? ok()
             : failed("an error text contains the value of a secret option", "no secret in any log, error or metric",
                      "name the option, not its value");
}

// --- reload ----------------------------------------------------------------------------------------------------------

bool can_reload(const Bench&, sim::Instance& instance) {
  const cm_instance_table_v1* table = instance.table();
  return CM_HAS_FUNCTION(table, cm_instance_table_v1, reload_finish) && table->reload_prepare != nullptr &&
         table->reload_finish != nullptr;
}

std::vector<std::string> reloadable_options(const Subject& subject) {
  std::vector<std::string> names;
  for (const auto& option : subject.manifest->options) {
    if (option.reloadable) {
      names.push_back(option.name);
    }
  }
  return names;
}

// The options as a host would hold them after the file was changed.
std::optional<config::ValidatedOptions> options_with(const Subject& subject, const std::string& option,
                                                     const std::string& value) {
  const Bench bench(subject, {.values = with(subject, option, value)});
  if (!bench.prepared()) {
    return std::nullopt;
  }
  return const_cast<Bench&>(bench).subject().wanted().options;
}

Outcome pairs_reload_functions(const Subject& subject) {
  Bench bench(subject);
  if (!bench.prepared() || bench.create() != CM_OK) {
    return bench.could_not("get created");
  }
  const cm_instance_table_v1* table = bench.subject().table();
  const bool long_enough = CM_HAS_FUNCTION(table, cm_instance_table_v1, reload_finish);
  const bool prepare = long_enough && table->reload_prepare != nullptr;
  const bool finish = long_enough && table->reload_finish != nullptr;
  if (prepare != finish) {
    return failed(std::string("only ") + (prepare ? "reload_prepare" : "reload_finish"), "both functions or none",
                  "implement both, or set both to null: then the host restarts the instance");
  }
  const auto reloadable = reloadable_options(subject);
  return prepare || reloadable.empty()
             ? ok()
             : failed("the option " + reloadable.front() + " is reloadable, but there are no reload functions",
                      "a plugin with reloadable options can reload", "implement them, or take `reloadable` out");
}

struct ReloadResult {
  std::string problem;
  sim::Holdings before;
  sim::Holdings after;
};

Outcome reload_all(const Subject& subject, bool commit) {
  const auto names = reloadable_options(subject);
  if (names.empty()) {
    return skipped("it has no reloadable options");
  }
  // One bench at a time: the candidates are made before the plugin runs.
  std::vector<std::pair<std::string, config::ValidatedOptions>> candidates;
  for (const std::string& name : names) {
    for (const std::string& value : good_values(*subject.manifest->find_option(name))) {
      if (auto made = options_with(subject, name, value)) {
        candidates.emplace_back(name + " = " + value, std::move(*made));
      }
    }
  }
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  if (!can_reload(bench, bench.subject())) {
    return skipped("it has no reload functions");
  }
  for (auto& [what, candidate] : candidates) {
    progress(std::string(commit ? "commit " : "abort ") + what);
    const sim::Holdings before = bench.subject().holdings();
    const cm_status status = bench.subject().reload_prepare(std::move(candidate));
    if (status != CM_OK && bench.subject().take_error().empty()) {
      return failed("reload_prepare answered " + status_name(status) + " to " + what + " without a text",
                    "CM_OK, or a text that says what is wrong", "call set_error");
    }
    bench.subject().reload_finish(commit && status == CM_OK);
    const sim::Holdings after = bench.subject().holdings();
    if (!commit && after.total() > before.total()) {
      return failed("after an aborted reload of " + what + " it holds " + after.text() + " instead of " + before.text(),
                    "prepare only looks; an abort leaves everything as it was",
                    "do the change in reload_finish(true), or undo it in reload_finish(false)");
    }
    bench.run(500);
  }
  exercise(bench, {.quiet_ms = 500});
  bench.end();
  return ok();
}

Outcome reloads_and_commits(const Subject& subject) {
  return reload_all(subject, true);
}

Outcome reloads_and_aborts(const Subject& subject) {
  return reload_all(subject, false);
}

Outcome reads_candidate_in_reload_only(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  exercise(bench, {.quiet_ms = 500});
  if (can_reload(bench, bench.subject())) {
    bench.subject().reload_prepare(bench.subject().wanted().options);
    bench.subject().reload_finish(false);
    bench.run(2'000);
  }
  for (const sim::BreachNote& note : bench.breaches()) {
    if (note.breach == sim::Breach::kCandidate) {
      return failed(note.text, "CM_CONFIG_CANDIDATE between reload_prepare and reload_finish only",
                    "read CM_CONFIG_ACTIVE everywhere else");
    }
  }
  return ok();
}

Outcome does_not_grow_with_reloads(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  if (!can_reload(bench, bench.subject())) {
    return skipped("it has no reload functions");
  }
  const sim::Holdings before = bench.subject().holdings();
  for (int i = 0; i < kReloads; ++i) {
    progress("reload " + std::to_string(i + 1));
    if (bench.subject().reload_prepare(bench.subject().wanted().options) == CM_OK) {
      bench.subject().reload_finish(true);
    } else {
      bench.subject().reload_finish(false);
    }
    bench.run(50);
  }
  const sim::Holdings after = bench.subject().holdings();
  return after.total() < before.total() + kReloads / 2
             ? ok()
             : failed("after " + std::to_string(kReloads) + " reloads it holds " + after.text() + ", before them " +
                          before.text(),
                      "the same however often it is reloaded", "replace what the last reload made");
}

constexpr Check kChecks[] = {
    {"configuration.works_with_defaults", 13, "It starts with required options only.", works_with_defaults},
    {"configuration.accepts_every_good_value",
     13,
     "With each option at its limits, each choice, empty and odd texts, it works or says why not.",
     accepts_every_good_value,
     {},
     30'000},
    {"configuration.refuses_bad_values",
     13,
     "Values of a wrong type or beyond the range are refused by the schema.",
     refuses_bad_values,
     {},
     30'000},
    {"configuration.refuses_typing_errors",
     13,
     "A misspelt option never means another one.",
     refuses_typing_errors,
     {},
     30'000},
    {"configuration.reads_declared_options", 13, "It reads declared options only, with their type.",
     reads_declared_options},
    {"configuration.hides_secrets", 13, "Secrets reach no log and no error.", hides_secrets},
    {"configuration.pairs_reload_functions", 13, "It has both reload functions, or none.", pairs_reload_functions},
    {"configuration.reloads_and_commits",
     13,
     "Each reloadable option can be changed while it runs.",
     reloads_and_commits,
     {},
     30'000},
    {"configuration.reloads_and_aborts", 13, "An aborted reload changes nothing.", reloads_and_aborts, {}, 30'000},
    {"configuration.reads_candidate_in_reload_only", 13, "New options are read within a reload only.",
     reads_candidate_in_reload_only},
    {"configuration.does_not_grow_with_reloads", 13, "Many reloads leave nothing behind.", does_not_grow_with_reloads},
};

}  // namespace

std::span<const Check> configuration_checks() {
  return kChecks;
}

}  // namespace cm::checker
