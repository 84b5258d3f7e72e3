// cm.peer/1 as an isolated plugin uses it.
#include <claudemesh/ext/peer.h>

#include <unordered_map>

#include "host/isolation/runner/registry.hpp"
#include "host/isolation/runner/runtime.hpp"

namespace cm::isolation {

namespace {

struct Waiting {
  cm_peer_sent sent;
  void* user;
};
struct Subscription {
  cm_peer_event event;
  void* user;
};

std::unordered_map<std::uint64_t, Waiting>& waiting() {
  static std::unordered_map<std::uint64_t, Waiting> all;
  return all;
}
std::map<cm_handle, Subscription>& subscriptions() {
  static std::map<cm_handle, Subscription> all;
  return all;
}
cm_handle next_subscription = 1;

cm_status peer_send(void* instance, const cm_peer_message* message, cm_peer_sent sent, void* user) noexcept {
  Runtime& runtime = Runtime::get();
  const RemoteReference* reference = live_reference(instance);
  if (reference == nullptr || message == nullptr) {
    return reference == nullptr ? CM_GONE : CM_INVALID;
  }
  const std::uint64_t number = runtime.next_call();
  const cm_status status = runtime.call_as(
      number, Method::kPeerSend,
      [&](FrameWriter& writer) {
        writer.u64(reference->id);
        writer.u32(message->priority);
        writer.text(to_view(message->mesh));
        writer.text(to_view(message->to));
        writer.text(to_view(message->text));
        writer.text(to_view(message->client_message_id));
      },
      [](FrameReader&) {});
  if (status == CM_OK && sent != nullptr) {
    waiting().emplace(number, Waiting{sent, user});
  }
  return status;
}

cm_status peer_subscribe(void* instance, cm_peer_event event, void* user, cm_handle* out) noexcept {
  const RemoteReference* reference = live_reference(instance);
  if (reference == nullptr || event == nullptr) {
    return reference == nullptr ? CM_GONE : CM_INVALID;
  }
  const cm_handle id = next_subscription++;
  const cm_status status = Runtime::get().call(Method::kPeerSubscribe, [&](FrameWriter& writer) {
    writer.u64(reference->id);
    writer.u64(id);
  });
  if (status == CM_OK) {
    subscriptions()[id] = Subscription{event, user};
    if (out != nullptr) {
      *out = id;
    }
  }
  return status;
}

void peer_unsubscribe(void* instance, cm_handle subscription) noexcept {
  if (subscriptions().erase(subscription) != 0 && live_reference(instance) != nullptr) {
    Runtime::get().call(Method::kPeerUnsubscribe, [subscription](FrameWriter& writer) { writer.u64(subscription); });
  }
}

constexpr cm_peer_v1 kPeer = {sizeof(cm_peer_v1), 0, peer_send, peer_subscribe, peer_unsubscribe};

void on_sent(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t http_status = reader.u32();
  const std::string_view json = reader.text();
  const auto entry = waiting().find(frame.call);
  if (!reader.done() || entry == waiting().end()) {
    return;
  }
  const Waiting copy = entry->second;
  waiting().erase(entry);
  Runtime::get().enter(Callback::kPeer, [&] { copy.sent(copy.user, http_status, to_hview(json)); });
}

void on_event(const Frame& frame) {
  FrameReader reader(frame);
  const std::string_view kind = reader.text();
  const std::string_view json = reader.text();
  const auto entry = subscriptions().find(frame.call);
  if (!reader.done() || entry == subscriptions().end()) {
    return;
  }
  const Subscription copy = entry->second;
  Runtime::get().enter(Callback::kPeer, [&] { copy.event(copy.user, to_hview(kind), to_hview(json)); });
}

}  // namespace

const void* runner_peer_table() noexcept {
  return &kPeer;
}

bool peer_frame(OwnedFrame& owned) {
  if (owned.method != Method::kPeerSent && owned.method != Method::kPeerEvent) {
    return false;
  }
  const bool sent = owned.method == Method::kPeerSent;
  const Frame frame = std::move(owned).view();
  sent ? on_sent(frame) : on_event(frame);
  return true;
}

}  // namespace cm::isolation
