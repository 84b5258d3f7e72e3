// `claudemesh sim`: seeded runs of a simulated mesh.
#pragma once

namespace CLI {
class App;
}

namespace cm::sim {

// Registers the verb; its callback sets `exit_code`: 0 all contracts held, 1 a violation, 3 wrong arguments.
void add_verbs(CLI::App& app, int& exit_code);

}  // namespace cm::sim
