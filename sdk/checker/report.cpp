#include "sdk/checker/report.hpp"

#include <boost/json.hpp>

#include <cstdio>
#include <iomanip>
#include <ostream>

namespace cm::checker {
namespace {

namespace json = boost::json;

constexpr const char* kRuleTitles[] = {"",
                                       "freestanding C headers",
                                       "one exported symbol",
                                       "a manifest that is read before loading",
                                       "negotiation of versions and sizes",
                                       "extensions by id and revision",
                                       "permissions are tables",
                                       "thread tags",
                                       "only posts cross threads",
                                       "nothing blocks a loop",
                                       "handles, not pointers",
                                       "ownership is in the type's name",
                                       "errors are codes with a text",
                                       "options are data",
                                       "a strict life cycle that leaves nothing",
                                       "no unloading in production",
                                       "two tiers of isolation",
                                       "explicit discovery of trusted files",
                                       "observability comes from the host",
                                       "built-in equals loadable",
                                       "tools come with the ABI"};

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kFailed:
      return "failed";
    case Verdict::kSkipped:
      return "skipped";
  }
  return "failed";
}

std::string xml(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? '?' : c;
    }
  }
  return result;
}

std::string seconds(std::uint64_t milliseconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", static_cast<double>(milliseconds) / 1000);
  return text;
}

json::object outcome_json(const Outcome& outcome) {
  json::object object;
  object["verdict"] = verdict_name(outcome.verdict);
  if (outcome.verdict == Verdict::kSkipped) {
    object["reason"] = outcome.found;
  } else if (outcome.verdict == Verdict::kFailed) {
    object["found"] = outcome.found;
    object["expected"] = outcome.expected;
    object["remedy"] = outcome.remedy;
  }
  return object;
}

std::string title(const Subject& subject) {
  if (!subject.manifest) {
    return subject.file.filename().string();
  }
  std::string kinds;
  for (const std::string& kind : subject.manifest->kinds) {
    kinds += (kinds.empty() ? "" : ", ") + kind;
  }
  return subject.manifest->id + " " + subject.manifest->version + (kinds.empty() ? "" : " (" + kinds + ")");
}

}  // namespace

Totals count(const std::vector<CheckResult>& results) {
  Totals totals;
  for (const CheckResult& result : results) {
    totals.ok += result.outcome.verdict == Verdict::kOk ? 1U : 0U;
    totals.failed += result.outcome.verdict == Verdict::kFailed ? 1U : 0U;
    totals.skipped += result.outcome.verdict == Verdict::kSkipped ? 1U : 0U;
  }
  return totals;
}

std::string_view rule_title(std::uint32_t rule) noexcept {
  return rule < std::size(kRuleTitles) ? kRuleTitles[rule] : "";
}

void print_header(std::ostream& out, const Subject& subject) {
  out << "checking " << title(subject) << "\n         " << subject.file.string() << "\n";
}

std::string reason_of(const Outcome& outcome) {
  std::string reason = outcome.found.substr(0, outcome.found.find(" while: "));
  // What the configuration lacks: places where it was looked for are different in each check.
  const std::size_t place = reason.find("/check.toml:");
  if (place != std::string::npos) {
    return reason.substr(place, reason.find(", expected", place) - place);
  }
  for (const char* step : {"its create answered", "its configure answered", "its start answered"}) {
    const std::size_t at = reason.find(step);
    if (at != std::string::npos) {
      return reason.substr(at);
    }
  }
  return reason;
}

void print_result(std::ostream& out, const CheckResult& result, std::string_view same_as) {
  const Outcome& outcome = result.outcome;
  switch (outcome.verdict) {
    case Verdict::kOk:
      out << "ok       " << result.check->name << "\n";
      break;
    case Verdict::kSkipped:
      out << "skipped  " << result.check->name << ": " << outcome.found << "\n";
      break;
    case Verdict::kFailed:
      if (!same_as.empty()) {
        out << "FAILED   " << result.check->name << ": for the same reason as " << same_as << "\n";
        break;
      }
      out << "FAILED   " << result.check->name << "\n"
          << "         found:    " << outcome.found << "\n"
          << "         expected: " << outcome.expected << "\n"
          << "         rule " << result.check->rule << ":  " << rule_title(result.check->rule) << "\n"
          << "         to do:    " << outcome.remedy << "\n";
      break;
  }
  out.flush();
}

void print_totals(std::ostream& out, const std::vector<CheckResult>& results, std::uint64_t took_ms) {
  const Totals totals = count(results);
  out << results.size() << " checks in " << seconds(took_ms) << " s: " << totals.ok << " ok, " << totals.failed
      << " failed, " << totals.skipped << " skipped\n";
}

void print_fuzz(std::ostream& out, const FuzzReport& report, const Subject& subject) {
  for (const FuzzFinding& finding : report.findings) {
    out << "FAILED   seed " << finding.seed << "\n"
        << "         found:    " << finding.outcome.found << "\n"
        << "         expected: " << finding.outcome.expected << "\n"
        << "         to do:    " << finding.outcome.remedy << "\n"
        << "         replay:   claudemesh plugin check " << subject.file.string() << " --seed " << finding.seed << "\n";
  }
  out << report.seeds << " random lives, " << report.findings.size() << " findings\n";
}

