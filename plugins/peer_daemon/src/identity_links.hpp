// The links of one identity (a member or a session), one per transport.
#pragma once

#include <claudemesh/ext/transport.h>
#include <claudemesh/cpp/host.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "protocol/keys.hpp"

namespace cm::daemon {

// How long after `open` a request waits for the outcome of the first attempt to connect: the bounds of a hello (5 s)
// and of a negotiation (3 s) together.
inline constexpr std::uint64_t kFirstAttemptMs = 8'000;
// Requests of one identity that wait so; more are answered as if the attempt had failed.
inline constexpr std::size_t kParkedRequestsMax = 1'024;

// A transport plugin in the order of the configuration.
struct Transport {
  std::string instance_name;
  std::string kind;  // what the transport calls itself: "broker"
  Extension<cm_transport_v1> extension;
};

// The sender identity of an outgoing queue.
struct LaneKey {
  std::string mesh;            // slug
  std::string session_pubkey;  // empty: the member
  friend bool operator<(const LaneKey& a, const LaneKey& b) {
    return std::tie(a.mesh, a.session_pubkey) < std::tie(b.mesh, b.session_pubkey);
  }
};

struct LinkStatus {
  std::uint32_t state = CM_LINK_CONNECTING;
  std::int64_t since_ms = 0;  // unix time of the last change of state
  std::int64_t attempt = 0;
  std::int64_t retry_in_ms = 0;
  std::string reason;
  std::string code;
  std::string features_json = "{}";
  std::vector<std::string> degraded;
};
// "connecting", "open", "reconnecting", "closed", "refused".
std::string_view link_state_word(std::uint32_t state);

// Everything the links of an identity need to introduce themselves. Copied by open.
struct LinkIdentity {
  bool session = false;
  std::string url;
  std::string mesh_id;
  std::string member_id;
  std::string member_pubkey;
  std::string session_pubkey;
  std::string session_id;
  std::string display_name;
  std::string cwd;
  std::string role;
  std::string groups_json;
  std::string features_json;
  std::int64_t pid = 0;
};

class IdentityLinks;

// Called on the daemon's loop. None of the functions may destroy the links that call.
class LinkOwner {
 public:
  virtual void link_changed(IdentityLinks& links, std::size_t transport) = 0;
  virtual void link_inbound(IdentityLinks& links, std::size_t transport, std::span<const cm_inbound> messages) = 0;
  virtual void link_sent(IdentityLinks& links, std::size_t transport, std::span<const cm_send_result> results) = 0;

 protected:
  ~LinkOwner() = default;
};

class IdentityLinks {
 public:
  // `member_key` and `session_key` (null for a member) must outlive the links, as must `transports` and `owner`.
  IdentityLinks(const HostApi& host, const std::vector<Transport>& transports, LinkOwner& owner, LaneKey lane,
                const protocol::SecretKey& member_key, const protocol::SecretKey* session_key);
  IdentityLinks(const IdentityLinks&) = delete;
  IdentityLinks& operator=(const IdentityLinks&) = delete;
  ~IdentityLinks() { close(); }

  // Opens one link per transport. A transport that refuses is skipped and logged; its status says refused.
  void open(const LinkIdentity& identity);
  // Ends all connections and opens them again as the same identity. Not inside a callback of a link.
  void reconnect();
  // No callback follows; requests that wait are answered with kGone.
  void close();

  const LaneKey& lane() const noexcept { return lane_; }
  std::size_t count() const noexcept { return slots_.size(); }
  const LinkStatus& status(std::size_t transport) const { return slots_[transport]->status; }
  // Of the broker's link, or of the first one.
  const LinkStatus& primary_status() const { return slots_[primary_]->status; }
  bool is_open(std::size_t transport) const noexcept;
  bool any_open() const noexcept;
  // `preferred` when it is open, else the first open one; count() when none is.
  std::size_t pick_open(std::size_t preferred) const noexcept;

  cm_status send(std::size_t transport, const std::vector<cm_outbound>& messages, std::uint64_t* out_taken);
  void acknowledge(std::size_t transport, std::string_view message_id, std::string_view client_message_id);
  // The reply frame as text. kGone: not connected; kBusy: timed out; kIo: the connection broke. Who asks a daemon that
  // started a moment ago waits for the first attempt to connect, kFirstAttemptMs at most: only then is the broker away.
  using Reply = std::function<void(Result<std::string>)>;
  void request(std::string json, std::uint64_t timeout_ms, Reply reply);
  // All frames in their order, without replies; waits like `request`. False when not all could be sent.
  using Sent = std::function<void(bool sent)>;
  void notify(std::vector<std::string> frames, Sent sent);

 private:
  struct Slot {
    IdentityLinks* links = nullptr;
    std::size_t transport = 0;
    cm_handle handle = CM_NO_HANDLE;
    LinkStatus status;
  };
  struct PendingRequest {
    IdentityLinks* links = nullptr;
    Reply reply;
  };

  static void on_state(void* user, cm_handle link, std::uint32_t state, cm_text_hview detail) noexcept;
  static void on_inbound(void* user, cm_handle link, const cm_inbound* messages, std::uint64_t count) noexcept;
  static void on_sent(void* user, cm_handle link, const cm_send_result* results, std::uint64_t count) noexcept;
  static cm_status on_sign(void* user, cm_handle link, std::uint32_t key, cm_text_hview text,
                           std::uint8_t* out_signature) noexcept;
  static void on_reply(void* user, cm_status status, cm_text_hview text) noexcept;

  void open_slot(Slot& slot, const cm_link_identity& identity);
  // Now, or when the first attempt of the broker's link has ended.
  void after_first_attempt(std::function<void()> then);
  void end_first_attempt();
  void request_now(std::string_view json, std::uint64_t timeout_ms, Reply reply);
  bool notify_now(std::string_view json);
  Error not_connected() const;

  const HostApi& host_;
  const std::vector<Transport>& transports_;
  LinkOwner& owner_;
  LaneKey lane_;
  const protocol::SecretKey& member_key_;
  const protocol::SecretKey* session_key_;
  LinkIdentity identity_;
  std::size_t primary_ = 0;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::unordered_map<PendingRequest*, std::unique_ptr<PendingRequest>> requests_;
  bool first_attempt_ = false;  // it goes on
  std::vector<std::function<void()>> parked_;
  Timer first_attempt_timer_;
};

}  // namespace cm::daemon
