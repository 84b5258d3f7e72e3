// Delivers the outbox: one lane per sender identity and mesh, each with its own queue, window and clock, so that none
// stalls another. Woken by an accept, an open link, an answer, or the time of a retry; never polled.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/peer_daemon/src/clock_watch.hpp"
#include "plugins/peer_daemon/src/identity_links.hpp"
#include "plugins/peer_daemon/src/lane_queue.hpp"
#include "plugins/peer_daemon/src/outbox_store.hpp"

namespace cm::daemon {

inline constexpr std::size_t kContentRowsMax = 2'048;  // of one lane; more are read again when their turn comes
inline constexpr std::uint64_t kAgeSweepMs = 60'000;
inline constexpr std::uint64_t kStoreRetryMs = 1'000;  // after a read that failed

struct DrainOptions {
  std::size_t window = 256;
  std::function<std::int64_t(std::string_view mesh)> max_age_ms;
};

struct DrainMetrics {
  Metric done;
  Metric dead;
  Metric retries;
  Metric pending;  // gauge
};

class Drain {
 public:
  // `store` must outlive the drain.
  void bind(const HostApi& host, OutboxStore& store, DrainOptions options, DrainMetrics metrics);
  // Stops all timers; nothing is sent any more.
  void close();

  void load(LoadedOutbox loaded);
  // A row that is durable now.
  void enqueue(OutboxRow row);
  void enqueue(PendingRow pending);
  void attach(IdentityLinks& links);
  void detach(const LaneKey& lane);
  void link_changed(IdentityLinks& links);
  void sent(IdentityLinks& links, std::size_t transport, std::span<const cm_send_result> results);
  // A peer of the mesh came: messages that wait for somebody go again.
  void peer_came(std::string_view mesh);

  bool is_inflight(std::string_view client_message_id) const;
  // An operator retires a row and sends a copy under a new id: same mesh, sender, target and ciphertext.
  void requeue(RequeueInput input, OutboxStore::Done<RequeueOutcome> done);
  std::size_t pending() const;  // not in flight
  std::size_t inflight() const;
  std::int64_t dead() const noexcept { return dead_; }
  // Called once when nothing is in flight any more (at once if so); for the drain of the daemon.
  void when_idle(std::function<void()> idle);

 private:
  struct Lane {
    LaneKey key;
    LaneQueue queue;
    IdentityLinks* links = nullptr;
    bool loading = false;
    std::unique_ptr<Timer> wake;
  };

  Lane& lane(const LaneKey& key);
  void pump(Lane& lane);
  void load_then_dispatch(Lane& lane, std::vector<std::int64_t> seqs);
  void dispatch(Lane& lane, const std::vector<QueuedRow*>& rows);
  void arm(Lane& lane);
  void settle(const LaneKey& key, std::vector<Settlement> settlements);
  void settled(const LaneKey& key, const std::vector<Settlement>& settlements, const Status& status);
  void sweep();
  void check_idle();
  std::optional<PendingRow> take_out(std::string_view client_message_id);
  void requeue_known(RequeueInput input, const std::string& client_message_id, OutboxStore::Done<RequeueOutcome> done);
  std::uint64_t random() const;
  // Unix time as it would be had the wall clock not jumped since the start: pauses must not grow by a jump.
  std::int64_t steady_ms() const { return steady_offset_ms_ + static_cast<std::int64_t>(host_->monotonic_us() / 1000); }

  const HostApi* host_ = nullptr;
  std::int64_t steady_offset_ms_ = 0;
  OutboxStore* store_ = nullptr;
  DrainOptions options_;
  DrainMetrics metrics_;
  std::int64_t dead_ = 0;
  bool closed_ = false;
  std::map<LaneKey, std::unique_ptr<Lane>> lanes_;
  ClockWatch clock_;
  Timer sweep_;
  std::function<void()> idle_;
};

}  // namespace cm::daemon
