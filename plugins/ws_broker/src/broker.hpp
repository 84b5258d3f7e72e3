// The broker: puts the parts together and owns the connections. Everything runs on one loop.
#pragma once

#include <claudemesh/cpp/http.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "plugins/ws_broker/src/accept.hpp"
#include "plugins/ws_broker/src/audit.hpp"
#include "plugins/ws_broker/src/claimed_keys.hpp"
#include "plugins/ws_broker/src/connection.hpp"
#include "plugins/ws_broker/src/context.hpp"
#include "plugins/ws_broker/src/delivery.hpp"
#include "plugins/ws_broker/src/ext_messages.hpp"
#include "plugins/ws_broker/src/hooks.hpp"
#include "plugins/ws_broker/src/mesh_cache.hpp"
#include "plugins/ws_broker/src/registry.hpp"
#include "plugins/ws_broker/src/wall_clock_guard.hpp"
#include "plugins/ws_broker/src/ways.hpp"
#include "plugins/ws_broker/src/write_behind.hpp"
#include "protocol/wire_reader.hpp"

namespace cm::broker {

// How a removed presence's connection ends.
struct Farewell {
  std::uint16_t code;
  std::string_view reason;
};

class Broker final : public ConnectionOwner {
 public:
  explicit Broker(const HostApi& host);
  ~Broker();

  // --- life cycle ---
  Status configure();
  void start(std::function<void(Status)> started);
  void drain(std::uint64_t deadline_ms, std::function<void()> drained);
  void stop();

  // --- parts, for the request handlers ---
  Context& context() noexcept { return context_; }
  MeshCache& cache() noexcept { return cache_; }
  Registry& registry() noexcept { return registry_; }
  Delivery& delivery() noexcept { return delivery_; }
  MessagesExtension& messages() noexcept { return messages_; }
  Ways& ways() noexcept { return ways_; }
  // Whether a request of that type has a handler in here, so that no feature may serve it.
  static bool serves_itself(std::string_view type);
  AuditLog& audit() noexcept { return audit_; }
  WriteBehind& writes() noexcept { return writes_; }
  const protocol::FrameReader& reader() const noexcept { return reader_; }

  // --- connections ---
  // Upgrades the request; false when it asks for no upgrade (it is still open then).
  bool accept_socket(const HttpRequest& request);
  bool draining() const noexcept { return draining_; }
  // Sockets without an accepted hello, until they are really gone: a close that the client does not answer holds its
  // place, or the cap would not bound the sockets.
  std::size_t pending_connections() const noexcept { return pending_connections_.size(); }
  // Hands the sends collected so far to the store.
  void flush_accepts() { accept_.flush(); }
  Connection* find_connection(std::uint64_t number);
  std::size_t connection_count() const noexcept { return connections_.size(); }

  // --- presences ---
  // Binds a connection to a presence (new, or reattached) and delivers what waits. An older connection of the presence
  // is closed as replaced.
  void bind(Connection& connection, Presence& presence);
  // Removes a presence at once: no grace time, no leave event, as for kick, ban and replacement.
  void remove_presence(Presence& presence, const Farewell& farewell);
  // The end of the grace time: one leave is announced.
  void evict(Presence& presence);
  // Remembers what the next hello of the member gets back.
  void save_peer_state(const Presence& presence);
  void remember_session(const Presence& presence);

  // One system event (wire/02 section 3.3) to every connected presence that `wanted` takes.
  void push_event(Mesh& mesh, std::string_view event, const std::string& event_data_json,
                  const std::function<bool(const Presence&)>& wanted);

  // Mesh and key of the members that are being enrolled.
  ClaimedKeys& joins_in_flight() noexcept { return joins_in_flight_; }

  // Meshes whose audit log is being read. One reading per mesh, and one at a time in all: see answer_from_store.
  struct AuditReads {
    std::set<std::string> meshes;
    std::deque<std::function<void()>> waiting;
  };
  AuditReads& audit_reads() noexcept { return audit_reads_; }

  ClaimedKeys& slugs_in_flight() noexcept { return slugs_in_flight_; }
  // Mesh, role and expiry of the invites that are being stored.
  ClaimedKeys& invites_in_flight() noexcept { return invites_in_flight_; }

  std::int64_t uptime_ms() const;
  const std::string& public_url() const noexcept { return public_url_; }

 private:
  // --- ConnectionOwner ---
  void on_frame(Connection& connection, std::string_view padded) override;
  void on_read_end() override { accept_.flush(); }
  void on_pong(Connection& connection) override;
  void on_drained(Connection& connection) override;
  void on_resumable(Connection& connection) override;
  void on_connection_closed(Connection& connection) override;

  // --- start ---
  void migrate();
  void load();
  void loaded(LoadedState state);
  Status listen();
  void started(const Status& status);

  // --- timers (sweeps.cpp) ---
  void start_timers();
  void tick();
  void tick_leases(std::int64_t now_ms);
  void tick_handshakes(std::int64_t now_ms);
  void tick_statuses(std::int64_t now_ms);
  void connection_ended(Connection& connection);
  void detach(Connection& connection);
  void bury(Connection& connection);
  void check_store();
  void probe_writes();
  void plan_store_check();
  bool trusts_wall_clock();
  void prune();
  void pruned(const PruneLimits& limits, const PruneCounts& counts, const Status& status);
  void close_all_connections();

  void dispatch(Connection& connection);

  Context context_;
  WriteBehind writes_;
  AuditLog audit_;
  MeshCache cache_;
  Registry registry_;
  HookChain hooks_;
  Delivery delivery_;
  AcceptPipeline accept_;
  MessagesExtension messages_;
  Ways ways_;
  protocol::FrameReader reader_;
  std::string text_copy_;

  std::unordered_map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  std::set<std::uint64_t> pending_connections_;
  std::map<std::uint64_t, std::int64_t> hello_deadlines_;  // by connection; of those that are not being closed
  std::vector<std::unique_ptr<Connection>> graveyard_;     // closed inside one of their own calls
  std::uint64_t next_connection_ = 1;
  ClaimedKeys joins_in_flight_;
  AuditReads audit_reads_;
  ClaimedKeys slugs_in_flight_;
  ClaimedKeys invites_in_flight_;

  std::unique_ptr<HttpListener> listener_;
  std::unique_ptr<HttpListener> operator_listener_;
  std::string public_url_;
  std::function<void(Status)> started_;

  Timer tick_timer_;
  Timer store_timer_;
  Timer prune_timer_;
  Timer drain_timer_;
  std::int64_t next_claim_sweep_ms_ = 0;
  std::int64_t next_status_sweep_ms_ = 0;
  std::int64_t next_limit_sweep_ms_ = 0;
  WallClockGuard wall_clock_;
  std::int64_t expired_until_ms_ = 0;  // deliveries of older messages are gone from the queue
  std::uint64_t started_us_ = 0;
  bool draining_ = false;
  bool stopped_ = false;
};

}  // namespace cm::broker
