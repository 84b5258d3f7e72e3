// One seeded run: members send to each other while nodes crash, links break, disks fill and clocks jump; then
// everything heals, and every inbox is compared with what was accepted.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace cm::sim {

struct ScenarioOptions {
  std::uint64_t seed = 1;
  std::uint32_t steps = 40;  // actions of members and faults
  std::uint32_t members = 3;
  std::string broker_plugin = "ws_broker";
  std::string daemon_plugin = "peer_daemon";
  std::function<void(std::string_view)> trace;
};

struct ScenarioReport {
  std::uint64_t seed = 0;
  std::vector<std::string> violations;  // empty: all contracts held
  std::uint64_t messages_accepted = 0;
  std::uint64_t messages_refused = 0;
  std::uint64_t crashes = 0;
  std::uint64_t partitions = 0;
  std::uint64_t events = 0;
  std::uint64_t virtual_ms = 0;
};

// Runs to the end; never throws. A world that cannot be set up is a violation too.
ScenarioReport run_scenario(const ScenarioOptions& options);

}  // namespace cm::sim
