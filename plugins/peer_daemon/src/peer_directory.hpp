// Who is in a mesh: the broker's list, kept for a short while.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "plugins/peer_daemon/src/identity_links.hpp"
#include "plugins/peer_daemon/src/target_resolver.hpp"

namespace cm::daemon {

inline constexpr std::uint64_t kRequestTimeoutMs = 5'000;
inline constexpr std::int64_t kPeersFreshMs = 10'000;   // a join or leave ends it earlier
inline constexpr std::int64_t kPeersStaleMs = 300'000;  // used when the broker does not answer

struct PeerList {
  std::int64_t at_ms = 0;
  std::vector<PeerView> peers;
  std::vector<std::string> items_json;  // the broker's objects, with a member "mesh" added
};

// Lives on the daemon's loop, as long as the links.
class PeerDirectory {
 public:
  PeerDirectory(const HostApi& host, IdentityLinks& links) : host_(host), links_(links) {}

  using Done = std::function<void(Result<std::shared_ptr<const PeerList>>)>;
  // A list that is at most `max_age_ms` old, else a new one of the broker. Callers at the same time share one request.
  void get(std::int64_t max_age_ms, Done done);
  // The last list, however the broker does; null when there is none that is not stale.
  std::shared_ptr<const PeerList> last() const;
  void invalidate() noexcept { fresh_ = false; }
  // A reply to list_peers that somebody else asked for: it serves as well as our own.
  void take(const std::string& frame);
  // Called with every new list.
  void on_list(std::function<void(const PeerList&)> listener) { listener_ = std::move(listener); }

 private:
  void finish(Result<std::string> reply);
  std::shared_ptr<const PeerList> keep(PeerList list);

  const HostApi& host_;
  IdentityLinks& links_;
  std::shared_ptr<const PeerList> list_;
  bool fresh_ = false;
  std::vector<Done> waiting_;
  std::function<void(const PeerList&)> listener_;
};

// The list out of a `peers_list` frame. kInvalid for any other frame; an `error` frame gives its message.
Result<PeerList> read_peer_list(const std::string& frame, const std::string& mesh, std::int64_t now_ms);

}  // namespace cm::daemon
