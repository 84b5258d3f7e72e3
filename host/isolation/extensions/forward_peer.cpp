#include "host/isolation/extensions/forward_peer.hpp"

#include <claudemesh/cpp/text.hpp>

namespace cm::isolation {

ForwardPeer::ForwardPeer(ForwardContext& context, const ForwardRegistry& registry)
    : context_(context), registry_(registry), self_(std::make_shared<ForwardPeer*>(this)) {}

ForwardPeer::~ForwardPeer() {
  *self_ = nullptr;
}

bool ForwardPeer::handle(const Frame& frame) {
  switch (frame.method) {
    case Method::kPeerSend:
      send(frame);
      return true;
    case Method::kPeerSubscribe:
      subscribe(frame);
      return true;
    case Method::kPeerUnsubscribe:
      unsubscribe(frame);
      return true;
    default:
      return false;
  }
}

void ForwardPeer::send(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint64_t reference = reader.u64();
  cm_peer_message message = {};
  message.size = sizeof(message);
  message.priority = reader.u32();
  message.mesh = to_pview(reader.text());
  message.to = to_pview(reader.text());
  message.text = to_pview(reader.text());
  message.client_message_id = to_pview(reader.text());
  if (!reader.done()) {
    context_.session.garbage("a message that cannot be read");
    return;
  }
  const cm_extension* extension = registry_.find(reference, false);
  if (extension == nullptr || calls_waiting_ >= kPeerCallsMax) {
    context_.session.reply(frame.call, extension == nullptr ? CM_GONE : CM_BUSY);
    return;
  }
  const auto* table = static_cast<const cm_peer_v1*>(extension->table);
  auto call = std::make_unique<Call>(Call{self_, frame.call});
  Call* user = call.release();  // on_sent takes it back, also when it is called before this returns
  ++calls_waiting_;
  const cm_status status = table->send(extension->instance, &message, &on_sent, user);
  if (status != CM_OK) {
    --calls_waiting_;
    call.reset(user);
  }
  context_.session.reply(frame.call, status);
}

void ForwardPeer::on_sent(void* user, std::uint32_t http_status, cm_text_hview json) noexcept {
  const std::unique_ptr<Call> call(static_cast<Call*>(user));
  ForwardPeer* self = *call->owner;
  if (self == nullptr) {
    return;
  }
  --self->calls_waiting_;
  self->context_.session.send(Method::kPeerSent, call->number, [&](FrameWriter& writer) {
    writer.u32(http_status);
    writer.text(to_view(json));
  });
}

void ForwardPeer::subscribe(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint64_t reference = reader.u64();
  const std::uint64_t id = reader.u64();
  if (!reader.done() || subscriptions_.contains(id)) {
    context_.session.garbage("a subscription that cannot be read");
    return;
  }
  const cm_extension* extension = registry_.find(reference, false);
  if (extension == nullptr || subscriptions_.size() >= kPeerSubscriptionsMax) {
    context_.session.reply(frame.call, extension == nullptr ? CM_GONE : CM_BUSY);
    return;
  }
  auto subscription = std::make_unique<Subscription>(Subscription{this, id, reference, CM_NO_HANDLE});
  const cm_status status = static_cast<const cm_peer_v1*>(extension->table)
                               ->subscribe(extension->instance, &on_event, subscription.get(), &subscription->handle);
  if (status == CM_OK) {
    subscriptions_.emplace(id, std::move(subscription));
  }
  context_.session.reply(frame.call, status);
}

void ForwardPeer::on_event(void* user, cm_text_hview kind, cm_text_hview json) noexcept {
  const auto* subscription = static_cast<const Subscription*>(user);
  Session& session = subscription->owner->context_.session;
  session.send(Method::kPeerEvent, subscription->id, [&](FrameWriter& writer) {
    writer.text(to_view(kind));
    writer.text(to_view(json));
  });
}

void ForwardPeer::unsubscribe(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint64_t id = reader.u64();
  if (!reader.done()) {
    context_.session.garbage("a subscription that cannot be read");
    return;
  }
  if (const auto entry = subscriptions_.find(id); entry != subscriptions_.end()) {
    if (const cm_extension* extension = registry_.find(entry->second->reference, false); extension != nullptr) {
      static_cast<const cm_peer_v1*>(extension->table)->unsubscribe(extension->instance, entry->second->handle);
    }
    subscriptions_.erase(entry);
  }
  context_.session.reply(frame.call, CM_OK);
}

void ForwardPeer::unsubscribe_all(std::uint64_t reference) {
  const cm_extension* extension = registry_.find(reference, false);
  for (const auto& [id, subscription] : subscriptions_) {
    if (subscription->reference == reference && extension != nullptr) {
      static_cast<const cm_peer_v1*>(extension->table)->unsubscribe(extension->instance, subscription->handle);
    }
  }
  forget(reference);
}

void ForwardPeer::forget(std::uint64_t reference) {
  std::erase_if(subscriptions_, [reference](const auto& entry) { return entry.second->reference == reference; });
}

}  // namespace cm::isolation
