#include "plugins/ws_broker/src/registry.hpp"

#include <algorithm>

namespace cm::broker {

namespace {

void erase_from(std::unordered_multimap<std::string, Presence*>& index, const std::string& key,
                const Presence& presence) {
  const auto [begin, end] = index.equal_range(key);
  const auto found = std::find_if(begin, end, [&](const auto& entry) { return entry.second == &presence; });
  if (found != end) {
    index.erase(found);
  }
}

}  // namespace

Presence& Registry::add(std::unique_ptr<Presence> presence) {
  Presence& added = *presence;
  added.number = next_number_++;
  Mesh& mesh = *added.mesh;
  if (!added.session_key.empty()) {
    mesh.by_session_key.emplace(added.session_key, &added);
  }
  mesh.by_session_id.emplace(added.session_id, &added);
  added.member->presences.push_back(&added);
  mesh.presences.emplace(added.number, std::move(presence));
  by_number_.emplace(added.number, &added);
  return added;
}

std::unique_ptr<Presence> Registry::remove(Presence& presence) {
  Mesh& mesh = *presence.mesh;
  if (!presence.session_key.empty()) {
    erase_from(mesh.by_session_key, presence.session_key, presence);
  }
  erase_from(mesh.by_session_id, presence.session_id, presence);
  std::erase(presence.member->presences, &presence);
  const auto found = mesh.presences.find(presence.number);
  std::unique_ptr<Presence> owned = std::move(found->second);
  mesh.presences.erase(found);
  by_number_.erase(owned->number);
  owned->lease.evict();
  return owned;
}

Presence* Registry::find(std::uint64_t number) const noexcept {
  const auto found = by_number_.find(number);
  return found == by_number_.end() ? nullptr : found->second;
}

void Registry::set_session_id(Presence& presence, std::string session_id) {
  erase_from(presence.mesh->by_session_id, presence.session_id, presence);
  presence.session_id = std::move(session_id);
  presence.mesh->by_session_id.emplace(presence.session_id, &presence);
}

Presence* Registry::reattachable(Mesh&, const Member& member, std::string_view session_key,
                                 std::string_view session_id) {
  for (Presence* presence : member.presences) {
    const bool same = session_key.empty() ? presence->session_key.empty() && presence->session_id == session_id
                                          : presence->session_key == session_key;
    if (same && !presence->online()) {
      return presence;
    }
  }
  return nullptr;
}

Presence* Registry::session_presence(Mesh&, const Member& member, std::string_view session_key) {
  for (Presence* presence : member.presences) {
    if (presence->session_key == session_key) {
      return presence;
    }
  }
  return nullptr;
}

std::vector<Presence*> Registry::with_session_id(Mesh& mesh, const Member& member, std::string_view session_id) {
  std::vector<Presence*> found;
  const auto [begin, end] = mesh.by_session_id.equal_range(std::string(session_id));
  for (auto entry = begin; entry != end; ++entry) {
    if (entry->second->member == &member) {
      found.push_back(entry->second);
    }
  }
  return found;
}

Presence* Registry::by_session_key(Mesh& mesh, std::string_view session_key) {
  Presence* best = nullptr;
  const auto [begin, end] = mesh.by_session_key.equal_range(std::string(session_key));
  for (auto entry = begin; entry != end; ++entry) {
    Presence* presence = entry->second;
    const bool better = best == nullptr ||
                        (presence->kind == PresenceKind::kSession && best->kind != PresenceKind::kSession) ||
                        (presence->kind == best->kind && presence->number < best->number);
    if (better) {
      best = presence;
    }
  }
  return best;
}

void Registry::for_each(Mesh& mesh, const std::function<void(Presence&)>& function) {
  for (const auto& [number, presence] : mesh.presences) {
    function(*presence);
  }
}

}  // namespace cm::broker
