#include "host/isolation/extensions/transport_proxy.hpp"

#include <claudemesh/cpp/text.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "host/isolation/isolated_plugin.hpp"

namespace cm::isolation {

namespace {

TransportProxy& of(void* instance) {
  return static_cast<IsolatedPlugin*>(instance)->transport();
}

std::array<cm_text_pview, kIdentityTexts> texts_of(const cm_link_identity& identity) {
  return {
      identity.url,          identity.mesh_id,      identity.member_id, identity.member_pubkey, identity.session_pubkey,
      identity.session_id,   identity.display_name, identity.cwd,       identity.role,          identity.groups_json,
      identity.features_json};
}

constexpr std::string_view kChildGone = R"({"reason":"the process of the transport plugin has ended"})";

// Any state that a child may tell. CONNECTING is where a link begins.
bool is_state(std::uint32_t state) {
  return state >= CM_LINK_CONNECTING && state <= CM_LINK_REFUSED;
}

}  // namespace

TransportProxy::TransportProxy()
    : table_{
          sizeof(cm_transport_v1),
          0,
          [](void* instance) noexcept { return of(instance).name(); },
          [](void* instance, const cm_link_identity* identity, const cm_link_callbacks* callbacks, void* user,
             cm_handle* out) noexcept { return of(instance).open(*identity, *callbacks, user, out); },
          [](void* instance, cm_handle link) noexcept { of(instance).close(link); },
          [](void* instance, cm_handle link, const cm_outbound* messages, std::uint64_t count,
             std::uint64_t* out) noexcept { return of(instance).send(link, messages, count, out); },
          [](void* instance, cm_handle link, cm_text_pview message_id, cm_text_pview client_id) noexcept {
            return of(instance).acknowledge(link, to_view(message_id), to_view(client_id));
          },
          [](void* instance, cm_handle link, cm_text_pview json, std::uint64_t timeout_ms, cm_reply_callback callback,
             void* user) noexcept { return of(instance).request(link, to_view(json), timeout_ms, callback, user); }} {}

TransportProxy::Link* TransportProxy::find(cm_handle link) {
  const auto entry = links_.find(link);
  return entry == links_.end() ? nullptr : &entry->second;
}

// --- what the host asks ----------------------------------------------------------------------------------------------

cm_status TransportProxy::open(const cm_link_identity& identity, const cm_link_callbacks& callbacks, void* user,
                               cm_handle* out) {
  if (links_.size() >= kLinksMax) {
    return CM_BUSY;
  }
  Link link;
  link.kind = identity.kind;
  link.pid = identity.pid;
  for (const cm_text_pview& text : texts_of(identity)) {
    link.texts.emplace_back(to_view(text));
  }
  std::memcpy(&link.callbacks, &callbacks, std::min<std::size_t>(callbacks.size, sizeof(link.callbacks)));
  link.user = user;
  const cm_handle handle = next_link_++;
  const Link& entry = links_.emplace(handle, std::move(link)).first->second;
  *out = handle;
  if (session_ != nullptr) {
    send_open(handle, entry);
  }
  return CM_OK;
}

void TransportProxy::send_open(cm_handle handle, const Link& link) {
  session_->send(Method::kLinkOpen, handle, [&link](FrameWriter& writer) {
    writer.u32(link.kind);
    writer.i64(link.pid);
    for (const std::string& text : link.texts) {
      writer.text(text);
    }
  });
}

void TransportProxy::close(cm_handle link) {
  if (links_.erase(link) == 0) {
    return;
  }
  std::erase_if(requests_, [link](const auto& entry) { return entry.second.link == link; });
  if (session_ != nullptr) {
    session_->send(Method::kLinkClose, link);
  }
}

cm_status TransportProxy::send(cm_handle handle, const cm_outbound* messages, std::uint64_t count,
                               std::uint64_t* out_taken) {
  *out_taken = 0;
  Link* link = find(handle);
  if (link == nullptr || link->state != CM_LINK_OPEN || session_ == nullptr) {
    return CM_GONE;
  }
  const std::size_t room = kLinkWindowMax - std::min(kLinkWindowMax, link->in_flight.size());
  const std::uint64_t taken = session_->crowded() ? 0 : std::min<std::uint64_t>(count, room);
  if (taken == 0) {
    return count == 0 ? CM_OK : CM_BUSY;
  }
  const bool sent = session_->send(Method::kLinkSend, handle, [&](FrameWriter& writer) {
    writer.u32(static_cast<std::uint32_t>(taken));
    for (std::uint64_t i = 0; i < taken; ++i) {
      const cm_outbound& message = messages[i];
      writer.u32(message.priority);
      for (const cm_text_pview& text : {message.client_message_id, message.request_fingerprint, message.target,
                                        message.nonce, message.ciphertext, message.reply_to_id}) {
        writer.text(to_view(text));
      }
    }
  });
  if (!sent) {
    return CM_BUSY;
  }
  for (std::uint64_t i = 0; i < taken; ++i) {
    link->in_flight.emplace(to_view(messages[i].client_message_id));
  }
  *out_taken = taken;
  return CM_OK;
}

cm_status TransportProxy::acknowledge(cm_handle link, std::string_view message_id, std::string_view client_id) {
  if (find(link) == nullptr || session_ == nullptr) {
    return CM_GONE;
  }
  const bool sent = session_->send(Method::kLinkAcknowledge, link, [&](FrameWriter& writer) {
    writer.text(message_id);
    writer.text(client_id);
  });
  return sent ? CM_OK : CM_GONE;
}

cm_status TransportProxy::request(cm_handle link, std::string_view json, std::uint64_t timeout_ms,
                                  cm_reply_callback callback, void* user) {
  if (find(link) == nullptr || session_ == nullptr) {
    return CM_GONE;
  }
  if (requests_.size() >= kLinkRequestsMax) {
    return CM_BUSY;
  }
  const std::uint64_t call = session_->next_call();
  const bool sent = session_->send(Method::kLinkRequest, call, [&](FrameWriter& writer) {
    writer.u64(link);
    writer.u64(timeout_ms);
    writer.boolean(callback != nullptr);
    writer.text(json);
  });
  if (!sent) {
    return CM_INVALID;
  }
  if (callback != nullptr) {
    requests_.emplace(call, Request{link, callback, user});
  }
  return CM_OK;
}

// --- what the child tells --------------------------------------------------------------------------------------------

bool TransportProxy::handle(const Frame& frame) {
  switch (frame.method) {
    case Method::kLinkState:
      on_state(frame);
      return true;
    case Method::kLinkInbound:
      on_inbound(frame);
      return true;
    case Method::kLinkSent:
      on_sent(frame);
      return true;
    case Method::kLinkReply:
      on_reply(frame);
      return true;
    case Method::kLinkSign:
      on_sign(frame);
      return true;
    default:
      return false;
  }
}

void TransportProxy::tell_state(cm_handle handle, std::uint32_t state, std::string_view detail) {
  Link* link = find(handle);
  if (link == nullptr) {
    return;
  }
  link->state = state;
  if (link->callbacks.state != nullptr) {
    link->callbacks.state(link->user, handle, state, to_hview(detail));
  }
}

void TransportProxy::on_state(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t state = reader.u32();
  const std::string_view detail = reader.text();
  if (!reader.done() || !is_state(state)) {
    session_->garbage("a state of a link that cannot be read");
    return;
  }
  if (state != CM_LINK_OPEN) {
    give_back(frame.call);
  }
  tell_state(frame.call, state, detail);
}

void TransportProxy::on_inbound(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t count = reader.count(4 + kInboundTexts * 4);
  std::vector<cm_inbound> messages(count);
  for (cm_inbound& message : messages) {
    message.size = sizeof(message);
    message.priority = reader.u32();
    for (cm_text_hview* text :
         {&message.message_id, &message.client_message_id, &message.sender_pubkey, &message.sender_member_pubkey,
          &message.sender_name, &message.topic, &message.reply_to_id, &message.subtype, &message.nonce,
          &message.ciphertext, &message.created_at, &message.event, &message.event_json, &message.target}) {
      *text = to_hview(reader.text());
    }
  }
  if (!reader.done()) {
    session_->garbage("received messages that cannot be read");
    return;
  }
  const Link* link = find(frame.call);
  if (link != nullptr && link->callbacks.inbound != nullptr && count != 0) {
    link->callbacks.inbound(link->user, frame.call, messages.data(), messages.size());
  }
}

void TransportProxy::on_sent(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t count = reader.count(12 + kResultTexts * 4);
  std::vector<cm_send_result> results(count);
  bool known = true;
  for (cm_send_result& result : results) {
    result.size = sizeof(result);
    result.outcome = reader.u32();
    result.retry_after_ms = reader.u64();
    for (cm_text_hview* text : {&result.client_message_id, &result.message_id, &result.code, &result.error}) {
      *text = to_hview(reader.text());
    }
    known = known && result.outcome >= CM_SEND_ACCEPTED && result.outcome <= CM_SEND_REJECTED;
  }
  if (!reader.done() || !known) {
    session_->garbage("results of sending that cannot be read");
    return;
  }
  Link* link = find(frame.call);
  if (link == nullptr) {
    return;
  }
  // One result for each message that was given, no matter what the child makes up.
  std::erase_if(results, [link](const cm_send_result& result) {
    const auto entry = link->in_flight.find(std::string(to_view(result.client_message_id)));
    if (entry == link->in_flight.end()) {
      return true;
    }
    link->in_flight.erase(entry);
    return false;
  });
  if (!results.empty() && link->callbacks.sent != nullptr) {
    link->callbacks.sent(link->user, frame.call, results.data(), results.size());
  }
}

void TransportProxy::on_reply(const Frame& frame) {
  FrameReader reader(frame);
  const cm_status status = reader.u32();
  const std::string_view json = reader.text();
  if (!reader.done()) {
    session_->garbage("a reply that cannot be read");
    return;
  }
  const auto entry = requests_.find(frame.call);
  if (entry == requests_.end()) {
    return;
  }
  const Request request = entry->second;
  requests_.erase(entry);
  request.callback(request.user, status, to_hview(json));
}

void TransportProxy::on_sign(const Frame& frame) {
  FrameReader reader(frame);
  const cm_handle handle = reader.u64();
  const std::uint32_t key = reader.u32();
  const std::string_view text = reader.text();
  if (!reader.done()) {
    session_->garbage("a request to sign that cannot be read");
    return;
  }
  const Link* link = find(handle);
  std::array<std::uint8_t, kSignatureBytes> signature{};
  const cm_status status = link == nullptr || link->callbacks.sign == nullptr
                               ? CM_GONE
                               : link->callbacks.sign(link->user, handle, key, to_hview(text), signature.data());
  session_->reply(frame.call, status, [&signature](FrameWriter& writer) {
    writer.bytes({reinterpret_cast<const char*>(signature.data()), signature.size()});
  });
}

// --- the child's life ------------------------------------------------------------------------------------------------

void TransportProxy::attach(Session* session) {
  session_ = session;
  for (const auto& [handle, link] : links_) {
    send_open(handle, link);
  }
}

// Every message without a result is to be tried again.
void TransportProxy::give_back(cm_handle handle) {
  Link* link = find(handle);
  if (link == nullptr || link->in_flight.empty()) {
    return;
  }
  const std::multiset<std::string> ids = std::exchange(link->in_flight, {});
  std::vector<cm_send_result> results;
  for (const std::string& id : ids) {
    cm_send_result result = {};
    result.size = sizeof(result);
    result.outcome = CM_SEND_RETRY;
    result.client_message_id = to_hview(id);
    result.code = to_hview("closed");
    result.error = to_hview("the link was lost before the other side confirmed");
    results.push_back(result);
  }
  if (link->callbacks.sent != nullptr) {
    link->callbacks.sent(link->user, handle, results.data(), results.size());
  }
}

void TransportProxy::detach() {
  session_ = nullptr;
  const auto requests = std::exchange(requests_, {});
  for (const auto& [call, request] : requests) {
    if (links_.contains(request.link)) {
      request.callback(request.user, CM_GONE, to_hview("the process of the transport plugin has ended"));
    }
  }
  std::vector<cm_handle> handles;
  for (const auto& [handle, link] : links_) {
    handles.push_back(handle);
  }
  for (const cm_handle handle : handles) {
    if (Link* link = find(handle); link != nullptr) {
      link->state = CM_LINK_RECONNECTING;  // before any callback can ask
      give_back(handle);
      tell_state(handle, CM_LINK_RECONNECTING, kChildGone);
    }
  }
}

}  // namespace cm::isolation
