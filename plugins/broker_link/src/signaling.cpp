#include "plugins/broker_link/src/signaling.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "protocol/encoding.hpp"
#include "protocol/object_writer.hpp"

namespace cm::broker_link {
namespace {

constexpr std::size_t kKeyHexLength = 64;

std::string_view type_of(std::uint32_t kind) {
  switch (kind) {
    case CM_SIGNAL_OFFER:
      return "p2p_offer";
    case CM_SIGNAL_ANSWER:
      return "p2p_answer";
    case CM_SIGNAL_CANDIDATE:
      return "p2p_candidate";
    case CM_SIGNAL_CLOSE:
      return "p2p_close";
    default:
      return {};
  }
}

std::uint32_t kind_of(std::string_view type) {
  for (const std::uint32_t kind : {CM_SIGNAL_OFFER, CM_SIGNAL_ANSWER, CM_SIGNAL_CANDIDATE, CM_SIGNAL_CLOSE}) {
    if (type_of(kind) == type) {
      return kind;
    }
  }
  return 0;
}

bool is_key(std::string_view text) {
  return protocol::is_hex(text, kKeyHexLength, protocol::HexCase::kLowerOnly);
}

bool is_call(std::string_view call) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !call.empty() && call.size() <= CM_SIGNAL_CALL_BYTES_MAX && std::all_of(call.begin(), call.end(), plain);
}

std::string_view text_of(const protocol::JsonValue& frame, std::string_view name) {
  const protocol::JsonValue* value = frame.find(name);
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  return text == nullptr ? std::string_view() : std::string_view(*text);
}

}  // namespace

Signaling::Attachment* Signaling::find(cm_handle attachment) {
  const auto found = attachments_.find(attachment);
  return found == attachments_.end() ? nullptr : &found->second;
}

bool Signaling::is_alive(cm_handle caller) const {
  const cm_callback nothing = [](void*) noexcept {};
  return host_.loop_table()->post(host_.self(), caller, nothing, nothing, nullptr) == CM_OK;
}

bool Signaling::fits(const Attachment& attachment, const Link& link) {
  const Identity& identity = link.identity();
  return identity.url == attachment.url && identity.mesh_id == attachment.mesh_id &&
         identity.member_pubkey == attachment.member_pubkey &&
         (identity.session ? identity.session_pubkey : std::string()) == attachment.session_pubkey;
}

// --- functions of the table ------------------------------------------------------------------------------------------

cm_status Signaling::attach(cm_handle caller, const cm_signaling_identity& identity,
                            const cm_signaling_callbacks& callbacks, void* user, cm_handle* out_attachment,
                            Link* link) {
  Attachment added;
  added.caller = caller;
  added.url = to_view(identity.url);
  added.mesh_id = to_view(identity.mesh_id);
  added.member_pubkey = to_view(identity.member_pubkey);
  added.session_pubkey = to_view(identity.session_pubkey);
  added.callbacks.state = CM_HAS_FUNCTION(&callbacks, cm_signaling_callbacks, state) ? callbacks.state : nullptr;
  added.callbacks.signal = CM_HAS_FUNCTION(&callbacks, cm_signaling_callbacks, signal) ? callbacks.signal : nullptr;
  added.user = user;
  const bool session_fits = added.session_pubkey.empty() || is_key(added.session_pubkey);
  if (added.url.empty() || added.mesh_id.empty() || !is_key(added.member_pubkey) || !session_fits) {
    return CM_INVALID;
  }
  std::vector<cm_handle> gone;
  for (const auto& [handle, other] : attachments_) {
    const bool same = other.url == added.url && other.mesh_id == added.mesh_id &&
                      other.member_pubkey == added.member_pubkey && other.session_pubkey == added.session_pubkey;
    if (same && is_alive(other.caller)) {
      return CM_BUSY;
    }
    if (same) {
      gone.push_back(handle);
    }
  }
  std::for_each(gone.begin(), gone.end(), [this](cm_handle handle) { detach(handle); });
  if (attachments_.size() >= kAttachmentsMax) {
    return CM_BUSY;
  }
  *out_attachment = next_attachment_++;
  added.link = link;
  attachments_.emplace(*out_attachment, std::move(added));
  host_.post([this, handle = *out_attachment] {
    refresh(handle);
    tell_state(handle);
  });
  return CM_OK;
}

