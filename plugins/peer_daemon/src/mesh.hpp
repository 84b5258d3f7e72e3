// One joined mesh at run time: the member's keys, its links and what is known of its peers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "plugins/peer_daemon/src/config_file.hpp"
#include "plugins/peer_daemon/src/identity_links.hpp"
#include "plugins/peer_daemon/src/peer_directory.hpp"
#include "protocol/box.hpp"
#include "protocol/keys.hpp"

namespace cm::daemon {

// Keeps the secret key and zeroes it when it goes.
class Mesh {
 public:
  // `record` was checked by parse_config. `key` belongs to record.pubkey.
  Mesh(const HostApi& host, const std::vector<Transport>& transports, LinkOwner& owner, MeshRecord record,
       protocol::SecretKey key)
      : record_(std::move(record)),
        key_(std::move(key)),
        sealer_(key_),
        opener_(key_),
        links_(host, transports, owner, LaneKey{record_.slug, {}}, key_, nullptr),
        peers_(host, links_) {
    record_.secret_key.wipe();
    record_.root_key.wipe();
  }
  Mesh(const Mesh&) = delete;
  Mesh& operator=(const Mesh&) = delete;
  // Requests that wait are answered while everything that they refer to still lives.
  ~Mesh() { links_.close(); }

  const std::string& slug() const noexcept { return record_.slug; }
  const MeshRecord& record() const noexcept { return record_; }
  const protocol::SecretKey& key() const noexcept { return key_; }
  protocol::BoxSealer& sealer() noexcept { return sealer_; }
  protocol::BoxOpener& opener() noexcept { return opener_; }
  IdentityLinks& links() noexcept { return links_; }
  const IdentityLinks& links() const noexcept { return links_; }
  PeerDirectory& peers() noexcept { return peers_; }

  // The same membership at the same broker: a reload leaves it alone.
  bool same_as(const MeshRecord& other) const {
    return record_.mesh_id == other.mesh_id && record_.member_id == other.member_id && record_.pubkey == other.pubkey &&
           record_.broker_url == other.broker_url;
  }

 private:
  MeshRecord record_;  // without its secrets
  protocol::SecretKey key_;
  protocol::BoxSealer sealer_;
  protocol::BoxOpener opener_;
  IdentityLinks links_;
  PeerDirectory peers_;
};

}  // namespace cm::daemon
