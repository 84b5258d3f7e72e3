// The way of a received message: classify and decrypt -> inbox, durable and deduplicated -> client_ack -> event.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "plugins/peer_daemon/src/event_hub.hpp"
#include "plugins/peer_daemon/src/hook_chain.hpp"
#include "plugins/peer_daemon/src/inbound_classifier.hpp"
#include "plugins/peer_daemon/src/inbox_store.hpp"
#include "plugins/peer_daemon/src/known_peers.hpp"
#include "plugins/peer_daemon/src/membership.hpp"

namespace cm::daemon {

// Received, but the disk does not take them.
inline constexpr std::size_t kWaitingMessagesMax = 8'192;

struct InboundMetrics {
  Metric stored;
  Metric duplicates;
  Metric undecryptable;
  Metric echoes;
  Metric not_stored;
};

// Lives on the daemon's loop.
class Inbound {
 public:
  // All must outlive it. `peer_came` is called with the slug of a mesh that somebody joined.
  void bind(const HostApi& host, Membership& membership, InboxStore& inbox, EventHub& events, HookChain& hooks,
            KnownPeers& known, InboundMetrics metrics, std::function<void(std::string_view mesh)> peer_came);

  void receive(IdentityLinks& links, std::size_t transport, std::span<const cm_inbound> messages);
  // Nothing more is stored; what waits was not acknowledged and comes again.
  void close();

 private:
  struct Received {
    Push push;
    InboxRow row;
  };
  struct Batch {
    LaneKey lane;
    std::size_t transport = 0;
    std::vector<Received> messages;
  };
  using Batches = std::deque<std::shared_ptr<const Batch>>;

  InboundVerdict classify(const Push& push, Mesh& mesh, SessionPresence* presence, const LaneKey& lane);
  InboxRow make_row(const Push& push, const InboundVerdict& verdict, Mesh& mesh, const LaneKey& lane) const;
  void notice(const Push& push, Mesh& mesh);
  void remember_senders(const Batch& batch);
  void store_next();
  // `first`: where the batch begins in `inserted`.
  void stored(const Batch& batch, const std::vector<bool>& inserted, std::size_t first);
  void not_stored(const Batches& batches, const Error& error);
  void call_back_overflowed();
  void announce(const Received& message);

  const HostApi* host_ = nullptr;
  Membership* membership_ = nullptr;
  InboxStore* inbox_ = nullptr;
  EventHub* events_ = nullptr;
  HookChain* hooks_ = nullptr;
  KnownPeers* known_ = nullptr;
  InboundMetrics metrics_;
  std::function<void(std::string_view)> peer_came_;
  // One transaction at a time, so that the inbox has the order of the arrivals even when a transaction fails: the
  // failed batches go first the next time.
  Batches waiting_;
  std::size_t waiting_messages_ = 0;
  std::set<LaneKey> overflowed_;  // what came for them found no room: opened again when there is some
  bool storing_ = false;
  bool closed_ = false;
  Timer retry_;
};

}  // namespace cm::daemon
