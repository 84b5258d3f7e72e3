// Who was seen in each mesh under which name: for messages to members that are offline, and while there is no broker;
// and for messages of members that are offline, which name no sender (1.37.0).
//
// Only names of members are kept, never those of their sessions: a message for a session must not reach all of its
// member. The list of those who are online always goes first; see SendPipeline.
#pragma once

#include <claudemesh/cpp/storage.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "plugins/peer_daemon/src/config_file.hpp"
#include "plugins/peer_daemon/src/target_resolver.hpp"

namespace cm::daemon {

inline constexpr std::size_t kKnownPeersMax = 20'000;                          // of all meshes; beyond it the oldest go
inline constexpr std::int64_t kKnownPeerRetentionMs = 180LL * 24 * 3'600'000;  // not seen for so long: forgotten
inline constexpr std::int64_t kKnownPeerExactMs = 3'600'000;                   // how exact the stored "last seen" is
inline constexpr std::size_t kKnownPeerNameBytesMax = 256;                     // longer names are not kept
inline constexpr std::size_t kKnownCandidates = 8;                             // shown when a name fits several members

struct KnownPeer {
  std::string member_pubkey;
  std::string name;
  std::int64_t last_seen_ms = 0;
};

// The one member among `matches`, which may hold a member several times. kGone: nobody; kInvalid: several, the text
// names them with their keys. Pure.
Result<std::string> resolve_known(const ParsedTarget& target, const std::vector<KnownPeer>& matches);

// All functions are called on the daemon's loop; answers come back there.
class KnownPeers {
 public:
  using Done = std::function<void(Result<std::vector<KnownPeer>>)>;

  static std::vector<SqlMigration> migrations();
  // Before anything else. `storage` must outlive it. `dropped` counts names that found no place.
  void bind(const HostApi& host, StorageClient& storage, Metric dropped);
  // Reads the names that name_of answers; once, before anything is received. kIo and the like: it knows none yet.
  void load(std::function<void(const Status&)> done);

  // Remembers the members among `peers`; rows of sessions and of ourselves are passed over. Written later, and not
  // waited for: what a crash loses is seen again.
  void seen(const MeshRecord& mesh, const std::vector<PeerView>& peers);
  // Members that fit a name or a prefix of a key, the one seen last first; at most kKnownCandidates + 1.
  void find(std::string mesh_id, const ParsedTarget& target, Done done);
  // The name that a member was last seen under; empty: none is known. Valid until the next call of seen or load.
  std::string_view name_of(const std::string& mesh_id, const std::string& member_pubkey) const;
  void prune();

 private:
  struct Statements {
    cm_statement put = 0;
    cm_statement newest = 0;
    cm_statement by_name = 0;
    cm_statement by_key = 0;
    cm_statement forget_old = 0;
    cm_statement forget_many = 0;
  };
  using Key = std::tuple<std::string, std::string, std::string>;  // mesh id, member key, folded name
  using Member = std::pair<std::string, std::string>;             // mesh id, member key

  void remember_name(const std::string& mesh_id, const std::string& member_pubkey, std::string_view name);

  const HostApi* host_ = nullptr;
  StorageClient* storage_ = nullptr;
  Metric dropped_;
  Statements statements_;
  std::map<Key, std::int64_t> stored_;   // when each was written last, so that a list that is read often writes nothing
  std::map<Member, std::string> names_;  // at most kKnownPeersMax
};

}  // namespace cm::daemon
