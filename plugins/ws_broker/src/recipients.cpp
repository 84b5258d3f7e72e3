#include "plugins/ws_broker/src/recipients.hpp"

#include <algorithm>

#include "plugins/ws_broker/src/mesh_cache.hpp"
#include "plugins/ws_broker/src/registry.hpp"

namespace cm::broker {

namespace {

Route no_peer() {
  Route route;
  route.fault = RouteFault::kNoPeer;
  return route;
}

Route to_one(Member& member, std::string_view key) {
  Route route;
  route.recipients.push_back(Recipient{&member, std::string(key)});
  return route;
}

// The member that a session key belongs to. A session that proved its key (session_hello, now or earlier) comes before
// a connection that only claimed it in its hello.
Member* session_owner(const RouteInput& input) {
  const Presence* presence = Registry::by_session_key(*input.mesh, input.target_spec);
  if (presence != nullptr && presence->kind == PresenceKind::kSession) {
    return presence->member;
  }
  const auto known = input.mesh->session_keys.find(std::string(input.target_spec));
  const bool remembered = known != input.mesh->session_keys.end() && known->second.member->active() &&
                          known->second.last_seen_at_ms + input.session_retention_ms > input.wall_ms;
  if (remembered) {
    return known->second.member;
  }
  return presence == nullptr ? nullptr : presence->member;
}

Route find_direct(const RouteInput& input) {
  const Presence& sender = *input.sender;
  if (input.target_spec == sender.session_key) {
    return no_peer();
  }
  if (input.target_spec == sender.member->pubkey) {
    // Only another presence of the member can get it; one that is there now, as with 1.37.0.
    return sender.member->presences.size() > 1 ? to_one(*sender.member, "") : no_peer();
  }
  if (Member* member = MeshCache::active_member(*input.mesh, input.target_spec)) {
    return to_one(*member, "");
  }
  Member* owner = session_owner(input);
  return owner == nullptr ? no_peer() : to_one(*owner, input.target_spec);
}

bool has_group(const Member& member, std::string_view name) {
  const auto same = [name](const protocol::GroupMembership& group) { return group.name == name; };
  return std::any_of(member.default_groups.begin(), member.default_groups.end(), same) ||
         std::any_of(member.presences.begin(), member.presences.end(),
                     [name](const Presence* presence) { return presence->in_group(name); });
}

}  // namespace

Route find_route(const RouteInput& input) {
  const protocol::TargetSpec target = protocol::classify_target(input.target_spec);
  if (target.kind == protocol::TargetKind::kKey) {
    return find_direct(input);
  }
  if (target.kind == protocol::TargetKind::kName) {
    return no_peer();
  }
  Route route;
  if (target.kind == protocol::TargetKind::kTopic) {
    route.fault = RouteFault::kTopic;
    return route;
  }
  route.multicast = true;
  for (const auto& [key, member] : input.mesh->active_by_key) {
    const bool addressed = target.kind == protocol::TargetKind::kBroadcast || has_group(*member, target.value);
    if (member != input.sender->member && addressed) {
      route.recipients.push_back(Recipient{member, {}});
    }
  }
  return route;
}

}  // namespace cm::broker