void Signaling::detach(cm_handle handle) {
  const auto found = attachments_.find(handle);
  if (found == attachments_.end()) {
    return;
  }
  Link* link = found->second.link;
  const bool listening = found->second.state == CM_SIGNALING_UP;
  attachments_.erase(found);
  if (link != nullptr && listening) {
    link->request(R"({"type":"p2p_unlisten"})", 0, nullptr, nullptr);
  }
}

cm_status Signaling::send(cm_handle handle, const cm_signal& signal, cm_signal_sent sent, void* user) {
  Attachment* attachment = find(handle);
  if (attachment == nullptr || attachment->state != CM_SIGNALING_UP || attachment->link == nullptr) {
    return CM_GONE;
  }
  const std::string_view type = type_of(signal.kind);
  if (type.empty() || !is_key(to_view(signal.to)) || !is_call(to_view(signal.call)) ||
      signal.payload.size > CM_SIGNAL_PAYLOAD_BYTES_MAX) {
    return CM_INVALID;
  }
  if (attachment->waiting >= CM_SIGNAL_WAITING_MAX) {
    return CM_BUSY;
  }
  std::string frame;
  protocol::ObjectWriter object(frame, type);
  object.text("to", to_view(signal.to));
  object.text("call", to_view(signal.call));
  object.text("payload", protocol::base64_encode(protocol::ByteSpan(signal.payload.data, signal.payload.size)));
  object.close();
  Pending pending;
  pending.attachment = handle;
  pending.sent = sent;
  pending.user = user;
  const cm_status status = request(*attachment->link, frame, pending);
  if (status == CM_OK) {
    ++attachment->waiting;
  }
  return status;
}

// --- requests --------------------------------------------------------------------------------------------------------

cm_status Signaling::request(Link& link, std::string_view json, Pending pending) {
  pending.signaling = this;
  pending.id = next_id_++;
  pending.link = &link;
  auto owned = std::make_unique<Pending>(pending);
  const cm_status status = link.request(json, kAnswerTimeoutMs, &Signaling::answered, owned.get());
  if (status == CM_OK) {
    pending_.emplace(pending.id, std::move(owned));
  }
  return status;
}

void Signaling::answered(void* user, cm_status status, cm_text_hview json) noexcept {
  const auto* pending = static_cast<const Pending*>(user);
  Signaling* signaling = pending->signaling;
  if (status != CM_OK) {
    signaling->finish(pending->id, CM_SIGNAL_UNREACHABLE, to_view(json));
    return;
  }
  const auto frame = protocol::parse_json(to_view(json));
  const bool passed = frame.ok() && text_of(*frame, "type") != "error";
  const bool absent = frame.ok() && text_of(*frame, "code") == "peer_not_found";
  const std::string reason(frame.ok() ? text_of(*frame, "message") : std::string_view());
  signaling->finish(pending->id, passed ? CM_SIGNAL_PASSED : absent ? CM_SIGNAL_NO_PEER : CM_SIGNAL_REFUSED, reason);
}

void Signaling::finish(std::uint64_t id, std::uint32_t outcome, std::string_view reason) {
  auto node = pending_.extract(id);
  if (node.empty()) {
    return;
  }
  const Pending pending = *node.mapped();
  Attachment* attachment = find(pending.attachment);
  if (attachment == nullptr) {
    return;
  }
  if (pending.listen != 0) {
    if (pending.listen == attachment->listens) {
      set_state(pending.attachment, outcome == CM_SIGNAL_PASSED ? CM_SIGNALING_UP : CM_SIGNALING_UNSUPPORTED);
    }
    return;
  }
  --attachment->waiting;
  if (pending.sent != nullptr && is_alive(attachment->caller)) {
    pending.sent(pending.user, pending.attachment, outcome, to_hview(reason));
  }
}

