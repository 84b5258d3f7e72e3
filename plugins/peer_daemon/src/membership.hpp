// The identities of this daemon: the joined meshes and the sessions in them, with their keys and links.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/peer_daemon/src/config_file.hpp"
#include "plugins/peer_daemon/src/mesh.hpp"
#include "plugins/peer_daemon/src/options.hpp"
#include "plugins/peer_daemon/src/private_file_writer.hpp"
#include "plugins/peer_daemon/src/saved_sessions.hpp"
#include "plugins/peer_daemon/src/session_registry.hpp"

namespace cm::daemon {

// A session that is present in its mesh under a key of its own.
class SessionPresence {
 public:
  SessionPresence(const HostApi& host, const std::vector<Transport>& transports, LinkOwner& owner, LaneKey lane,
                  const protocol::SecretKey& member_key, protocol::SecretKey key)
      : key_(std::move(key)),
        sealer_(key_),
        opener_(key_),
        links_(host, transports, owner, std::move(lane), member_key, &key_) {}
  SessionPresence(const SessionPresence&) = delete;
  SessionPresence& operator=(const SessionPresence&) = delete;

  protocol::BoxSealer& sealer() noexcept { return sealer_; }
  protocol::BoxOpener& opener() noexcept { return opener_; }
  IdentityLinks& links() noexcept { return links_; }

 private:
  protocol::SecretKey key_;
  protocol::BoxSealer sealer_;
  protocol::BoxOpener opener_;
  IdentityLinks links_;
};

struct ReloadResult {
  std::vector<std::string> added;
  std::vector<std::string> removed;
  std::vector<std::string> meshes;
};

using ReloadDone = std::function<void(const Result<ReloadResult>& result)>;

// Told when links come and go, so that the outbox finds them.
class LinkWatcher {
 public:
  virtual void links_attached(IdentityLinks& links) = 0;
  virtual void links_detached(const LaneKey& lane) = 0;
  virtual void peers_listed(const Mesh& mesh, const PeerList& list) = 0;

 protected:
  ~LinkWatcher() = default;
};

// Lives on the daemon's loop.
class Membership {
 public:
  // All must outlive the membership.
  void bind(const HostApi& host, const DaemonOptions& options, LinkOwner& owner, LinkWatcher& watcher);
  Status open_transports();
  // `instance_secret` makes the member's session id stable across restarts and different on every machine.
  void set_instance_secret(std::string_view instance_secret);

  // Opens what is new, closes what is gone or has changed; the others are not disturbed.
  ReloadResult apply(ConfigFile config);
  void close();
  // After close: `saved` is called once, when sessions.json is as it shall stay: at once, or later on a worker.
  void when_saved(std::function<void()> saved) { sessions_file_.close(std::move(saved)); }

  Mesh* find(std::string_view slug);
  std::vector<std::string> slugs() const;
  const std::map<std::string, std::unique_ptr<Mesh>, std::less<>>& meshes() const noexcept { return meshes_; }

  // Registers, or registers again. `done` is called when the disk has it, or cannot take it (a warning tells), and with
  // whether the session has a presence.
  void register_session(RegisterRequest request, std::function<void(bool present)> done);
  // False: no session has this token, and `done` is not called. Else `done` is called as above.
  bool remove_session(std::string_view token, std::function<void()> done);
  void remove_ended_sessions();
  // Sessions of an earlier process. Those whose mesh is not joined any more stay without a presence.
  void rehydrate(SavedSessions saved);
  const SessionRegistry& sessions() const noexcept { return sessions_; }
  SessionPresence* presence(std::string_view mesh, std::string_view session_pubkey);
  bool is_own_session(std::string_view mesh, std::string_view pubkey) const;
  // Ends the connection of an identity and opens a new one; what is on its way goes again.
  void reconnect(const LaneKey& lane);
  // The links of a lane as they are now; null when the identity is gone.
  IdentityLinks* links_of(const LaneKey& lane);

 private:
  void open_mesh(MeshRecord record);
  void close_mesh(const std::string& slug);
  bool open_presence(const SessionInfo& info, const SecretText& secret);
  void close_presence(const LaneKey& lane);
  bool forget_session(std::string_view token);
  void persist(std::function<void()> done);
  LinkIdentity member_identity(const Mesh& mesh) const;
  LinkIdentity session_identity(const Mesh& mesh, const SessionInfo& info) const;

  const HostApi* host_ = nullptr;
  const DaemonOptions* options_ = nullptr;
  LinkOwner* owner_ = nullptr;
  LinkWatcher* watcher_ = nullptr;
  std::string instance_secret_;
  std::vector<Transport> transports_;
  std::map<std::string, std::unique_ptr<Mesh>, std::less<>> meshes_;
  SessionRegistry sessions_;
  PrivateFileWriter sessions_file_;
  std::map<LaneKey, std::unique_ptr<SessionPresence>> presences_;
};

}  // namespace cm::daemon
