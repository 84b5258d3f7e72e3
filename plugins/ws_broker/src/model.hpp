// What the broker knows: meshes, members, presences, messages. Plain data; the owners are MeshCache (meshes, members,
// invites) and Registry (presences). All of it lives on the broker's loop; a Message is immutable once it is shared.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "plugins/ws_broker/src/status.hpp"
#include "protocol/fingerprint.hpp"
#include "protocol/json.hpp"
#include "protocol/lease.hpp"
#include "protocol/target.hpp"
#include "protocol/wire_messages.hpp"

namespace cm::broker {

struct Mesh;
struct Presence;
struct MemberQueue;
class Connection;

// What a member's next hello gets back (wire/04 section 7).
struct PeerState {
  std::vector<protocol::GroupMembership> groups;
  protocol::JsonValue profile;  // an object
  bool visible = true;
  std::string last_summary;
  std::string last_display_name;
  protocol::RestoredStats stats;
  std::int64_t last_seen_at_ms = 0;
};

// Never destroyed while the broker runs, so that pointers stay valid; a ban sets revoked_at_ms.
struct Member {
  Member();
  ~Member();
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  std::string id;
  Mesh* mesh = nullptr;
  std::string pubkey;  // as enrolled; compared byte by byte
  std::string display_name;
  std::string role;  // "admin" or "member"
  std::string role_tag;
  std::vector<protocol::GroupMembership> default_groups;
  std::string message_mode = "push";
  std::int64_t joined_at_ms = 0;
  std::optional<std::int64_t> revoked_at_ms;
  std::optional<PeerState> peer_state;

  std::vector<Presence*> presences;    // online and in grace, in the order of their hellos
  std::unique_ptr<MemberQueue> queue;  // exists while a presence is online
  std::size_t open_acks = 0;           // acknowledgements of rows that are not in the queue, on their way to the store
  bool may_have_rows = false;          // undelivered rows may be in the store that are not in the queue

  bool active() const noexcept { return !revoked_at_ms.has_value(); }
};

struct Invite {
  std::string id;
  std::string code;
  std::string token;
  std::string role;
  std::int64_t max_uses = 1;
  std::int64_t used_count = 0;
  std::int64_t expires_at_ms = 0;
  std::int64_t created_at_ms = 0;
  std::optional<std::int64_t> revoked_at_ms;
};

// A launched session that the mesh has seen; messages to its key are kept for it.
struct SessionKey {
  Member* member = nullptr;
  std::int64_t last_seen_at_ms = 0;
  std::int64_t stored_at_ms = 0;  // the time that the store has
};

struct Mesh {
  std::string id;
  std::string slug;
  std::string name;
  std::string owner_pubkey;
  std::string owner_secret_key;  // secret: hex128, never leaves the database and this struct
  std::string root_key;          // secret: travels in invite tokens only
  std::string self_editable_json;
  std::int64_t created_at_ms = 0;
  std::optional<std::int64_t> archived_at_ms;

  std::map<std::string, std::unique_ptr<Member>, std::less<>> members;  // by id
  std::unordered_map<std::string, Member*> active_by_key;
  std::vector<std::unique_ptr<Invite>> invites;
  std::unordered_map<std::string, SessionKey> session_keys;

  // Owned by Registry, which keeps the four in step. Keys of `presences` are the order of the hellos.
  std::map<std::uint64_t, std::unique_ptr<Presence>> presences;
  std::unordered_multimap<std::string, Presence*> by_session_key;
  std::unordered_multimap<std::string, Presence*> by_session_id;
};

enum class PresenceKind : std::uint8_t { kControlPlane, kSession };
std::string_view to_string(PresenceKind kind);  // the words of `peerRole`

// One authenticated connection, or the grace time after it.
struct Presence {
  Presence(std::uint64_t first_connection, std::int64_t now_ms, const protocol::LeaseTimes& times)
      : lease(first_connection, now_ms, times) {}

  std::uint64_t number = 0;  // order of the hellos
  std::string id;
  Mesh* mesh = nullptr;
  Member* member = nullptr;
  PresenceKind kind = PresenceKind::kControlPlane;
  std::string session_key;  // hex64, or empty
  std::string session_id;
  std::string display_name;
  std::string cwd;
  std::optional<std::string> hostname;
  std::optional<std::string> peer_type;
  std::optional<std::string> channel;
  std::optional<std::string> model;
  std::optional<std::string> summary;
  std::optional<std::string> stats_json;
  std::string features_json;  // what was negotiated; empty: nothing
  protocol::RestoredStats stats;
  std::vector<protocol::GroupMembership> groups;
  protocol::JsonValue profile;
  bool visible = true;
  bool stats_seeded = false;  // the client continues the totals that its hello_ack restored
  bool acknowledges = false;  // a client that confirms what it has stored
  bool congested = false;     // its socket holds too many unsent bytes
  ActivityState activity;
  std::int64_t connected_at_ms = 0;
  protocol::Lease lease;
  Connection* connection = nullptr;  // null in the grace time

  // Where messages for this presence are addressed: the session key if there is one.
  const std::string& routing_key() const noexcept;
  bool online() const noexcept { return connection != nullptr; }
  bool in_group(std::string_view name) const noexcept;
};

// A message as it was accepted. Frozen: redelivery repeats exactly this.
struct Message {
  std::int64_t seq = 0;
  std::string id;
  std::string mesh_id;
  std::string sender_member_id;
  std::string sender_pubkey;
  std::string target_spec;
  protocol::Priority priority = protocol::Priority::kNext;
  std::string nonce;
  std::string ciphertext;
  std::string client_message_id;    // empty: none
  std::string request_fingerprint;  // as the client gave it; empty: none
  std::int64_t created_at_ms = 0;
  std::uint64_t sender_presence = 0;  // not stored: the presence that must not get its own message; 0: unknown

  std::size_t bytes() const noexcept { return sizeof(Message) + ciphertext.size() + nonce.size() + 256; }
};
using MessagePtr = std::shared_ptr<const Message>;

// One delivery row. An empty key: any connection of the member may take it.
struct Recipient {
  Member* member = nullptr;
  std::string key;
};

// What the store remembers of a client message id.
struct DedupeRecord {
  std::string sender_member_id;
  std::string broker_message_id;
  protocol::Fingerprint fingerprint{};
  std::int64_t first_seen_at_ms = 0;
  bool history_available = true;
};

}  // namespace cm::broker
