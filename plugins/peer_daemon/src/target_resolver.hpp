// From what a caller typed to the targetSpec of the wire (wire/06 section 7.1). Pure.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/fingerprint.hpp"

namespace cm::daemon {

inline constexpr std::size_t kTopicIdMin = 20;    // "#" and at least so many of [0-9a-z_-] is an id, less is a name
inline constexpr std::size_t kKeyPrefixMin = 16;  // shorter hex texts are display names

struct ParsedTarget {
  enum class Kind : std::uint8_t {
    kTopicId,    // "#<id>", goes as it is
    kTopicName,  // "#<name>", needs the list of topics
    kMulticast,  // "*" or "@name", goes as it is
    kKey,        // 64 hex characters; value is in lower case
    kKeyPrefix,  // 16 to 63 hex characters, lower case
    kName,       // a display name
  };
  Kind kind = Kind::kName;
  std::string value;  // the targetSpec of kTopicId, kMulticast and kKey; else the name or prefix without "#"

  // The body is sealed for one key.
  bool is_direct() const noexcept { return kind == Kind::kKey || kind == Kind::kKeyPrefix || kind == Kind::kName; }
  bool needs_peers() const noexcept { return kind == Kind::kKeyPrefix || kind == Kind::kName; }
};
ParsedTarget parse_target(std::string_view to);

// What the resolver needs of one entry of peers_list.
struct PeerView {
  std::string pubkey;  // the routing key
  std::string member_pubkey;
  std::string display_name;
  std::string peer_role;
};

// The routing key for a prefix or a name. kGone: nobody fits; kInvalid: several do. The texts are those of 1.37.0:
// `no peer matching prefix "x"`, `prefix "x" is ambiguous (n matches)`, `peer "x" not found`.
// A prefix that fits several sessions of one member only by the member's key means the member. A name means its first
// session; a control-plane row only when there is no session.
Result<std::string> resolve_peer(const ParsedTarget& target, const std::vector<PeerView>& peers);

// How names are compared: without the case of ASCII letters.
std::string fold_name(std::string_view name);

// Kind and reference that the request fingerprint takes from `to` as it was given (wire/06 section 7.1).
struct FingerprintDestination {
  protocol::DestinationKind kind = protocol::DestinationKind::kDm;
  std::string_view ref;  // into `to`
};
FingerprintDestination fingerprint_destination(std::string_view to);

}  // namespace cm::daemon
