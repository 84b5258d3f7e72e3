// One link: the WebSocket of one identity to one broker, kept connected until it is closed.
#pragma once

#include <claudemesh/cpp/websocket.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/broker_link/src/ack_classifier.hpp"
#include "plugins/broker_link/src/deadline_table.hpp"
#include "plugins/broker_link/src/features_json.hpp"
#include "plugins/broker_link/src/link_types.hpp"
#include "plugins/broker_link/src/reconnect_policy.hpp"
#include "protocol/json.hpp"
#include "protocol/wire_reader.hpp"

namespace cm::broker_link {

class Link;

// Told what cm.signaling/1 needs of the links. [loop]
class LinkObserver {
 public:
  // It opened, or its connection ended.
  virtual void link_changed(Link& link) = 0;
  // A frame whose type begins with "p2p_" and that answers no request.
  virtual void link_signal(Link& link, const protocol::JsonValue& frame) = 0;

 protected:
  ~LinkObserver() = default;
};

// Lives on the loop of the instance. Callbacks may call send, request, acknowledge and close of this link; after close
// none follows. The owner destroys a closed link later, never inside one of its callbacks.
class Link final : public WebSocketOwner {
 public:
  // `host`, `options` and `metrics` outlive the link. `finished` is called once, when a closed link holds no
  // connection any more.
  Link(const HostApi& host, const LinkOptions& options, const LinkMetrics& metrics, cm_handle handle, Identity identity,
       const cm_link_callbacks& callbacks, void* user, std::function<void()> finished);
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link() = default;

  // Begins to connect, on the next turn of the loop.
  void start();
  // Says goodbye with 1000 when connected; nothing is reported any more.
  void close();

  void set_observer(LinkObserver* observer) noexcept { observer_ = observer; }
  const Identity& identity() const noexcept { return identity_; }
  bool is_open() const noexcept { return phase_ == Phase::kOpen; }
  // Whether the broker's hello_ack promised to pass signals.
  bool passes_signals() const noexcept { return passes_signals_; }

  // Functions of cm.transport/1.
  cm_status send(const cm_outbound* messages, std::uint64_t count, std::uint64_t* out_taken);
  cm_status acknowledge(std::string_view message_id, std::string_view client_message_id);
  cm_status request(std::string_view json, std::uint64_t timeout_ms, cm_reply_callback callback, void* user);

 private:
  enum class Phase : std::uint8_t { kIdle, kConnecting, kHello, kNegotiating, kOpen, kWaiting, kClosed };

  struct PendingReply {
    cm_reply_callback callback = nullptr;
    void* user = nullptr;
  };
  struct Result {
    std::uint32_t outcome = CM_SEND_RETRY;
    std::string client_message_id;
    std::string message_id;
    std::string code;
    std::string error;
    std::uint64_t retry_after_ms = 0;
  };

  void on_opened() override;
  void on_messages(std::span<const cm_websocket_message> messages) override;
  void on_pong() override;
  void on_drained() override { slow_ = false; }
  void on_closed(std::uint32_t code, std::string_view reason, bool clean) override;

  void connect();
  void start_negotiation();
  void negotiation_unanswered();
  void refuse_features(const protocol::FeatureProblem& problem);
  void become_open();
  void give_up(std::string_view reason);
  void lost(std::uint32_t code, std::string_view reason);
  void watch();

  void handle_frame(const cm_websocket_message& message);
  void handle_hello_ack();
  void handle_features();
  void handle_ack();
  void handle_push();
  void handle_error();
  void answer_request(std::string_view req_id);
  void settle(std::string_view id, const SendVerdict& verdict, std::string_view message_id, std::string_view error);
  void flush_results();
  void flush_pushes();
  void arm_deadlines();
  void expire();

  bool can_take() const noexcept;
  std::uint64_t frame_limit() const noexcept;
  std::string send_frame(const cm_outbound& message) const;
  void report_state(std::uint32_t state, const StateDetail& detail);
  cm::Result<std::string> sign(std::uint32_t key, std::string_view text);
  std::uint64_t now_ms() const noexcept { return host_.monotonic_us() / 1'000; }
  std::uint64_t random() const noexcept;

  const HostApi& host_;
  const LinkOptions& options_;
  const LinkMetrics& metrics_;
  const cm_handle handle_;
  const Identity identity_;
  const cm_link_callbacks callbacks_;
  void* const user_;
  std::function<void()> finished_;

  Phase phase_ = Phase::kIdle;
  bool slow_ = false;  // the socket asked to slow down
  bool hello_sent_ = false;
  bool passes_signals_ = false;
  LinkObserver* observer_ = nullptr;
  bool knows_negotiation_ = true;  // until a broker left a negotiation unanswered
  bool refused_locally_ = false;   // we close because a required feature is missing
  std::uint64_t last_activity_ms_ = 0;
  std::uint64_t armed_deadline_ms_ = 0;
  std::string refusal_code_;  // of the `error` frame before a close
  std::string refusal_text_;
  std::string negotiation_id_;
  std::optional<LinkFeatures> features_;
  ReconnectPolicy policy_;
  protocol::FrameReader reader_;
  DeadlineTable<char> sends_;
  DeadlineTable<PendingReply> requests_;
  std::vector<Result> results_;
  std::vector<protocol::Push> pushes_;

  // Last members: destroyed first, so that nothing of the above is touched by a late callback.
  Timer phase_timer_;
  Timer watchdog_;
  Timer deadline_timer_;
  Timer flush_timer_;
  WebSocket socket_;
};

}  // namespace cm::broker_link
