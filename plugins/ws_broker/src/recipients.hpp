// Who gets a message: the audience is fixed here, at acceptance, and never grows afterwards. Pure: reads the caches
// only.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "plugins/ws_broker/src/model.hpp"

namespace cm::broker {

struct RouteInput {
  Mesh* mesh = nullptr;
  const Presence* sender = nullptr;
  std::string_view target_spec;
  std::int64_t wall_ms = 0;
  std::int64_t session_retention_ms = 0;
};

enum class RouteFault : std::uint8_t {
  kNone,
  kNoPeer,  // nobody has this key, or it is the sender's own and there is no other session
  kTopic,   // topics are not served by this broker
};

struct Route {
  RouteFault fault = RouteFault::kNone;
  bool multicast = false;
  std::vector<Recipient> recipients;  // one entry per member; may be empty for multicasts
};

// A member's key: that member, connected or not. A session key: the member that has it, if a presence or a remembered
// session of this mesh has it. `*`, `@all`: every other member. `@group`: every other member with a presence in the
// group or with the group among its defaults. Names and prefixes match nobody: clients resolve them.
Route find_route(const RouteInput& input);

}  // namespace cm::broker
