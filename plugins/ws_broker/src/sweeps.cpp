// What happens by itself: leases, handshake deadlines, statuses, claims, retention.
#include <algorithm>
#include <cstdlib>

#include "plugins/ws_broker/src/broker.hpp"
#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/close_codes.hpp"

namespace cm::broker {

namespace {

constexpr std::int64_t kSweepsPerPeriod = 4;  // of claim leases and status times
constexpr std::int64_t kLimitSweepMs = 300'000;
constexpr std::int64_t kDayMs = 86'400'000;
constexpr std::uint64_t kPruneIntervalMs = 3'600'000;
constexpr std::uint64_t kPruneStepMs = 200;  // between two batches, so that accepts are not held up

}  // namespace

void Broker::tick() {
  const std::int64_t now_ms = context_.now_ms();
  tick_leases(now_ms);
  tick_handshakes(now_ms);
  messages_.tick(now_ms);
  ways_.tick(now_ms);
  if (now_ms >= next_claim_sweep_ms_) {
    next_claim_sweep_ms_ = now_ms + context_.options.claim_lease_ms / kSweepsPerPeriod;
    delivery_.sweep();
  }
  if (now_ms >= next_status_sweep_ms_) {
    next_status_sweep_ms_ = now_ms + context_.options.status_ttl_ms / kSweepsPerPeriod;
    tick_statuses(now_ms);
  }
  if (now_ms >= next_limit_sweep_ms_) {
    next_limit_sweep_ms_ = now_ms + kLimitSweepMs;
    accept_.forget_idle();
  }
}

void Broker::tick_leases(std::int64_t now_ms) {
  std::vector<Presence*> stale;
  std::vector<Presence*> over;
  for (const auto& [id, mesh] : cache_.meshes()) {
    for (const auto& [number, presence] : mesh->presences) {
      if (presence->connection != nullptr && presence->connection->reading_paused()) {
        presence->lease.alive(presence->connection->number(), now_ms);  // its pongs wait in the network
      }
      switch (presence->lease.tick(now_ms)) {
        case protocol::LeaseAction::kPing:
          presence->connection->ping();
          break;
        case protocol::LeaseAction::kTerminate:
          stale.push_back(presence.get());
          break;
        case protocol::LeaseAction::kEvict:
          over.push_back(presence.get());
          break;
        case protocol::LeaseAction::kNone:
          break;
      }
    }
  }
  for (Presence* presence : stale) {
    Connection& connection = *presence->connection;
    connection.terminate();
    connection_ended(connection);
  }
  for (Presence* presence : over) {
    evict(*presence);
  }
}

// The end of a lease: one leave, to the other members.
void Broker::evict(Presence& presence) {
  Mesh& mesh = *presence.mesh;
  const Member* member = presence.member;
  protocol::JsonValue data;
  data.set("name", protocol::JsonValue(presence.display_name));
  data.set("pubkey", protocol::JsonValue(presence.routing_key()));
  data.set("displayName", protocol::JsonValue(presence.display_name));
  audit_.append(mesh, "peer_left", member, protocol::JsonValue(protocol::JsonValue::Object()));
  messages_.presence_left(presence);
  const std::unique_ptr<Presence> removed = registry_.remove(presence);
  context_.metrics.presences.set(static_cast<std::int64_t>(registry_.size()));
  push_event(mesh, "peer_left", protocol::to_json(data),
             [member](const Presence& other) { return other.member != member; });
}

void Broker::tick_handshakes(std::int64_t now_ms) {
  std::vector<std::uint64_t> late;
  for (const auto& [number, deadline_ms] : hello_deadlines_) {
    if (deadline_ms > now_ms) {
      break;  // numbers and deadlines grow together
    }
    late.push_back(number);
  }
  for (const std::uint64_t number : late) {
    hello_deadlines_.erase(number);
    Connection* connection = find_connection(number);
    if (connection != nullptr && connection->open()) {  // else it is being closed for another reason
      context_.metrics.connections_rejected.add("hello_timeout");
      connection->close(static_cast<std::uint16_t>(protocol::CloseCode::kPolicy), "hello timeout");
    }
  }
}

void Broker::tick_statuses(std::int64_t now_ms) {
  context_.metrics.ttl_sweeps.add();
  std::vector<Member*> relaxed;
  for (const auto& [id, mesh] : cache_.meshes()) {
    for (const auto& [number, presence] : mesh->presences) {
      if (expire_status(presence->activity, now_ms, context_.options.status_ttl_ms)) {
        relaxed.push_back(presence->member);
      }
    }
  }
  for (Member* member : relaxed) {
    delivery_.drain(*member);
  }
}

// A clock that jumped by days would make everything look old. Nothing is deleted by such a clock until it has run
// evenly for an hour.
bool Broker::trusts_wall_clock() {
  const std::int64_t wall_ms = context_.wall_ms();
  const std::int64_t now_ms = context_.now_ms();
  const std::int64_t ahead_ms = wall_clock_.ahead_ms(wall_ms, now_ms);
  const ClockVerdict verdict = wall_clock_.check(wall_ms, now_ms);
  if (verdict == ClockVerdict::kTrusted) {
    if (std::abs(ahead_ms) > WallClockGuard::kJumpMs) {
      expired_until_ms_ = 0;  // what was accepted meanwhile may have any time
    }
    return true;
  }
  context_.metrics.prunes_skipped.add();
  if (verdict == ClockVerdict::kJumped) {
    context_.host.log(LogLevel::kWarn,
                      "the wall clock jumped; nothing is deleted for its age until the new time has held for an hour",
                      {{"ahead_ms", ahead_ms}});
  }
  return false;
}

void Broker::prune() {
  if (!trusts_wall_clock()) {
    prune_timer_.start_ms(kPruneIntervalMs, [this] { prune(); });
    return;
  }
  const Options& options = context_.options;
  const std::int64_t wall_ms = context_.wall_ms();
  PruneLimits limits;
  limits.queue_from_ms = expired_until_ms_;
  limits.queue_before_ms = wall_ms - options.queue_retention_ms;
  limits.messages_before_ms = wall_ms - std::max(options.queue_retention_ms, options.delivered_retention_ms);
  limits.sessions_before_ms = wall_ms - options.session_retention_ms;
  if (!options.dedupe_permanent) {
    limits.dedupe_before_ms = wall_ms;
  }
  if (options.audit_retention_days != 0) {
    limits.audit_before_ms = wall_ms - options.audit_retention_days * kDayMs;
  }
  for (const auto& [id, mesh] : cache_.meshes()) {
    MeshCache::forget_sessions(*mesh, limits.sessions_before_ms);
  }
  delivery_.expire(limits.queue_before_ms);
  ways_.expire(limits.queue_before_ms);
  auto counts = std::make_shared<PruneCounts>();
  context_.storage.submit(
      [sql = context_.sql, limits, counts](SqlTransaction& tx) { return sql->prune(tx, limits, *counts); },
      [this, limits, counts](Status status) { pruned(limits, *counts, status); });
}

void Broker::pruned(const PruneLimits& limits, const PruneCounts& counts, const Status& status) {
  if (!status.ok()) {
    context_.host.log(LogLevel::kWarn, "old messages could not be removed", {{"error", status.error().message}});
    prune_timer_.start_ms(kPruneIntervalMs, [this] { prune(); });
    return;
  }
  context_.metrics.expired.add(static_cast<std::int64_t>(counts.expired_deliveries));
  delivery_.add_depth(-static_cast<std::int64_t>(counts.expired_deliveries));
  if (counts.expired_deliveries < static_cast<std::uint64_t>(kPruneBatch)) {
    expired_until_ms_ = limits.queue_before_ms - WallClockGuard::kJumpMs;  // smaller jumps are not noticed
  }
  prune_timer_.start_ms(counts.full() ? kPruneStepMs : kPruneIntervalMs, [this] { prune(); });
}

}  // namespace cm::broker
