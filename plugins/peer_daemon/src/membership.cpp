#include "plugins/peer_daemon/src/membership.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "plugins/peer_daemon/src/process_probe.hpp"

namespace cm::daemon {
namespace {

std::string working_directory() {
  std::error_code code;
  return std::filesystem::current_path(code).string();
}

}  // namespace

void Membership::bind(const HostApi& host, const DaemonOptions& options, LinkOwner& owner, LinkWatcher& watcher) {
  host_ = &host;
  options_ = &options;
  owner_ = &owner;
  watcher_ = &watcher;
  sessions_file_.bind(host, options.sessions_path());
}

void Membership::set_instance_secret(std::string_view instance_secret) {
  const auto digest = protocol::sha256(protocol::as_bytes(instance_secret));
  instance_secret_ = protocol::hex_encode(digest);
}

Status Membership::open_transports() {
  for (const std::string& name : options_->transports) {
    Result<Extension<cm_transport_v1>> extension = Extension<cm_transport_v1>::acquire(*host_, name, CM_TRANSPORT_ID);
    if (!extension) {
      return std::move(extension).error();
    }
    Transport transport;
    transport.instance_name = name;
    transport.kind = std::string(to_view((*extension)->name(extension->instance())));
    transport.extension = std::move(*extension);
    transports_.push_back(std::move(transport));
  }
  return {};
}

// --- meshes ----------------------------------------------------------------------------------------------------------

LinkIdentity Membership::member_identity(const Mesh& mesh) const {
  const MeshRecord& record = mesh.record();
  const auto digest = protocol::sha256(protocol::as_bytes(instance_secret_ + record.pubkey));
  LinkIdentity identity;
  identity.url = record.broker_url;
  identity.mesh_id = record.mesh_id;
  identity.member_id = record.member_id;
  identity.member_pubkey = record.pubkey;
  identity.session_id = "daemon-" + protocol::hex_encode(digest).substr(0, 16);
  identity.cwd = working_directory();
  identity.features_json = options_->features_json;
  identity.pid = ::getpid();
  return identity;
}

void Membership::open_mesh(MeshRecord record) {
  Result<protocol::SecretKey> key = protocol::SecretKey::from_hex(record.secret_key.text());
  if (!key) {
    host_->log(LogLevel::kError, "the mesh's secret key cannot be used",
               {{"mesh", record.slug}, {"detail", key.error().message}});
    return;
  }
  const std::string slug = record.slug;
  auto mesh = std::make_unique<Mesh>(*host_, transports_, *owner_, std::move(record), std::move(*key));
  Mesh& opened = *mesh;
  meshes_.emplace(slug, std::move(mesh));
  opened.peers().on_list([this, &opened](const PeerList& list) { watcher_->peers_listed(opened, list); });
  opened.links().open(member_identity(opened));
  watcher_->links_attached(opened.links());
}

void Membership::close_mesh(const std::string& slug) {
  std::vector<LaneKey> lanes;
  for (const auto& [lane, presence] : presences_) {
    if (lane.mesh == slug) {
      lanes.push_back(lane);
    }
  }
  for (const LaneKey& lane : lanes) {
    close_presence(lane);
  }
  const auto place = meshes_.find(slug);
  if (place == meshes_.end()) {
    return;
  }
  watcher_->links_detached(LaneKey{slug, {}});
  // Out of the map first: closing answers requests, and who gets the answers looks meshes up.
  const std::unique_ptr<Mesh> closing = std::move(place->second);
  meshes_.erase(place);
}

ReloadResult Membership::apply(ConfigFile config) {
  ReloadResult result;
  for (const std::string& slug : slugs()) {
    const auto kept = std::find_if(config.meshes.begin(), config.meshes.end(),
                                   [&slug](const MeshRecord& record) { return record.slug == slug; });
    if (kept == config.meshes.end() || !meshes_.at(slug)->same_as(*kept)) {
      close_mesh(slug);
      result.removed.push_back(slug);
    }
  }
  for (MeshRecord& record : config.meshes) {
    if (!meshes_.contains(record.slug)) {
      result.added.push_back(record.slug);
      open_mesh(std::move(record));
    }
  }
  // Sessions of a mesh that was closed come back when the mesh does: at their next registration.
  result.meshes = slugs();
  return result;
}

void Membership::close() {
  for (const auto& [lane, presence] : presences_) {
    watcher_->links_detached(lane);
  }
  for (const auto& [slug, mesh] : meshes_) {
    watcher_->links_detached(LaneKey{slug, {}});
  }
  {
    const auto presences = std::exchange(presences_, {});
    const auto meshes = std::exchange(meshes_, {});
    for (const auto& [lane, presence] : presences) {
      presence->links().close();  // sessions sign with their member's key: before it goes
    }
  }
  transports_.clear();
}

Mesh* Membership::find(std::string_view slug) {
  const auto place = meshes_.find(slug);
  return place == meshes_.end() ? nullptr : place->second.get();
}

std::vector<std::string> Membership::slugs() const {
  std::vector<std::string> names;
  for (const auto& [slug, mesh] : meshes_) {
    names.push_back(slug);
  }
  return names;
}

// --- sessions --------------------------------------------------------------------------------------------------------

LinkIdentity Membership::session_identity(const Mesh& mesh, const SessionInfo& info) const {
  LinkIdentity identity = member_identity(mesh);
  identity.session = true;
  identity.session_pubkey = info.session_pubkey;
  identity.session_id = info.session_id;
  identity.display_name = info.display_name;
  identity.cwd = info.cwd;
  identity.role = info.role;
  identity.groups_json = info.groups.empty() ? std::string() : groups_json(info.groups);
  identity.pid = info.pid;
  return identity;
}

bool Membership::open_presence(const SessionInfo& info, const SecretText& secret) {
  Mesh* mesh = find(info.mesh);
  Result<protocol::SecretKey> key = protocol::SecretKey::from_hex(secret.text());
  if (mesh == nullptr || info.session_pubkey.empty() || !key) {
    return false;
  }
  const LaneKey lane{info.mesh, info.session_pubkey};
  close_presence(lane);
  auto presence = std::make_unique<SessionPresence>(*host_, transports_, *owner_, lane, mesh->key(), std::move(*key));
  SessionPresence& opened = *presence;
  presences_.emplace(lane, std::move(presence));
  opened.links().open(session_identity(*mesh, info));
  watcher_->links_attached(opened.links());
  return true;
}

void Membership::close_presence(const LaneKey& lane) {
  const auto place = presences_.find(lane);
  if (place != presences_.end()) {
    watcher_->links_detached(lane);
    const std::unique_ptr<SessionPresence> closing = std::move(place->second);
    presences_.erase(place);
  }
}

void Membership::register_session(RegisterRequest request, std::function<void(bool present)> done) {
  for (const std::string& token : sessions_.replaced_by(request.info)) {
    static_cast<void>(forget_session(token));
  }
  request.info.registered_at_ms = host_->unix_ms();
  if (options_->watch_processes && request.info.start_time.empty()) {
    request.info.start_time = process_start_time(request.info.pid);
  }
  const bool present = open_presence(request.info, request.session_secret);
  if (!present) {
    request.info.session_pubkey.clear();
  }
  sessions_.put(std::move(request.info));
  persist([done = std::move(done), present] { done(present); });
}

bool Membership::remove_session(std::string_view token, std::function<void()> done) {
  if (!forget_session(token)) {
    return false;
  }
  persist(std::move(done));
  return true;
}

bool Membership::forget_session(std::string_view token) {
  const SessionInfo* info = sessions_.find(token);
  if (info == nullptr) {
    return false;
  }
  close_presence(LaneKey{info->mesh, info->session_pubkey});
  sessions_.erase(token);
  return true;
}

void Membership::remove_ended_sessions() {
  const bool watch = options_->watch_processes;
  const std::vector<std::string> ended = sessions_.ended(
      host_->unix_ms(),
      [watch](std::int64_t pid, const std::string& start) { return !watch || process_is_same(pid, start); });
  for (const std::string& token : ended) {
    host_->log(LogLevel::kInfo, "a session ended", {{"session", sessions_.find(token)->session_id}});
    static_cast<void>(forget_session(token));
  }
  if (!ended.empty()) {
    persist(nullptr);
  }
}

void Membership::persist(std::function<void()> done) {
  SecretText text(format_sessions(sessions_.all()));
  sessions_file_.write(std::move(text), [this, done = std::move(done)](const Status& written) {
    if (!written.ok()) {
      host_->log(LogLevel::kWarn, "the sessions cannot be saved; a restart will forget them",
                 {{"detail", written.error().message}});
    }
    if (done) {
      done();
    }
  });
}

void Membership::rehydrate(SavedSessions saved) {
  if (!saved.problem.empty()) {
    host_->log(LogLevel::kWarn, "sessions.json is unreadable; sessions must register again",
               {{"detail", saved.problem}});
    return;
  }
  for (SavedSession& session : saved.sessions) {
    if (session.secret.empty() || !open_presence(session.info, session.secret)) {
      session.info.session_pubkey.clear();
    }
    sessions_.put(std::move(session.info));
  }
  // Mostly nothing has changed, and the disk need not work.
  if (!saved.text.empty() && SecretText(format_sessions(sessions_.all())).text() != saved.text.text()) {
    persist(nullptr);
  }
}

SessionPresence* Membership::presence(std::string_view mesh, std::string_view session_pubkey) {
  const auto place = presences_.find(LaneKey{std::string(mesh), std::string(session_pubkey)});
  return place == presences_.end() ? nullptr : place->second.get();
}

bool Membership::is_own_session(std::string_view mesh, std::string_view pubkey) const {
  return !pubkey.empty() && presences_.contains(LaneKey{std::string(mesh), std::string(pubkey)});
}

void Membership::reconnect(const LaneKey& lane) {
  IdentityLinks* links = links_of(lane);
  if (links != nullptr) {
    watcher_->links_detached(lane);
    links->reconnect();
    watcher_->links_attached(*links);
  }
}

IdentityLinks* Membership::links_of(const LaneKey& lane) {
  if (lane.session_pubkey.empty()) {
    Mesh* mesh = find(lane.mesh);
    return mesh == nullptr ? nullptr : &mesh->links();
  }
  SessionPresence* found = presence(lane.mesh, lane.session_pubkey);
  return found == nullptr ? nullptr : &found->links();
}

}  // namespace cm::daemon
