// The receiving half of Link: frames of the broker.
#include <utility>

#include "plugins/broker_link/src/link.hpp"
#include "protocol/priority_number.hpp"
#include "protocol/wire_parse.hpp"

namespace cm::broker_link {
namespace {

// What a person can do about a refused hello; brokers only say what is wrong (wire/02 section 1.4).
std::string_view refusal_hint(std::string_view code) {
  if (code == "timestamp_skew") {
    return "; the clocks of this machine and of the broker differ by more than a minute: set the one that is wrong, "
           "the link then opens by itself";
  }
  if (code == "unauthorized") {
    return "; the broker does not know this key in the mesh: join again with a new invite";
  }
  if (code == "capacity") {
    return "; the mesh has as many connections as the broker allows: end some, the link then opens by itself";
  }
  return {};
}

cm_text_hview optional_view(const std::optional<std::string>& text) {
  return text.has_value() ? to_hview(*text) : to_hview(std::string_view());
}

cm_inbound inbound_view(const protocol::Push& push) {
  cm_inbound view = {};
  view.size = sizeof(view);
  view.priority = protocol::priority_number(push.priority);
  view.message_id = to_hview(push.message_id);
  view.client_message_id = optional_view(push.client_message_id);
  view.sender_pubkey = to_hview(push.sender_pubkey);
  view.sender_member_pubkey = optional_view(push.sender_member_pubkey);
  view.sender_name = optional_view(push.sender_name);
  view.topic = optional_view(push.topic);
  view.reply_to_id = optional_view(push.reply_to_id);
  view.subtype = optional_view(push.subtype);
  view.nonce = to_hview(push.nonce);
  view.ciphertext = to_hview(push.ciphertext);
  view.created_at = to_hview(push.created_at);
  view.event = optional_view(push.event);
  view.event_json = optional_view(push.event_data_json);
  view.target = optional_view(push.target_spec);
  return view;
}

}  // namespace

void Link::on_messages(std::span<const cm_websocket_message> messages) {
  last_activity_ms_ = now_ms();
  for (const cm_websocket_message& message : messages) {
    handle_frame(message);
    if (phase_ == Phase::kClosed) {
      return;
    }
  }
  flush_results();
  flush_pushes();
  if (phase_ != Phase::kClosed) {
    arm_deadlines();
  }
}

void Link::handle_frame(const cm_websocket_message& message) {
  const std::string_view text(reinterpret_cast<const char*>(message.data), message.size);
  const cm::Result<protocol::WireType> type = reader_.open(text);
  if (!type) {
    metrics_.bad_frames.add();
    host_.log(LogLevel::kDebug, "a frame of the broker is unreadable", {{"detail", type.error().message}});
    return;
  }
  switch (*type) {
    case protocol::WireType::kAck:
      handle_ack();
      break;
    case protocol::WireType::kPush:
      handle_push();
      break;
    case protocol::WireType::kHelloAck:
      handle_hello_ack();
      break;
    case protocol::WireType::kFeatureNegotiationResponse:
      handle_features();
      break;
    case protocol::WireType::kError:
      handle_error();
      break;
    default:
      if (observer_ != nullptr && reader_.req_id().empty() && reader_.type_name().starts_with("p2p_")) {
        if (const cm::Result<protocol::JsonValue> frame = reader_.tree(); frame.ok()) {
          observer_->link_signal(*this, *frame);
        }
        break;
      }
      answer_request(reader_.req_id());
      break;
  }
}

void Link::handle_hello_ack() {
  if (phase_ != Phase::kHello) {
    return;
  }
  const cm::Result<protocol::JsonValue> ack = reader_.tree();
  passes_signals_ = ack.ok() && ack->find("p2pSignals") != nullptr;
  phase_timer_.cancel();
  start_negotiation();
}

void Link::handle_features() {
  if (negotiation_id_.empty() && knows_negotiation_) {
    return;  // nobody asked
  }
  const cm::Result<protocol::JsonValue> tree = reader_.tree();
  cm::Result<protocol::FeatureNegotiationResponse> response =
      tree ? protocol::parse_feature_response(*tree) : cm::Result<protocol::FeatureNegotiationResponse>(tree.error());
  if (!response) {
    host_.log(LogLevel::kWarn, "the broker's feature negotiation is unreadable",
              {{"url", identity_.url}, {"detail", response.error().message}});
    if (phase_ == Phase::kNegotiating) {
      negotiation_unanswered();
    }
    return;
  }
  knows_negotiation_ = true;
  negotiation_id_.clear();
  const protocol::FeatureEvaluation evaluation = protocol::evaluate_features(identity_.features, *response);
  if (evaluation.problem.has_value()) {
    phase_timer_.cancel();
    refuse_features(*evaluation.problem);
    return;
  }
  features_ = summarise_features(identity_.features, *response);
  if (phase_ == Phase::kNegotiating || phase_ == Phase::kOpen) {
    become_open();
  }
}

void Link::handle_ack() {
  const cm::Result<protocol::AckView> ack = reader_.ack();
  if (!ack) {
    metrics_.bad_frames.add();
    host_.log(LogLevel::kDebug, "an ack of the broker is unreadable", {{"detail", ack.error().message}});
    return;
  }
  if (ack->req_id.has_value() && requests_.contains(*ack->req_id)) {
    answer_request(*ack->req_id);
    return;
  }
  settle(ack->id, classify_ack(*ack), ack->message_id, ack->error.value_or(std::string_view()));
}

void Link::settle(std::string_view id, const SendVerdict& verdict, std::string_view message_id,
                  std::string_view error) {
  if (!sends_.take(id).has_value()) {
    return;  // timed out before, and already reported
  }
  switch (verdict.outcome) {
    case SendOutcome::kAccepted:
      metrics_.accepted.add();
      break;
    case SendOutcome::kDuplicate:
      metrics_.duplicates.add();
      break;
    case SendOutcome::kRetry:
      metrics_.retries.add();
      break;
    case SendOutcome::kRejected:
      metrics_.rejected.add();
      break;
  }
  results_.push_back(Result{static_cast<std::uint32_t>(verdict.outcome), std::string(id), std::string(message_id),
                            std::string(verdict.code), std::string(error), verdict.retry_after_ms});
}

void Link::handle_push() {
  const cm::Result<protocol::PushView> push = reader_.push();
  if (!push) {
    metrics_.bad_frames.add();
    host_.log(LogLevel::kWarn, "a push of the broker is unreadable", {{"detail", push.error().message}});
    return;
  }
  metrics_.pushes.add();
  pushes_.push_back(protocol::to_owned(*push));
}

void Link::handle_error() {
  const cm::Result<protocol::JsonValue> tree = reader_.tree();
  const cm::Result<protocol::ErrorFrame> error =
      tree ? protocol::parse_error(*tree) : cm::Result<protocol::ErrorFrame>(tree.error());
  if (!error) {
    metrics_.bad_frames.add();
    return;
  }
  // Some errors of 1.37.0 carry the request's id in `id` (wire/02 section 1.2).
  const std::string req_id = error->req_id.value_or(std::string());
  const std::string id = error->id.value_or(std::string());
  if (phase_ == Phase::kNegotiating && !negotiation_id_.empty() &&
      (req_id == negotiation_id_ || id == negotiation_id_)) {
    negotiation_unanswered();
    return;
  }
  if (requests_.contains(req_id)) {
    answer_request(req_id);
    return;
  }
  if (requests_.contains(id)) {
    answer_request(id);
    return;
  }
  if (sends_.contains(id)) {
    settle(id, classify_error_code(error->code), {}, error->message);
    return;
  }
  if (phase_ == Phase::kHello) {
    refusal_code_ = error->code;
    refusal_text_ = error->message + std::string(refusal_hint(error->code));
  }
  host_.log(LogLevel::kWarn, "the broker reports an error", {{"code", error->code}, {"detail", error->message}});
}

void Link::answer_request(std::string_view req_id) {
  if (req_id.empty()) {
    return;
  }
  const std::optional<PendingReply> reply = requests_.take(req_id);
  if (reply.has_value() && reply->callback != nullptr) {
    reply->callback(reply->user, CM_OK, to_hview(reader_.text()));
  }
}

void Link::flush_results() {
  if (results_.empty() || phase_ == Phase::kClosed) {
    return;
  }
  const std::vector<Result> results = std::exchange(results_, {});
  std::vector<cm_send_result> views;
  views.reserve(results.size());
  for (const Result& result : results) {
    cm_send_result view = {};
    view.size = sizeof(view);
    view.outcome = result.outcome;
    view.client_message_id = to_hview(result.client_message_id);
    view.message_id = to_hview(result.message_id);
    view.code = to_hview(result.code);
    view.error = to_hview(result.error);
    view.retry_after_ms = result.retry_after_ms;
    views.push_back(view);
  }
  if (callbacks_.sent != nullptr) {
    callbacks_.sent(user_, handle_, views.data(), views.size());
  }
}

void Link::flush_pushes() {
  if (pushes_.empty() || phase_ == Phase::kClosed) {
    return;
  }
  const std::vector<protocol::Push> pushes = std::exchange(pushes_, {});
  std::vector<cm_inbound> views;
  views.reserve(pushes.size());
  for (const protocol::Push& push : pushes) {
    views.push_back(inbound_view(push));
  }
  if (callbacks_.inbound != nullptr) {
    callbacks_.inbound(user_, handle_, views.data(), views.size());
  }
}

}  // namespace cm::broker_link
