// A refused command line, explained: what was found, what is expected, the nearest verb.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <numeric>

#include "cli/output.hpp"
#include "cli/verbs.hpp"
#include "protocol/invite.hpp"

namespace cm::cli {

namespace {

constexpr std::size_t kSlipMax = 3;  // more edits than this are another word, not a slip

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

// The innermost verb of the command line that was understood.
const CLI::App* innermost(const CLI::App& app, std::string& words) {
  const CLI::App* current = &app;
  words = app.get_name();
  for (auto parsed = current->get_subcommands(); !parsed.empty(); parsed = current->get_subcommands()) {
    current = parsed.front();
    words += " " + current->get_name();
  }
  return current;
}

std::vector<std::string> verbs_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(verb->get_name());
    for (const std::string& alias : verb->get_aliases()) {
      names.push_back(alias);
    }
  }
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : ", ") + word;
  }
  return text;
}

bool has_own_code(const std::string& words) {
  for (const char* verb : {"daemon", "run", "check", "plugin"}) {
    if (words.starts_with("claudemesh " + std::string(verb))) {
      return true;
    }
  }
  return false;
}

Failure explain(const CLI::App& verb, const std::string& words, const CLI::ParseError& error) {
  const std::vector<std::string> left = verb.remaining();
  const std::vector<std::string> verbs = verbs_of(verb);
  Failure failure{ExitCode::kUsage, printable(error.what()), "the arguments of `" + words + "`",
                  "see `" + words + " --help`"};
  if (!left.empty() && protocol::is_invite_url(left.front())) {
    // The link is not repeated: whoever reads it can join.
    return {ExitCode::kUsage, "an invite link without a command", "`claudemesh join <link>`", "type join before it"};
  }
  if (!left.empty() && !left.front().starts_with("-") && !verbs.empty()) {
    const std::string near = nearest_word(left.front(), verbs);
    failure.found = "Unknown command: " + printable(left.front());
    failure.expected = "one of " + joined(verbs);
    failure.next = near.empty() ? "run `" + words + " --help` for usage"
                                : "did you mean `" + words + " " + near + "`? (`" + words + " --help` shows all)";
  } else if (!left.empty()) {
    failure.found = "unknown argument " + printable(left.front());
  } else if (!verbs.empty() && verb.get_require_subcommand_min() > 0 && verb.get_subcommands().empty()) {
    failure.found = "`" + words + "` needs a command";
    failure.expected = "one of " + joined(verbs);
  }
  return failure;
}

}  // namespace

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::min(kSlipMax, std::max<std::size_t>(1, word.size() / 2)) + 1;
  for (const std::string& candidate : candidates) {
    // The beginning of a verb is as good as a slip of one letter.
    const std::size_t distance = word.size() >= 2 && candidate.starts_with(word) ? 1 : edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

int report_unwritten(const CLI::App& app, int exit_code, std::ostream& out, std::ostream& err) {
  out.flush();
  if (out.good()) {
    return exit_code;
  }
  std::string words;
  innermost(app, words);
  const Output output{out, err, false, wants_colour(2)};
  const int code = output.fail({ExitCode::kIo, "not all of the output could be written",
                                "a terminal, a file with room, or a reader that stays",
                                "what the command did is done; only its words are lost"});
  return exit_code != 0 ? exit_code : has_own_code(words) ? 1 : code;
}

int report_parse_error(const CLI::App& app, const CLI::ParseError& error, std::ostream& out, std::ostream& err) {
  if (error.get_exit_code() == 0) {
    return app.exit(error, out, err);
  }
  std::string words;
  const CLI::App* verb = innermost(app, words);
  const Output output{out, err, false, wants_colour(2)};
  const int code = output.fail(explain(*verb, words, error));
  return has_own_code(words) ? 2 : code;
}

}  // namespace cm::cli
