// What a push is: a readable message, an unreadable one, a notice, or our own echo. Pure.
#pragma once

#include <claudemesh/ext/transport.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace cm::daemon {

// An owned push.
struct Push {
  std::uint32_t priority = CM_PRIORITY_NEXT;
  std::string message_id;
  std::string client_message_id;
  std::string sender_pubkey;
  std::string sender_member_pubkey;
  std::string sender_name;
  std::string topic;
  std::string reply_to_id;
  std::string target;  // of a queued multicast; empty when the broker does not tell
  std::string subtype;
  std::string nonce;
  std::string ciphertext;
  std::string created_at;
  std::string event;
  std::string event_json;
};
Push copy_push(const cm_inbound& raw);

// Which identity received it, and which keys are its own.
struct Receiver {
  bool session = false;
  std::string_view pubkey;  // session key or member key
  std::string_view member_pubkey;
  std::function<bool(std::string_view)> is_own_session;  // of this daemon and mesh
  // Tries the session's secret and then the member's; nullopt when no key opens it.
  std::function<std::optional<std::string>(const Push&)> open;
};

struct InboundVerdict {
  enum class Kind : std::uint8_t {
    kStore,   // goes to the inbox; `body` is empty when it cannot be read
    kNotice,  // an event of the mesh, not stored
    kDrop,    // our own echo: acknowledged, not stored
    kIgnore,  // a notice that concerns only us, or that another connection of ours reports
  };
  Kind kind = Kind::kStore;
  std::optional<std::string> body;
  bool sealed = false;  // the body came out of an authenticated box
};

// Direct messages are shown only when their box opens. Plain bodies (base64 of UTF-8, wire/01 section 7) are shown only
// for what can be no direct message: from the system or a webhook, of a topic, without a nonce, or sent to many (a live
// multicast names the sending member; what a broker of 1.37.0 drains from its queue does not, and is direct). Even then
// control characters and broken UTF-8 are never shown.
InboundVerdict classify_push(const Push& push, const Receiver& receiver);

// base64 of valid UTF-8 without control characters (tab and line breaks are allowed).
std::optional<std::string> decode_plain_body(std::string_view ciphertext);

// The kind of a notice on the event stream: "peer_join", "peer_leave" or "system".
std::string_view notice_kind(std::string_view event);

}  // namespace cm::daemon
