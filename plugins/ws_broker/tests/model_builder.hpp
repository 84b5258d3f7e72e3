// Small meshes for unit tests: members and presences without a host.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "plugins/ws_broker/src/member_queue.hpp"
#include "plugins/ws_broker/src/mesh_cache.hpp"
#include "plugins/ws_broker/src/registry.hpp"

namespace cm::broker::test {

// 64 hex characters that differ per name.
inline std::string key_of(char character) {
  return std::string(64, character);
}

class TestMesh {
 public:
  TestMesh() {
    auto fresh = std::make_unique<Mesh>();
    fresh->id = "mesh";
    fresh->slug = "mesh";
    mesh = &cache.add(std::move(fresh));
  }

  Member& member(const std::string& id, const std::string& key, std::vector<std::string> groups = {}) {
    auto fresh = std::make_unique<Member>();
    fresh->id = id;
    fresh->pubkey = key;
    fresh->display_name = id;
    for (std::string& group : groups) {
      fresh->default_groups.push_back({std::move(group), std::nullopt});
    }
    return cache.add_member(*mesh, std::move(fresh));
  }

  Presence& presence(Member& member, const std::string& session_key = {}, const std::string& session_id = {},
                     PresenceKind kind = PresenceKind::kControlPlane) {
    auto fresh = std::make_unique<Presence>(++connections, 0, protocol::LeaseTimes());
    fresh->mesh = mesh;
    fresh->member = &member;
    fresh->kind = kind;
    fresh->session_key = session_key;
    fresh->session_id = session_id;
    fresh->display_name = member.display_name;
    return registry.add(std::move(fresh));
  }

  MeshCache cache;
  Registry registry;
  Mesh* mesh = nullptr;
  std::uint64_t connections = 0;
};

inline MessagePtr message(std::int64_t seq, const std::string& target, const std::string& sender_member = "alice",
                          const std::string& client_id = {}) {
  auto fresh = std::make_shared<Message>();
  fresh->seq = seq;
  fresh->id = "message-" + std::to_string(seq);
  fresh->mesh_id = "mesh";
  fresh->sender_member_id = sender_member;
  fresh->sender_pubkey = key_of('a');
  fresh->target_spec = target;
  fresh->nonce = "nonce";
  fresh->ciphertext = "ciphertext";
  fresh->client_message_id = client_id;
  return fresh;
}

}  // namespace cm::broker::test
