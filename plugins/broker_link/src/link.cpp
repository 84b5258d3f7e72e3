#include "plugins/broker_link/src/link.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "plugins/broker_link/src/handshake.hpp"
#include "protocol/close_codes.hpp"
#include "protocol/encoding.hpp"
#include "protocol/ids.hpp"
#include "protocol/lease.hpp"
#include "protocol/priority_number.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker_link {
namespace {

// An envelope around the ciphertext: names of the members, ids, keys, fingerprint.
constexpr std::uint64_t kFrameOverheadBytes = 1'024;

}  // namespace

Link::Link(const HostApi& host, const LinkOptions& options, const LinkMetrics& metrics, cm_handle handle,
           Identity identity, const cm_link_callbacks& callbacks, void* user, std::function<void()> finished)
    : host_(host),
      options_(options),
      metrics_(metrics),
      handle_(handle),
      identity_(std::move(identity)),
      callbacks_(callbacks),
      user_(user),
      finished_(std::move(finished)),
      policy_(options.refused_retry_ms),
      reader_(options.receive_bytes_max),
      phase_timer_(host),
      watchdog_(host),
      deadline_timer_(host),
      flush_timer_(host) {}

std::uint64_t Link::random() const noexcept {
  std::uint64_t value = 0;
  std::uint8_t bytes[sizeof(value)];
  host_.fill_random(bytes, sizeof(bytes));
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

cm::Result<std::string> Link::sign(std::uint32_t key, std::string_view text) {
  protocol::Signature signature{};
  const cm_status status = callbacks_.sign(user_, handle_, key, to_hview(text), signature.data());
  if (status != CM_OK) {
    return error_from_status(status, "the owner of the link refused to sign the hello; look at its log");
  }
  return protocol::hex_encode(signature);
}

// --- life ------------------------------------------------------------------------------------------------------------

void Link::start() {
  phase_timer_.start_ms(0, [this] {
    report_state(CM_LINK_CONNECTING, {});
    if (phase_ != Phase::kClosed) {
      connect();
    }
  });
}

void Link::connect() {
  phase_ = Phase::kConnecting;
  hello_sent_ = false;
  passes_signals_ = false;
  refused_locally_ = false;
  slow_ = false;
  refusal_code_.clear();
  refusal_text_.clear();
  metrics_.connects.add();
  cm_websocket_options socket_options = {};
  socket_options.message_bytes_max = options_.receive_bytes_max;
  const cm_status status = socket_.connect(host_, identity_.url, socket_options, this);
  if (status != CM_OK) {
    lost(1006, "the host cannot connect to this broker address; check brokerUrl in config.json");
  }
}

void Link::on_opened() {
  last_activity_ms_ = now_ms();
  watchdog_.every_ms(protocol::kPingIntervalMs, [this] { watch(); });
  const cm::Result<std::string> hello =
      build_hello(identity_, options_.hostname, host_.unix_ms(),
                  [this](std::uint32_t key, std::string_view text) { return sign(key, text); });
  if (phase_ == Phase::kClosed) {
    return;
  }
  if (!hello) {
    give_up(hello.error().message);
    return;
  }
  phase_ = Phase::kHello;
  socket_.send_text(*hello);
  hello_sent_ = true;
  phase_timer_.start_ms(options_.hello_timeout_ms, [this] { give_up("hello_ack_timeout"); });
}

void Link::start_negotiation() {
  if (!identity_.negotiates()) {
    become_open();
    return;
  }
  protocol::FeatureNegotiationRequest request = identity_.features;
  std::uint8_t bytes[8];
  host_.fill_random(bytes, sizeof(bytes));
  negotiation_id_ = protocol::hex_encode(bytes);
  request.req_id = negotiation_id_;
  std::string frame;
  protocol::write_feature_request(frame, request);
  socket_.send_text(frame);
  // A broker that was silent once is an old one: do not make every reconnect wait for it. Should it answer after all,
  // the state is reported again.
  if (!knows_negotiation_ && identity_.features.require.empty()) {
    features_ = unanswered_features(identity_.features);
    become_open();
    return;
  }
  phase_ = Phase::kNegotiating;
  phase_timer_.start_ms(options_.negotiation_timeout_ms, [this] { negotiation_unanswered(); });
}

void Link::negotiation_unanswered() {
  phase_timer_.cancel();
  knows_negotiation_ = false;
  negotiation_id_.clear();
  if (!identity_.features.require.empty()) {
    refuse_features(unanswered_problem(identity_.features));
    return;
  }
  features_ = unanswered_features(identity_.features);
  become_open();
}

void Link::refuse_features(const protocol::FeatureProblem& problem) {
  refused_locally_ = true;
  refusal_code_ = std::string(protocol::to_string(problem.fault));
  refusal_text_ = "required feature " + problem.feature + ": " + problem.detail +
                  "; upgrade the broker or remove the name from features_require";
  host_.log(LogLevel::kWarn, "the broker lacks a required feature",
            {{"url", identity_.url}, {"feature", problem.feature}, {"detail", problem.detail}});
  phase_ = Phase::kConnecting;  // no sends any more; on_closed decides what follows
  socket_.close(static_cast<std::uint32_t>(protocol::CloseCode::kFeatureUnavailable),
                protocol::close_reason_json(problem));
}

void Link::become_open() {
  phase_timer_.cancel();
  phase_ = Phase::kOpen;
  policy_.opened(now_ms());
  StateDetail detail;
  detail.features = features_.has_value() ? &*features_ : nullptr;
  report_state(CM_LINK_OPEN, detail);
  if (observer_ != nullptr && phase_ == Phase::kOpen) {
    observer_->link_changed(*this);
  }
}

// Drops the connection from our side; the host calls no one back.
void Link::give_up(std::string_view reason) {
  const std::string text(reason);
  socket_.terminate();
  lost(1006, text);
}

void Link::watch() {
  switch (
      protocol::client_watchdog(static_cast<std::int64_t>(last_activity_ms_), static_cast<std::int64_t>(now_ms()))) {
    case protocol::LeaseAction::kPing:
      socket_.ping();
      break;
    case protocol::LeaseAction::kTerminate:
      give_up("idle: nothing came from the broker for 75 s");
      break;
    default:
      break;
  }
}

void Link::on_pong() {
  last_activity_ms_ = now_ms();
}

void Link::on_closed(std::uint32_t code, std::string_view reason, bool clean) {
  static_cast<void>(clean);
  if (phase_ == Phase::kClosed) {
    if (finished_) {
      finished_();
    }
    return;
  }
  const std::string text(reason);
  lost(refused_locally_ ? static_cast<std::uint32_t>(protocol::CloseCode::kFeatureUnavailable) : code, text);
}

void Link::lost(std::uint32_t code, std::string_view reason) {
  metrics_.closes.add();
  phase_ = Phase::kWaiting;
  phase_timer_.cancel();
  watchdog_.cancel();
  const Reconnect next = policy_.lost(Lost{code, reason, now_ms(), random()});
  StateDetail detail;
  detail.reason = refusal_text_.empty() ? std::string(reason) : refusal_text_;
  detail.code = refusal_code_.empty() ? std::to_string(code) : refusal_code_;
  detail.attempt = next.refused ? 0 : policy_.attempt();
  detail.retry_in_ms = std::max<std::uint64_t>(next.delay_ms, 1);
  for (auto& waiting : sends_.take_all()) {
    results_.push_back(Result{CM_SEND_RETRY, std::move(waiting.id), {}, "closed", detail.reason, 0});
  }
  const auto replies = requests_.take_all();
  deadline_timer_.cancel();
  if (observer_ != nullptr) {
    observer_->link_changed(*this);
  }
  phase_timer_.start_ms(next.delay_ms, [this] { connect(); });
  for (const auto& reply : replies) {
    if (phase_ == Phase::kClosed) {
      return;
    }
    if (reply.value.callback != nullptr) {
      reply.value.callback(reply.value.user, CM_IO, to_hview("the connection to the broker closed before the reply"));
    }
  }
  flush_results();
  report_state(next.refused ? CM_LINK_REFUSED : CM_LINK_RECONNECTING, detail);
}

void Link::close() {
  const bool connected = socket_.is_open();
  phase_ = Phase::kClosed;
  phase_timer_.cancel();
  watchdog_.cancel();
  deadline_timer_.cancel();
  flush_timer_.cancel();
  static_cast<void>(sends_.take_all());
  static_cast<void>(requests_.take_all());
  results_.clear();
  pushes_.clear();
  if (connected && hello_sent_) {
    socket_.close(static_cast<std::uint32_t>(protocol::CloseCode::kNormal), {});
    return;  // on_closed finishes; the host bounds the wait for the peer's close frame
  }
  socket_.terminate();
  if (finished_) {
    finished_();
  }
}

// --- outgoing --------------------------------------------------------------------------------------------------------

bool Link::can_take() const noexcept {
  return sends_.size() < options_.window && !(slow_ && sends_.size() != 0);
}

std::uint64_t Link::frame_limit() const noexcept {
  const std::uint64_t negotiated = features_.has_value() ? features_->inline_bytes_max : 0;
  return negotiated == 0 ? options_.frame_bytes_max
                         : std::max(negotiated + kFrameOverheadBytes, options_.frame_bytes_max);
}

std::string Link::send_frame(const cm_outbound& message) const {
  protocol::SendView view;
  view.id = to_view(message.client_message_id);
  view.target_spec = to_view(message.target);
  view.priority = protocol::priority_of(message.priority);
  view.nonce = to_view(message.nonce);
  view.ciphertext = to_view(message.ciphertext);
  if (message.reply_to_id.size != 0) {
    view.reply_to_id = to_view(message.reply_to_id);
  }
  view.client_message_id = to_view(message.client_message_id);
  if (message.request_fingerprint.size != 0) {
    view.request_fingerprint = to_view(message.request_fingerprint);
  }
  std::string frame;
  frame.reserve(view.ciphertext.size() + kFrameOverheadBytes);
  protocol::write_send(frame, view);
  return frame;
}

cm_status Link::send(const cm_outbound* messages, std::uint64_t count, std::uint64_t* out_taken) {
  if (phase_ != Phase::kOpen) {
    return CM_GONE;
  }
  const std::uint64_t deadline_ms = now_ms() + options_.ack_timeout_ms;
  std::uint64_t taken = 0;
  while (taken < count && can_take()) {
    const cm_outbound& message = messages[taken];
    const std::string_view id = to_view(message.client_message_id);
    const std::string frame = send_frame(message);
    ++taken;
    if (frame.size() > frame_limit()) {
      // Over the broker's limit the connection would be closed with 1009, again and again.
      results_.push_back(Result{CM_SEND_REJECTED,
                                std::string(id),
                                {},
                                std::string(protocol::kAckPayloadTooLarge),
                                "the frame has " + std::to_string(frame.size()) + " bytes, the broker takes at most " +
                                    std::to_string(frame_limit()) + "; send a shorter message or a file",
                                0});
      continue;
    }
    if (!sends_.add(id, deadline_ms, 0)) {
      results_.push_back(Result{CM_SEND_RETRY,
                                std::string(id),
                                {},
                                "in_flight",
                                "this client message id is on its way already; wait for its answer",
                                0});
      continue;
    }
    slow_ = socket_.send_text(frame) == CM_BUSY || slow_;
  }
  if (!results_.empty()) {
    flush_timer_.start_ms(0, [this] { flush_results(); });
  }
  arm_deadlines();
  if (taken == 0 && count != 0) {
    return CM_BUSY;
  }
  *out_taken = taken;
  return CM_OK;
}

cm_status Link::acknowledge(std::string_view message_id, std::string_view client_message_id) {
  // A push may come before hello_ack; whoever pushed to us knows us.
  if (!hello_sent_ || !socket_.is_open() || phase_ == Phase::kClosed) {
    return CM_GONE;
  }
  protocol::ClientAckView ack;
  if (!client_message_id.empty()) {
    ack.client_message_id = client_message_id;
  }
  if (!message_id.empty()) {
    ack.broker_message_id = message_id;
  }
  std::string frame;
  protocol::write_client_ack(frame, ack);
  slow_ = socket_.send_text(frame) == CM_BUSY || slow_;  // all sends of one turn leave in one write
  return CM_OK;
}

cm_status Link::request(std::string_view json, std::uint64_t timeout_ms, cm_reply_callback callback, void* user) {
  if (phase_ != Phase::kOpen) {
    return CM_GONE;
  }
  if (requests_.size() >= options_.requests_max) {
    return CM_BUSY;
  }
  cm::Result<protocol::JsonValue> tree = protocol::parse_json(json);
  if (!tree || tree->find("type") == nullptr) {
    return CM_INVALID;
  }
  if (callback != nullptr) {
    std::uint8_t bytes[8];
    host_.fill_random(bytes, sizeof(bytes));
    const std::string id = protocol::hex_encode(bytes);
    tree->set("_reqId", protocol::JsonValue(id));
    if (!requests_.add(id, now_ms() + timeout_ms, PendingReply{callback, user})) {
      return CM_BUSY;
    }
  }
  socket_.send_text(protocol::to_json(*tree));
  arm_deadlines();
  return CM_OK;
}

// --- reports ---------------------------------------------------------------------------------------------------------

void Link::report_state(std::uint32_t state, const StateDetail& detail) {
  if (phase_ == Phase::kClosed || callbacks_.state == nullptr) {
    return;
  }
  const std::string json = state_detail_json(detail);
  callbacks_.state(user_, handle_, state, to_hview(json));
}

void Link::arm_deadlines() {
  const std::uint64_t next_ms = std::min(sends_.next_deadline_ms(), requests_.next_deadline_ms());
  if (next_ms == kNoDeadline) {
    deadline_timer_.cancel();
    return;
  }
  const std::uint64_t now = now_ms();
  if (!deadline_timer_.active() || next_ms < armed_deadline_ms_) {
    armed_deadline_ms_ = next_ms;
    deadline_timer_.start_ms(next_ms > now ? next_ms - now : 0, [this] { expire(); });
  }
}

void Link::expire() {
  const std::uint64_t now = now_ms();
  for (auto& waiting : sends_.take_expired(now)) {
    metrics_.ack_timeouts.add();
    results_.push_back(
        Result{CM_SEND_RETRY, std::move(waiting.id), {}, "timeout", "the broker did not acknowledge in time", 0});
  }
  const auto replies = requests_.take_expired(now);
  for (const auto& reply : replies) {
    reply.value.callback(reply.value.user, CM_BUSY, to_hview("the broker did not reply in time"));
    if (phase_ == Phase::kClosed) {
      return;
    }
  }
  flush_results();
  if (phase_ != Phase::kClosed) {
    arm_deadlines();
  }
}

}  // namespace cm::broker_link
