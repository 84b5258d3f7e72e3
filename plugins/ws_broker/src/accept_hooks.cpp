// The steps between the limits and the store: hooks that see, change or refuse a send, and the feature that names the
// recipients of a target of its own. The sends of one connection pass one after the other, so that a hook or a feature
// which takes its time does not change their order.
#include "plugins/ws_broker/src/accept.hpp"
#include "protocol/object_writer.hpp"

namespace cm::broker {

namespace {

bool may_be_repeated(std::string_view code) {
  return code == "internal" || code == protocol::kAckRateLimited || code == protocol::kAckStorage;
}

}  // namespace

void AcceptPipeline::stand_in_line(SendRequestPtr request) {
  const std::uint64_t connection = request->connection;
  auto& line = at_hooks_[connection];
  line.push_back(std::move(request));
  if (line.size() == 1) {
    run_next_hook(connection);
  }
}

void AcceptPipeline::run_next_hook(std::uint64_t connection) {
  const auto line = at_hooks_.find(connection);
  if (line == at_hooks_.end() || line->second.empty()) {
    return;
  }
  if (hooks_.empty()) {
    hook_answered(connection, HookOutcome());
    return;
  }
  const SendRequest& request = *line->second.front();
  const Message& message = *request.message;
  std::string facts;
  protocol::ObjectWriter object(facts);
  object.text("mesh", message.mesh_id);
  object.text("sender", message.sender_pubkey);
  object.text("target", message.target_spec);
  object.text("priority", protocol::to_string(message.priority));
  object.integer("bytes", static_cast<std::int64_t>(message.ciphertext.size()));
  object.close();
  hooks_.run("broker.accept", std::move(facts), message.ciphertext,
             [this, connection](HookOutcome outcome) { hook_answered(connection, std::move(outcome)); });
}

void AcceptPipeline::hook_answered(std::uint64_t connection, HookOutcome outcome) {
  SendRequest& first = *at_hooks_[connection].front();
  if (first.overtakes) {
    abandon(*leave_line(connection));
    return;
  }
  if (!outcome.allowed) {
    refuse_first(connection,
                 Refusal{"forbidden: " + outcome.text, protocol::kAckForbidden, "hook_denied", false, std::nullopt});
    return;
  }
  if (outcome.payload) {
    first.message->ciphertext = std::move(*outcome.payload);
  }
  if (first.to_feature) {
    ask_feature(connection);
    return;
  }
  store(leave_line(connection));
  context_.host.post([this] { flush(); });
}

void AcceptPipeline::ask_feature(std::uint64_t connection) {
  SendRequest& first = *at_hooks_[connection].front();
  Message& message = *first.message;
  message.created_at_ms = context_.wall_ms();
  message.id = context_.ids.next(message.created_at_ms, context_.random);
  features_->ask_target(first,
                        [this, connection](TargetAnswer answer) { feature_answered(connection, std::move(answer)); });
}

void AcceptPipeline::feature_answered(std::uint64_t connection, TargetAnswer answer) {
  const auto line = at_hooks_.find(connection);
  if (line == at_hooks_.end()) {
    return;  // the broker has stopped
  }
  SendRequest& first = *line->second.front();
  if (first.overtakes) {
    abandon(*leave_line(connection));
    return;
  }
  if (!answer.error_code.empty()) {
    first.refusal_code = std::move(answer.error_code);
    const bool retryable = may_be_repeated(first.refusal_code);
    refuse_first(connection, Refusal{answer.error_text, first.refusal_code, "feature", retryable, std::nullopt});
    return;
  }
  first.route.multicast = true;
  for (Member* member : answer.members) {
    first.route.recipients.push_back(Recipient{member, {}});
  }
  first.topic = std::move(answer.topic);
  first.work = std::move(answer.work);
  store(leave_line(connection));
  context_.host.post([this] { flush(); });
}

void AcceptPipeline::refuse_first(std::uint64_t connection, const Refusal& refusal) {
  const SendRequestPtr first = leave_line(connection);
  refuse(*first, refusal);
  settle_waiting(*first, nullptr, refusal);
  leave();
}

// Takes the first one out; the next one follows on a later turn, because the line may be long.
SendRequestPtr AcceptPipeline::leave_line(std::uint64_t connection) {
  auto& waiting = at_hooks_[connection];
  SendRequestPtr first = std::move(waiting.front());
  waiting.pop_front();
  if (waiting.empty()) {
    at_hooks_.erase(connection);
  } else {
    context_.host.post([this, connection] { run_next_hook(connection); });
  }
  return first;
}

// Sends that are behind a refused one of their connection, and would be stored before its repetition.
void AcceptPipeline::refuse_behind_hooks(std::uint64_t connection) {
  const auto line = at_hooks_.find(connection);
  if (line == at_hooks_.end()) {
    return;
  }
  for (const SendRequestPtr& request : line->second) {
    request->overtakes = true;
  }
}

}  // namespace cm::broker
