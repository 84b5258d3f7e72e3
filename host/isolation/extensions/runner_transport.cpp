// The plugin's own cm.transport/1, used by the host.
#include <claudemesh/ext/transport.h>

#include <array>
#include <unordered_map>

#include "host/isolation/extensions/transport_proxy.hpp"
#include "host/isolation/runner/hook_server.hpp"
#include "host/isolation/runner/runtime.hpp"

namespace cm::isolation {

namespace {

constexpr std::size_t kSendBatchMax = 64;
constexpr std::uint64_t kBusyRetryUs = 10'000;
constexpr std::uint64_t kRetryAfterMs = 100;

// A message that the plugin has not taken yet.
struct Outbound {
  std::uint32_t priority = 0;
  std::array<std::string, kOutboundTexts> texts;
};

struct Link {
  cm_handle outer = CM_NO_HANDLE;  // the host's
  cm_handle inner = CM_NO_HANDLE;  // the plugin's
  std::deque<Outbound> waiting;
  cm_handle retry_timer = CM_NO_HANDLE;
  bool closed = false;
};
struct Request {
  std::uint64_t call;
};

struct Served {
  void* instance = nullptr;
  const cm_transport_v1* table = nullptr;
  std::map<cm_handle, std::unique_ptr<Link>> links;  // by the host's handle
  std::unordered_map<std::uint64_t, std::unique_ptr<Request>> requests;
};
Served& served() {
  static Served state;
  return state;
}

void write_results(FrameWriter& writer, const cm_send_result* results, std::uint64_t count) {
  writer.u32(static_cast<std::uint32_t>(count));
  for (std::uint64_t i = 0; i < count; ++i) {
    const cm_send_result& result = results[i];
    writer.u32(result.outcome);
    writer.u64(result.retry_after_ms);
    for (const cm_text_hview& text : {result.client_message_id, result.message_id, result.code, result.error}) {
      writer.text(to_view(text));
    }
  }
}

// The plugin did not take them: the caller tries again.
void give_back(Link& link, std::string_view code) {
  std::vector<cm_send_result> results;
  for (const Outbound& message : link.waiting) {
    cm_send_result result = {};
    result.outcome = CM_SEND_RETRY;
    result.client_message_id = to_hview(message.texts[0]);
    result.code = to_hview(code);
    result.retry_after_ms = kRetryAfterMs;
    results.push_back(result);
  }
  if (!results.empty()) {
    Runtime::get().send(Method::kLinkSent, link.outer,
                        [&results](FrameWriter& writer) { write_results(writer, results.data(), results.size()); });
  }
  link.waiting.clear();
}

// Hands over what waits, in order, as far as the plugin takes it.
void push(Link& link) {
  while (!link.waiting.empty() && !link.closed) {
    std::array<cm_outbound, kSendBatchMax> batch{};
    const std::size_t count = std::min(kSendBatchMax, link.waiting.size());
    for (std::size_t i = 0; i < count; ++i) {
      const Outbound& message = link.waiting[i];
      const auto view = [&message](std::size_t index) { return to_pview(message.texts[index]); };
      batch[i] = {sizeof(cm_outbound), message.priority, view(0), view(1), view(2), view(3), view(4), view(5)};
    }
    std::uint64_t taken = 0;
    const cm_status status = served().table->send(served().instance, link.inner, batch.data(), count, &taken);
    taken = std::min<std::uint64_t>(taken, count);
    link.waiting.erase(link.waiting.begin(), link.waiting.begin() + static_cast<std::ptrdiff_t>(taken));
    if (status != CM_OK && status != CM_BUSY) {
      give_back(link, "closed");
      return;
    }
    if (taken == count) {
      continue;
    }
    if (link.retry_timer == CM_NO_HANDLE) {
      Runtime::get().start_timer(
          kBusyRetryUs, 0,
          [](void* user) noexcept {
            auto* self = static_cast<Link*>(user);
            self->retry_timer = CM_NO_HANDLE;
            push(*self);
          },
          &link, &link.retry_timer);
    }
    return;
  }
}

// --- what the plugin tells -------------------------------------------------------------------------------------------

void on_state(void* user, cm_handle, std::uint32_t state, cm_text_hview detail) noexcept {
  const auto* link = static_cast<const Link*>(user);
  Runtime::get().send(Method::kLinkState, link->outer, [&](FrameWriter& writer) {
    writer.u32(state);
    writer.text(to_view(detail));
  });
}

void on_inbound(void* user, cm_handle, const cm_inbound* messages, std::uint64_t count) noexcept {
  const auto* link = static_cast<const Link*>(user);
  for (std::uint64_t next = 0; next < count;) {
    const std::uint64_t end = std::min<std::uint64_t>(count, next + kSendBatchMax);
    Runtime::get().send(Method::kLinkInbound, link->outer, [&](FrameWriter& writer) {
      writer.u32(static_cast<std::uint32_t>(end - next));
      for (; next < end; ++next) {
        const cm_inbound& message = messages[next];
        const bool has_target = message.size >= offsetof(cm_inbound, target) + sizeof(message.target);
        writer.u32(message.priority);
        for (const cm_text_hview& text :
             {message.message_id, message.client_message_id, message.sender_pubkey, message.sender_member_pubkey,
              message.sender_name, message.topic, message.reply_to_id, message.subtype, message.nonce,
              message.ciphertext, message.created_at, message.event, message.event_json,
              has_target ? message.target : cm_text_hview{nullptr, 0}}) {
          writer.text(to_view(text));
        }
      }
    });
  }
}

void on_sent(void* user, cm_handle, const cm_send_result* results, std::uint64_t count) noexcept {
  const auto* link = static_cast<const Link*>(user);
  Runtime::get().send(Method::kLinkSent, link->outer,
                      [&](FrameWriter& writer) { write_results(writer, results, count); });
}

cm_status on_sign(void* user, cm_handle, std::uint32_t key, cm_text_hview text, std::uint8_t* out) noexcept {
  const auto* link = static_cast<const Link*>(user);
  return Runtime::get().call(
      Method::kLinkSign,
      [&](FrameWriter& writer) {
        writer.u64(link->outer);
        writer.u32(key);
        writer.text(to_view(text));
      },
      [out](FrameReader& reader) {
        const std::string_view signature = reader.bytes();
        if (signature.size() == kSignatureBytes) {
          std::copy(signature.begin(), signature.end(), out);
        }
      });
}

constexpr cm_link_callbacks kCallbacks = {sizeof(cm_link_callbacks), 0, on_state, on_inbound, on_sent, on_sign};

void on_request_reply(void* user, cm_status status, cm_text_hview json) noexcept {
  const std::uint64_t call = static_cast<const Request*>(user)->call;
  served().requests.erase(call);
  Runtime::get().send(Method::kLinkReply, call, [&](FrameWriter& writer) {
    writer.u32(status);
    writer.text(to_view(json));
  });
}

// --- what the host asks ----------------------------------------------------------------------------------------------

void open_link(const Frame& frame) {
  FrameReader reader(frame);
  cm_link_identity identity = {};
  identity.size = sizeof(identity);
  identity.kind = reader.u32();
  identity.pid = reader.i64();
  for (cm_text_pview* text : {&identity.url, &identity.mesh_id, &identity.member_id, &identity.member_pubkey,
                              &identity.session_pubkey, &identity.session_id, &identity.display_name, &identity.cwd,
                              &identity.role, &identity.groups_json, &identity.features_json}) {
    *text = to_pview(reader.text());
  }
  if (!reader.done()) {
    return;
  }
  auto link = std::make_unique<Link>();
  link->outer = frame.call;
  Link* user = link.get();
  served().links[frame.call] = std::move(link);
  const cm_status status = served().table->open(served().instance, &identity, &kCallbacks, user, &user->inner);
  if (status != CM_OK) {
    on_state(user, CM_NO_HANDLE, CM_LINK_REFUSED, to_hview(R"({"reason":"the transport plugin refuses to open it"})"));
    user->closed = true;
  }
}

Link* find(cm_handle outer) {
  const auto entry = served().links.find(outer);
  return entry == served().links.end() || entry->second->closed ? nullptr : entry->second.get();
}

void close_link(cm_handle outer) {
  const auto entry = served().links.find(outer);
  if (entry == served().links.end()) {
    return;
  }
  if (!entry->second->closed) {
    served().table->close(served().instance, entry->second->inner);
  }
  Runtime::get().cancel_timer(entry->second->retry_timer);
  served().links.erase(entry);
}

void send_messages(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t count = reader.count(4 + kOutboundTexts * 4);
  std::vector<Outbound> messages(count);
  for (Outbound& message : messages) {
    message.priority = reader.u32();
    for (std::string& text : message.texts) {
      text = std::string(reader.text());
    }
  }
  Link* link = find(frame.call);
  if (!reader.done() || link == nullptr) {
    return;
  }
  std::move(messages.begin(), messages.end(), std::back_inserter(link->waiting));
  push(*link);
}

void acknowledge(const Frame& frame) {
  FrameReader reader(frame);
  const std::string_view message_id = reader.text();
  const std::string_view client_id = reader.text();
  const Link* link = find(frame.call);
  if (reader.done() && link != nullptr) {
    served().table->acknowledge(served().instance, link->inner, to_pview(message_id), to_pview(client_id));
  }
}

void request(const Frame& frame) {
  FrameReader reader(frame);
  const cm_handle outer = reader.u64();
  const std::uint64_t timeout_ms = reader.u64();
  const bool wants_reply = reader.boolean();
  const std::string_view json = reader.text();
  if (!reader.done()) {
    return;
  }
  Request* user =
      served().requests.emplace(frame.call, std::make_unique<Request>(Request{frame.call})).first->second.get();
  const Link* link = find(outer);
  const cm_status status = link == nullptr
                               ? CM_GONE
                               : served().table->request(served().instance, link->inner, to_pview(json), timeout_ms,
                                                         wants_reply ? &on_request_reply : nullptr, user);
  if (!wants_reply) {
    served().requests.erase(frame.call);
  } else if (status != CM_OK) {
    on_request_reply(user, status, to_hview("the transport did not take the request"));
  }
}

void dispatch(const Frame& frame) {
  switch (frame.method) {
    case Method::kLinkOpen:
      open_link(frame);
      return;
    case Method::kLinkClose:
      close_link(frame.call);
      return;
    case Method::kLinkSend:
      send_messages(frame);
      return;
    case Method::kLinkAcknowledge:
      acknowledge(frame);
      return;
    default:
      request(frame);
      return;
  }
}

}  // namespace

void serve_transport(void* instance, const cm_transport_v1* table) {
  served().instance = instance;
  served().table = table;
}

bool transport_frame(OwnedFrame& owned) {
  if (owned.method < Method::kLinkOpen || owned.method > Method::kLinkRequest) {
    return false;
  }
  const Frame frame = std::move(owned).view();
  if (served().table != nullptr) {
    Runtime::get().enter(Callback::kTransport, [&frame] { dispatch(frame); });
  }
  return true;
}

}  // namespace cm::isolation
