#include "plugins/ws_broker/src/ext_facts.hpp"

#include <algorithm>

#include "plugins/ws_broker/src/store.hpp"

namespace cm::broker {

namespace {

std::uint32_t role_flags(const Member& member) {
  const bool owner = member.pubkey == member.mesh->owner_pubkey;
  const bool admin = owner || member.role == "admin";
  return (owner ? CM_BROKER_OWNER : 0) | (admin ? CM_BROKER_ADMIN : 0);
}

}  // namespace

SenderFacts::SenderFacts(const Presence& presence) : groups_(groups_json(presence.groups)) {
  const Member& member = *presence.member;
  view_.size = sizeof(view_);
  view_.flags = role_flags(member) | (presence.kind == PresenceKind::kSession ? CM_BROKER_SESSION : 0) |
                (presence.online() ? CM_BROKER_ONLINE : 0) | (presence.visible ? CM_BROKER_VISIBLE : 0) |
                (presence.acknowledges ? CM_BROKER_ACKNOWLEDGES : 0);
  view_.presence = presence.number;
  view_.mesh_id = to_hview(presence.mesh->id);
  view_.mesh_slug = to_hview(presence.mesh->slug);
  view_.member_id = to_hview(member.id);
  view_.member_pubkey = to_hview(member.pubkey);
  view_.member_name = to_hview(member.display_name);
  view_.session_pubkey = to_hview(presence.session_key);
  view_.session_id = to_hview(presence.session_id);
  view_.presence_id = to_hview(presence.id);
  view_.display_name = to_hview(presence.display_name);
  view_.groups_json = to_hview(groups_);
  view_.features_json = to_hview(presence.features_json);
}

MemberFacts::MemberFacts(const Member& member) : groups_(groups_json(member.default_groups)) {
  const bool online = std::any_of(member.presences.begin(), member.presences.end(),
                                  [](const Presence* presence) { return presence->online(); });
  view_.size = sizeof(view_);
  view_.flags = role_flags(member) | (online ? CM_BROKER_ONLINE : 0);
  view_.mesh_id = to_hview(member.mesh->id);
  view_.member_id = to_hview(member.id);
  view_.member_pubkey = to_hview(member.pubkey);
  view_.name = to_hview(member.display_name);
  view_.groups_json = to_hview(groups_);
  view_.joined_unix_ms = member.joined_at_ms;
  view_.revoked_unix_ms = member.revoked_at_ms.value_or(0);
}

cm_broker_mesh mesh_facts(const Mesh& mesh) {
  cm_broker_mesh facts = {};
  facts.size = sizeof(facts);
  facts.mesh_id = to_hview(mesh.id);
  facts.slug = to_hview(mesh.slug);
  facts.name = to_hview(mesh.name);
  facts.owner_pubkey = to_hview(mesh.owner_pubkey);
  facts.members = mesh.active_by_key.size();
  facts.presences = mesh.presences.size();
  return facts;
}

bool is_alive(const HostApi& host, cm_handle instance) {
  const cm_callback nothing = [](void*) noexcept {};
  return host.loop_table()->post(host.self(), instance, nothing, nothing, nullptr) == CM_OK;
}

}  // namespace cm::broker
