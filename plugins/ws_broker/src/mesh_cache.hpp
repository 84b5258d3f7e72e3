// Meshes, members, invites and session keys in memory: loaded at start, changed together with the store. Nothing on the
// way of a message reads the database for them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "plugins/ws_broker/src/model.hpp"
#include "plugins/ws_broker/src/store.hpp"

namespace cm::broker {

class MeshCache {
 public:
  static constexpr std::size_t kSessionKeysMax = 65'536;  // per mesh

  using Meshes = std::map<std::string, std::unique_ptr<Mesh>, std::less<>>;

  // Rows whose mesh or member is unknown are left out.
  void load(LoadedState state);

  Mesh* find(std::string_view mesh_id);
  // By id, else by slug.
  Mesh* find_by_id_or_slug(std::string_view text);
  bool slug_taken(std::string_view slug) const;
  const Meshes& meshes() const noexcept { return meshes_; }

  Mesh& add(std::unique_ptr<Mesh> mesh);
  Member& add_member(Mesh& mesh, std::unique_ptr<Member> member);
  Invite& add_invite(Mesh& mesh, std::unique_ptr<Invite> invite);
  static void set_revoked(Member& member, std::optional<std::int64_t> at_ms);

  // The active member with exactly that key, or null.
  static Member* active_member(Mesh& mesh, std::string_view pubkey);
  // The member of that key that was revoked last, or null.
  static Member* revoked_member(Mesh& mesh, std::string_view pubkey);
  // In any mesh, by its token.
  struct FoundInvite {
    Mesh* mesh = nullptr;
    Invite* invite = nullptr;
  };
  FoundInvite find_invite(std::string_view token) const;
  // By id, code or token.
  static Invite* find_invite(Mesh& mesh, std::string_view text);
  // Keys not seen since `before_ms` are forgotten; returns how many.
  static std::size_t forget_sessions(Mesh& mesh, std::int64_t before_ms);

 private:
  Meshes meshes_;
};

}  // namespace cm::broker
