#include "plugins/ws_broker/src/mesh_cache.hpp"

#include <unordered_map>

#include "plugins/ws_broker/src/member_queue.hpp"

namespace cm::broker {

void MeshCache::load(LoadedState state) {
  for (auto& mesh : state.meshes) {
    add(std::move(mesh));
  }
  std::unordered_map<std::string_view, Member*> members;
  for (MemberRow& row : state.members) {
    if (Mesh* mesh = find(row.mesh_id)) {
      Member& member = add_member(*mesh, std::move(row.member));
      members.emplace(member.id, &member);
    }
  }
  for (InviteRow& row : state.invites) {
    if (Mesh* mesh = find(row.mesh_id)) {
      add_invite(*mesh, std::move(row.invite));
    }
  }
  const auto member_of = [&](std::string_view id) {
    const auto found = members.find(id);
    return found == members.end() ? nullptr : found->second;
  };
  for (PeerStateRow& row : state.peer_states) {
    if (Member* member = member_of(row.member_id)) {
      member->peer_state = std::move(row.state);
    }
  }
  for (SessionKeyRow& row : state.session_keys) {
    Mesh* mesh = find(row.mesh_id);
    Member* member = member_of(row.member_id);
    if (mesh != nullptr && member != nullptr) {
      mesh->session_keys[row.pubkey] = SessionKey{member, row.last_seen_at_ms, row.last_seen_at_ms};
    }
  }
  for (const std::string& id : state.waiting_members) {
    if (Member* member = member_of(id)) {
      member->may_have_rows = true;
    }
  }
}

Mesh* MeshCache::find(std::string_view mesh_id) {
  const auto found = meshes_.find(mesh_id);
  return found == meshes_.end() || found->second->archived_at_ms ? nullptr : found->second.get();
}

Mesh* MeshCache::find_by_id_or_slug(std::string_view text) {
  if (Mesh* mesh = find(text)) {
    return mesh;
  }
  for (const auto& [id, mesh] : meshes_) {
    if (mesh->slug == text && !mesh->archived_at_ms) {
      return mesh.get();
    }
  }
  return nullptr;
}

bool MeshCache::slug_taken(std::string_view slug) const {
  for (const auto& [id, mesh] : meshes_) {
    if (mesh->slug == slug) {
      return true;
    }
  }
  return false;
}

Mesh& MeshCache::add(std::unique_ptr<Mesh> mesh) {
  std::string id = mesh->id;
  return *meshes_.insert_or_assign(std::move(id), std::move(mesh)).first->second;
}

Member& MeshCache::add_member(Mesh& mesh, std::unique_ptr<Member> member) {
  Member& added = *member;
  added.mesh = &mesh;
  mesh.members.insert_or_assign(added.id, std::move(member));
  if (added.active()) {
    mesh.active_by_key[added.pubkey] = &added;
  }
  return added;
}

Invite& MeshCache::add_invite(Mesh& mesh, std::unique_ptr<Invite> invite) {
  mesh.invites.push_back(std::move(invite));
  return *mesh.invites.back();
}

void MeshCache::set_revoked(Member& member, std::optional<std::int64_t> at_ms) {
  member.revoked_at_ms = at_ms;
  auto& index = member.mesh->active_by_key;
  if (!at_ms) {
    index[member.pubkey] = &member;
    return;
  }
  const auto found = index.find(member.pubkey);
  if (found != index.end() && found->second == &member) {
    index.erase(found);
  }
}

Member* MeshCache::active_member(Mesh& mesh, std::string_view pubkey) {
  const auto found = mesh.active_by_key.find(std::string(pubkey));
  return found == mesh.active_by_key.end() ? nullptr : found->second;
}

Member* MeshCache::revoked_member(Mesh& mesh, std::string_view pubkey) {
  Member* latest = nullptr;
  for (const auto& [id, member] : mesh.members) {
    const bool candidate = !member->active() && member->pubkey == pubkey;
    if (candidate && (latest == nullptr || *member->revoked_at_ms > *latest->revoked_at_ms)) {
      latest = member.get();
    }
  }
  return latest;
}

MeshCache::FoundInvite MeshCache::find_invite(std::string_view token) const {
  for (const auto& [id, mesh] : meshes_) {
    for (const auto& invite : mesh->invites) {
      if (invite->token == token) {
        return {mesh.get(), invite.get()};
      }
    }
  }
  return {};
}

Invite* MeshCache::find_invite(Mesh& mesh, std::string_view text) {
  for (const auto& invite : mesh.invites) {
    if (invite->id == text || invite->code == text || invite->token == text) {
      return invite.get();
    }
  }
  return nullptr;
}

std::size_t MeshCache::forget_sessions(Mesh& mesh, std::int64_t before_ms) {
  return std::erase_if(mesh.session_keys,
                       [before_ms](const auto& entry) { return entry.second.last_seen_at_ms < before_ms; });
}

}  // namespace cm::broker
