// The plugin instance: puts the parts together and gives them their life cycle.
#pragma once

#include <claudemesh/ext/peer.h>
#include <claudemesh/cpp/plugin.hpp>
#include <claudemesh/cpp/storage.hpp>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "plugins/peer_daemon/src/clock_watch.hpp"
#include "plugins/peer_daemon/src/config_file.hpp"
#include "plugins/peer_daemon/src/drain.hpp"
#include "plugins/peer_daemon/src/event_hub.hpp"
#include "plugins/peer_daemon/src/hook_chain.hpp"
#include "plugins/peer_daemon/src/inbound.hpp"
#include "plugins/peer_daemon/src/inbox_store.hpp"
#include "plugins/peer_daemon/src/known_peers.hpp"
#include "plugins/peer_daemon/src/local_api.hpp"
#include "plugins/peer_daemon/src/membership.hpp"
#include "plugins/peer_daemon/src/mesh_loader.hpp"
#include "plugins/peer_daemon/src/options.hpp"
#include "plugins/peer_daemon/src/outbox_store.hpp"
#include "plugins/peer_daemon/src/pid_lock.hpp"
#include "plugins/peer_daemon/src/send_pipeline.hpp"

namespace cm::daemon {

inline constexpr std::uint64_t kPruneMs = 3'600'000;
// After somebody came we ask who is there: soon, but not more often than this, however many come.
inline constexpr std::uint64_t kLearnDelayMs = 1'000;
inline constexpr std::uint64_t kLearnIntervalMs = 30'000;
inline constexpr std::int64_t kMaxAgeCapMs = 30LL * 24 * 3'600'000;  // specification v0.9.0 section 4.9

// How long an undelivered message is kept, given what the broker said of its memory: no longer than the broker can
// recognise a repetition. `features_json` is the object that the link reports. Pure.
std::int64_t effective_max_age_ms(std::int64_t configured_ms, std::string_view features_json);

class Daemon final : public PluginInstance, private LinkOwner, private LinkWatcher {
 public:
  explicit Daemon(const cm_host* host) : PluginInstance(host) {}

  ~Daemon() override { stop(); }  // an instance whose start failed is destroyed without a stop

  std::vector<TableNeed> required_tables() const override {
    return {need<cm_loop_v1>(CM_LOOP_ID),     need<cm_timer_v1>(CM_TIMER_ID),
            need<cm_clock_v1>(CM_CLOCK_ID),   need<cm_random_v1>(CM_RANDOM_ID),
            need<cm_config_v1>(CM_CONFIG_ID), need<cm_registry_v1>(CM_REGISTRY_ID),
            need<cm_worker_v1>(CM_WORKER_ID), need<cm_http_server_v1>(CM_HTTP_SERVER_ID)};
  }
  Status configure() override;
  void start(Done started) override;
  void drain(std::uint64_t deadline_ms, Done drained) override;
  void stop() final;
  const void* extension(std::string_view extension_id) override;

 private:
  // LinkOwner
  void link_changed(IdentityLinks& links, std::size_t transport) override;
  void link_inbound(IdentityLinks& links, std::size_t transport, std::span<const cm_inbound> messages) override;
  void link_sent(IdentityLinks& links, std::size_t transport, std::span<const cm_send_result> results) override;
  // LinkWatcher
  void links_attached(IdentityLinks& links) override { drain_.attach(links); }
  void links_detached(const LaneKey& lane) override { drain_.detach(lane); }
  void peers_listed(const Mesh& mesh, const PeerList& list) override { known_.seen(mesh.record(), list.peers); }

  // cm.peer/1
  static Daemon* self_of(void* instance) noexcept;
  static cm_status peer_send(void* instance, const cm_peer_message* message, cm_peer_sent sent, void* user) noexcept;
  static cm_status peer_subscribe(void* instance, cm_peer_event event, void* user, cm_handle* out) noexcept;
  static void peer_unsubscribe(void* instance, cm_handle subscription) noexcept;
  static const cm_peer_v1 kPeerTable;

  // What the worker brings back: the lock is released with it when nobody takes it over.
  struct Home {
    Status status;
    PidLock lock;
    SecretText token;
    SavedSessions sessions;
  };

  // The steps of the start, in this order; each names its failure. The first three wait for the disk: on a worker.
  Home prepare_home() const;
  Result<SecretText> load_local_token() const;
  Status check_host() const;
  void home_ready(Home home, Done started);
  Status open_extensions();
  void migrate(std::size_t step, Done started);
  void load_names(Done started);
  void load_outbox(Done started);
  void open_meshes(LoadedOutbox loaded, Done started);
  void open_for_business(const ReloadResult& meshes, const Done& started);
  Result<ReloadResult> apply_config(Result<LoadedConfig> loaded);
  void prune_stores();
  void peer_came(std::string_view slug);
  void learn_peers();
  protocol::RandomSource random_source() const;

  DaemonOptions options_;
  DrainMetrics drain_metrics_;
  SendMetrics send_metrics_;
  InboundMetrics inbound_metrics_;
  Metric streams_dropped_;
  Metric names_dropped_;
  bool running_ = false;
  PidLock lock_;
  SecretText local_token_;
  SavedSessions saved_sessions_;  // until the meshes are open
  StorageClient storage_;
  OutboxStore outbox_;
  InboxStore inbox_;
  KnownPeers known_;
  EventHub events_;
  HookChain hooks_;
  Drain drain_;
  Inbound inbound_;
  SendPipeline pipeline_;
  LocalApi api_;
  Membership membership_;
  MeshLoader loader_;
  ClockWatch clock_;
  Timer prune_timer_;
  Timer learn_timer_;
  std::uint64_t learn_not_before_us_ = 0;
  std::set<std::string, std::less<>> changed_meshes_;  // somebody came since their peers were listed
  Timer reaper_timer_;
  Timer drain_deadline_;
};

}  // namespace cm::daemon
