// `claudemesh plugin check`.
#pragma once

namespace CLI {
class App;
}

namespace cm::checker {

// Adds the verb to `plugin`, the subcommand of that name. When it was given, parsing runs it and stores 0 (nothing
// failed), 1 (something failed) or 2 (wrong arguments) in `exit_code`, which must outlive the parsing.
void add_check_verb(CLI::App& plugin, int& exit_code);

}  // namespace cm::checker