std::string to_json(const Subject& subject, const std::vector<CheckResult>& results, const FuzzReport* fuzz) {
  json::object root;
  root["file"] = subject.file.string();
  root["plugin"] = subject.manifest ? json::value(subject.manifest->id) : json::value(nullptr);
  root["version"] = subject.manifest ? json::value(subject.manifest->version) : json::value(nullptr);
  json::array checks;
  for (const CheckResult& result : results) {
    json::object object = outcome_json(result.outcome);
    object["name"] = json::string_view(result.check->name.data(), result.check->name.size());
    object["rule"] = result.check->rule;
    object["took_ms"] = result.took_ms;
    checks.push_back(std::move(object));
  }
  const Totals totals = count(results);
  root["checks"] = std::move(checks);
  root["ok"] = totals.ok;
  root["failed"] = totals.failed;
  root["skipped"] = totals.skipped;
  if (fuzz != nullptr) {
    json::array findings;
    for (const FuzzFinding& finding : fuzz->findings) {
      json::object object = outcome_json(finding.outcome);
      object["seed"] = finding.seed;
      findings.push_back(std::move(object));
    }
    root["fuzz"] = {{"lives", fuzz->seeds}, {"findings", std::move(findings)}};
  }
  return json::serialize(root);
}

std::string to_junit(const Subject& subject, const std::vector<CheckResult>& results) {
  const Totals totals = count(results);
  std::uint64_t total_ms = 0;
  std::string cases;
  for (const CheckResult& result : results) {
    total_ms += result.took_ms;
    const std::string name(result.check->name);
    const auto dot = name.find('.');
    cases += "  <testcase classname=\"" + xml(name.substr(0, dot)) + "\" name=\"" + xml(name.substr(dot + 1)) +
             "\" time=\"" + std::to_string(static_cast<double>(result.took_ms) / 1000) + "\"";
    if (result.outcome.verdict == Verdict::kFailed) {
      cases += ">\n    <failure message=\"" + xml(result.outcome.found) +
               "\">expected: " + xml(result.outcome.expected) + "\nrule " + std::to_string(result.check->rule) + ": " +
               xml(rule_title(result.check->rule)) + "\nto do: " + xml(result.outcome.remedy) +
               "</failure>\n  </testcase>\n";
    } else if (result.outcome.verdict == Verdict::kSkipped) {
      cases += ">\n    <skipped message=\"" + xml(result.outcome.found) + "\"/>\n  </testcase>\n";
    } else {
      cases += "/>\n";
    }
  }
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"" + xml(title(subject)) + "\" tests=\"" +
         std::to_string(results.size()) + "\" failures=\"" + std::to_string(totals.failed) + "\" skipped=\"" +
         std::to_string(totals.skipped) + "\" time=\"" + std::to_string(static_cast<double>(total_ms) / 1000) +
         "\">\n" + cases + "</testsuite>\n";
}

void print_list(std::ostream& out) {
  for (const Check& check : all_checks()) {
    out << std::left << std::setw(42) << check.name << " rule " << std::setw(2) << check.rule << "  " << check.says
        << "\n";
  }
  out << all_checks().size() << " checks\n";
}

std::string list_as_markdown() {
  std::string text =
      "# The checks of `claudemesh plugin check`\n\n"
      "Made by `claudemesh plugin check --list --markdown`; do not edit.\n\n"
      "    claudemesh plugin check my_plugin.so                      all checks that apply\n"
      "    claudemesh plugin check my_plugin.so --config values.toml with values for its options\n"
      "    claudemesh plugin check my_plugin.so --only 'faults.*'    some of them\n"
      "    claudemesh plugin check my_plugin.so --only NAME --here   one, in this process, for a debugger\n"
      "    claudemesh plugin check my_plugin.so --fuzz 60            random lives for a minute\n"
      "    claudemesh plugin check my_plugin.so --seed 17            one random life again\n\n"
      "Each check runs in a process of its own, with a time limit, in the simulated host (`sdk/simhost`): no network "
      "and no\n"
      "clock of this machine is used. `storage.is_durable_when_done` alone runs the store in the real host, on files, "
      "and "
      "lets the\npower fail inside `done`. A failure says what was found, what was expected, which rule it is and what "
      "to "
      "do.\n"
      "The exit code is 0 when nothing failed. What fails for a reason that was told before says so in one line, and "
      "after\n"
      "three checks that came to no end the rest is left out. `--json` and `--junit FILE` are for programs.\n\n"
      "`--config` names a TOML file: values of the plugin's options; `[plugins.NAME]` for other plugins that it "
      "needs;\n"
      "`[check]` with `durable = false` for a store that keeps nothing over its end, and `url` for the place that a\n"
      "transport's link opens (default: the checker's own small broker). `${CM_CHECK_DIR}` is an empty folder.\n";
  std::string group;
  for (const Check& check : all_checks()) {
    const std::string name(check.name);
    const std::string own_group = name.substr(0, name.find('.'));
    if (own_group != group) {
      group = own_group;
      text += "\n## " + group + "\n\n" +
              (check.extension.empty() ? "" : "Of plugins that provide `" + std::string(check.extension) + "`.\n\n") +
              "| check | rule | a plugin that passes |\n|---|---|---|\n";
    }
    text += "| `" + name + "` | " + std::to_string(check.rule) + " | " + std::string(check.says) + " |\n";
  }
  return text;
}

}  // namespace cm::checker
