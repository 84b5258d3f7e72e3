// The way of a sent message: validate -> known id? -> mesh -> resolve -> hooks -> seal -> outbox -> answer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "plugins/peer_daemon/src/caller.hpp"
#include "plugins/peer_daemon/src/drain.hpp"
#include "plugins/peer_daemon/src/hook_chain.hpp"
#include "plugins/peer_daemon/src/known_peers.hpp"
#include "plugins/peer_daemon/src/membership.hpp"
#include "plugins/peer_daemon/src/outbox_store.hpp"
#include "plugins/peer_daemon/src/send_request.hpp"
#include "plugins/peer_daemon/src/target_resolver.hpp"

namespace cm::daemon {

struct SendMetrics {
  Metric accepted;
  Metric repeated;
  Metric refused;
};

// The mesh that a request means: the one it names, else the caller's, else the only one. A refusal is 503 (no mesh),
// 400 mesh_required or 404 mesh_not_attached.
ParsedOr<Mesh*> choose_mesh(Membership& membership, std::string_view asked, std::string_view of_caller);

// Lives on the daemon's loop.
class SendPipeline {
 public:
  using Reply = std::function<void(ApiAnswer)>;

  // All must outlive it.
  void bind(const HostApi& host, const DaemonOptions& options, Membership& membership, OutboxStore& outbox,
            KnownPeers& known, Drain& drain, HookChain& hooks, SendMetrics metrics);
  void set_last_seq(std::int64_t last_seq) noexcept { last_seq_ = last_seq; }
  std::int64_t next_seq() noexcept { return ++last_seq_; }
  // From now on everything new is refused with 503.
  void stop_accepting() noexcept { accepting_ = false; }

  // `reply` is called exactly once, at once or later, unless the daemon stops. 202 means durable in the outbox.
  void send(SendRequest request, Caller caller, Reply reply);

 private:
  struct Operation {
    SendRequest request;
    Caller caller;
    Reply reply;
    protocol::Fingerprint fingerprint{};
    std::string mesh;  // slug, once chosen
    ParsedTarget target;
    std::string target_spec;  // once resolved
    std::string text;         // what is sealed: the message, or what a hook made of it
  };
  using Shared = std::shared_ptr<Operation>;

  void check_known_id(const Shared& operation);
  void select_mesh(const Shared& operation);
  void resolve_target(const Shared& operation);
  void resolve_among_peers(const Shared& operation, bool fresh);
  void resolve_among_known(const Shared& operation, std::string why_not_online);
  void resolve_topic_name(const Shared& operation);
  void run_hooks(const Shared& operation);
  void seal(const Shared& operation);
  void accept(const Shared& operation, OutboxRow row);

  ApiAnswer answer_known(const Operation& operation, ExistingSend existing) const;
  void refuse(const Shared& operation, ApiAnswer answer);
  void fail_route(const Shared& operation, std::string_view why);
  protocol::RandomSource random_source() const;

  const HostApi* host_ = nullptr;
  const DaemonOptions* options_ = nullptr;
  Membership* membership_ = nullptr;
  OutboxStore* outbox_ = nullptr;
  KnownPeers* known_ = nullptr;
  Drain* drain_ = nullptr;
  HookChain* hooks_ = nullptr;
  SendMetrics metrics_;
  std::int64_t last_seq_ = 0;
  bool accepting_ = true;
};

}  // namespace cm::daemon
