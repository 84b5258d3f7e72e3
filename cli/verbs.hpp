// The verbs of this room, for the composition root.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace cm::cli {

// Registers every verb; the callback of the one that was given sets `exit_code`.
void add_verbs(CLI::App& app, int& exit_code);

// What to print for a command line that CLI11 refused, and the exit code: help and version print on `out` and give 0; a
// wrong command line gives 3 with a three-part text on `err` that names the nearest verb (2 below `daemon`, `run`,
// `check` and `plugin`, whose own code for it that is).
int report_parse_error(const CLI::App& app, const CLI::ParseError& error, std::ostream& out, std::ostream& err);

// Flushes `out` and says when not all of it could be written: a full disk behind `>` must not look like success.
// Answers `exit_code`, or when that is 0 and something is missing 10 (1 below the verbs with codes of their own).
int report_unwritten(const CLI::App& app, int exit_code, std::ostream& out, std::ostream& err);

// The candidate with the smallest edit distance, if it is near enough to be a slip; empty otherwise.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace cm::cli
