#include <algorithm>

#include "plugins/ws_broker/src/member_queue.hpp"

namespace cm::broker {

Member::Member() = default;
Member::~Member() = default;

std::string_view to_string(PresenceKind kind) {
  return kind == PresenceKind::kSession ? "session" : "control-plane";
}

const std::string& Presence::routing_key() const noexcept {
  return session_key.empty() ? member->pubkey : session_key;
}

bool Presence::in_group(std::string_view name) const noexcept {
  return std::any_of(groups.begin(), groups.end(),
                     [name](const protocol::GroupMembership& group) { return group.name == name; });
}

}  // namespace cm::broker