// --- links -----------------------------------------------------------------------------------------------------------

void Signaling::link_changed(Link& link) {
  for (auto& [handle, attachment] : attachments_) {
    if (!fits(attachment, link)) {
      continue;
    }
    attachment.link = &link;
    host_.post([this, known = handle] { refresh(known); });
  }
}

void Signaling::link_closed(const Link& link) {
  for (auto& [handle, attachment] : attachments_) {
    if (attachment.link == &link) {
      attachment.link = nullptr;
      host_.post([this, known = handle] { refresh(known); });
    }
  }
  for (const auto& [id, pending] : pending_) {
    if (pending->link == &link) {
      pending->link = nullptr;
      host_.post([this, known = id] { finish(known, CM_SIGNAL_UNREACHABLE, "the link was closed"); });
    }
  }
}

void Signaling::refresh(cm_handle handle) {
  Attachment* attachment = find(handle);
  if (attachment == nullptr) {
    return;
  }
  if (!is_alive(attachment->caller)) {
    detach(handle);
    return;
  }
  if (attachment->link == nullptr || !attachment->link->is_open()) {
    ++attachment->listens;
    set_state(handle, CM_SIGNALING_DOWN);
  } else if (!attachment->link->passes_signals()) {
    set_state(handle, CM_SIGNALING_UNSUPPORTED);
  } else if (attachment->state != CM_SIGNALING_UP) {
    listen(handle, *attachment);
  }
}

void Signaling::listen(cm_handle handle, Attachment& attachment) {
  Pending pending;
  pending.attachment = handle;
  pending.listen = ++attachment.listens;
  request(*attachment.link, R"({"type":"p2p_listen"})", pending);
}

void Signaling::set_state(cm_handle handle, std::uint32_t state) {
  Attachment& attachment = *find(handle);
  if (attachment.state != state) {
    attachment.state = state;
    tell_state(handle);
  }
}

void Signaling::tell_state(cm_handle handle) {
  Attachment* attachment = find(handle);
  if (attachment == nullptr || attachment->told == attachment->state || !is_alive(attachment->caller)) {
    return;
  }
  attachment->told = attachment->state;
  if (attachment->callbacks.state != nullptr) {
    attachment->callbacks.state(attachment->user, handle, attachment->state);
  }
}

void Signaling::link_signal(Link& link, const protocol::JsonValue& frame) {
  const auto payload = protocol::base64_decode(text_of(frame, "payload"));
  const std::uint32_t kind = kind_of(text_of(frame, "type"));
  const std::string_view call = text_of(frame, "call");
  const std::string_view from = text_of(frame, "from");
  if (!payload || payload->size() > CM_SIGNAL_PAYLOAD_BYTES_MAX || kind == 0 || !is_call(call) || !is_key(from)) {
    return;
  }
  const auto listener = std::find_if(attachments_.begin(), attachments_.end(),
                                     [&link](const auto& entry) { return entry.second.link == &link; });
  if (listener == attachments_.end() || listener->second.callbacks.signal == nullptr ||
      !is_alive(listener->second.caller)) {
    return;
  }
  cm_signal_received signal = {};
  signal.size = sizeof(signal);
  signal.kind = kind;
  signal.from = to_hview(from);
  signal.from_member = to_hview(text_of(frame, "fromMember"));
  signal.from_name = to_hview(text_of(frame, "fromName"));
  signal.call = to_hview(call);
  signal.payload = cm_bytes_hview{payload->data(), payload->size()};
  listener->second.callbacks.signal(listener->second.user, listener->first, &signal);
}

void Signaling::stop() {
  attachments_.clear();
  pending_.clear();
}

}  // namespace cm::broker_link
