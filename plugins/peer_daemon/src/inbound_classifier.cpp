#include "plugins/peer_daemon/src/inbound_classifier.hpp"

#include <claudemesh/cpp/text.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "protocol/box.hpp"
#include "protocol/json.hpp"
#include "protocol/keys.hpp"

namespace cm::daemon {
namespace {

bool is_key(std::string_view text) {
  return protocol::is_hex(text, protocol::kPublicKeyHexLength, protocol::HexCase::kAny);
}

bool equal_keys(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           const auto fold = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
           return fold(x) == fold(y);
         });
}

bool may_be_plain(const Push& push) {
  const bool multicast = !push.target.empty() && !is_key(push.target);
  return multicast || !is_key(push.sender_pubkey) || !push.topic.empty() || push.nonce.empty() ||
         !push.sender_member_pubkey.empty();
}

bool is_own(const Push& push, const Receiver& receiver) {
  return equal_keys(push.sender_member_pubkey, receiver.member_pubkey) ||
         equal_keys(push.sender_pubkey, receiver.member_pubkey) || receiver.is_own_session(push.sender_pubkey);
}

InboundVerdict classify_notice(const Push& push, const Receiver& receiver) {
  // Every connection of ours hears every notice; the member's reports it for all.
  if (receiver.session) {
    return {InboundVerdict::Kind::kIgnore, std::nullopt, false};
  }
  const Result<protocol::JsonValue> data = protocol::parse_json(push.event_json);
  const protocol::JsonValue* key = data ? data->find("pubkey") : nullptr;
  if (key != nullptr && key->as_string() != nullptr) {
    const std::string& pubkey = *key->as_string();
    if (equal_keys(pubkey, receiver.member_pubkey) || receiver.is_own_session(pubkey)) {
      return {InboundVerdict::Kind::kIgnore, std::nullopt, false};
    }
  }
  return {InboundVerdict::Kind::kNotice, std::nullopt, false};
}

}  // namespace

Push copy_push(const cm_inbound& raw) {
  Push push;
  push.priority = raw.priority;
  push.message_id = std::string(to_view(raw.message_id));
  push.client_message_id = std::string(to_view(raw.client_message_id));
  push.sender_pubkey = std::string(to_view(raw.sender_pubkey));
  push.sender_member_pubkey = std::string(to_view(raw.sender_member_pubkey));
  push.sender_name = std::string(to_view(raw.sender_name));
  push.topic = std::string(to_view(raw.topic));
  push.reply_to_id = std::string(to_view(raw.reply_to_id));
  if (raw.size >= offsetof(cm_inbound, target) + sizeof(raw.target)) {
    push.target = std::string(to_view(raw.target));  // an older transport does not tell
  }
  push.subtype = std::string(to_view(raw.subtype));
  push.nonce = std::string(to_view(raw.nonce));
  push.ciphertext = std::string(to_view(raw.ciphertext));
  push.created_at = std::string(to_view(raw.created_at));
  push.event = std::string(to_view(raw.event));
  push.event_json = std::string(to_view(raw.event_json));
  return push;
}

std::optional<std::string> decode_plain_body(std::string_view ciphertext) {
  Result<std::string> text = protocol::decode_plain(ciphertext);
  if (!text) {
    return std::nullopt;
  }
  const bool clean = std::none_of(text->begin(), text->end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t' && c != '\n' && c != '\r') || byte == 0x7f;
  });
  return clean ? std::optional<std::string>(std::move(*text)) : std::nullopt;
}

InboundVerdict classify_push(const Push& push, const Receiver& receiver) {
  if (push.subtype == "system") {
    return classify_notice(push, receiver);
  }
  if (push.ciphertext.empty()) {
    return {InboundVerdict::Kind::kStore, std::nullopt, false};
  }
  // What one session writes, it must not read as if somebody had written to it.
  if (equal_keys(push.sender_pubkey, receiver.pubkey)) {
    return {InboundVerdict::Kind::kDrop, std::nullopt, false};
  }
  if (is_key(push.sender_pubkey)) {
    if (std::optional<std::string> text = receiver.open(push); text.has_value()) {
      return {InboundVerdict::Kind::kStore, std::move(text), true};
    }
    // Sealed for somebody else, or our own broadcast: either way we wrote it.
    if (is_own(push, receiver)) {
      return {InboundVerdict::Kind::kDrop, std::nullopt, false};
    }
  }
  if (may_be_plain(push)) {
    return {InboundVerdict::Kind::kStore, decode_plain_body(push.ciphertext), false};
  }
  return {InboundVerdict::Kind::kStore, std::nullopt, false};
}

std::string_view notice_kind(std::string_view event) {
  if (event == "peer_joined") {
    return "peer_join";
  }
  if (event == "peer_left") {
    return "peer_leave";
  }
  return "system";
}

}  // namespace cm::daemon
