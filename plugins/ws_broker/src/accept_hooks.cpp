// The step between the limits and the store: hooks that see, change or refuse a send. The sends of one connection pass
// one after the other, so that a hook which takes its time does not change their order.
#include "plugins/ws_broker/src/accept.hpp"
#include "protocol/object_writer.hpp"

namespace cm::broker {

void AcceptPipeline::run_hooks(SendRequestPtr request) {
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
  hooks_.run("broker.accept", std::move(facts), message.ciphertext, [this, connection](HookOutcome outcome) {
    auto& waiting = at_hooks_[connection];
    SendRequestPtr first = std::move(waiting.front());
    waiting.pop_front();
    if (first->overtakes) {
      abandon(*first);
    } else if (outcome.allowed) {
      if (outcome.payload) {
        first->message->ciphertext = std::move(*outcome.payload);
      }
      store(std::move(first));
      context_.host.post([this] { flush(); });
    } else {
      const Refusal refusal{"forbidden: " + outcome.text, protocol::kAckForbidden, "hook_denied", false, std::nullopt};
      refuse(*first, refusal);
      settle_waiting(*first, nullptr, refusal);
      leave();
    }
    if (waiting.empty()) {
      at_hooks_.erase(connection);
    } else {
      context_.host.post([this, connection] { run_next_hook(connection); });  // not from here: the line may be long
    }
  });
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
