#include "plugins/peer_daemon/src/target_resolver.hpp"

#include <algorithm>
#include <set>

#include "protocol/encoding.hpp"
#include "protocol/keys.hpp"

namespace cm::daemon {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string lower_ascii(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

bool is_topic_id(std::string_view text) {
  return text.size() >= kTopicIdMin && std::all_of(text.begin(), text.end(), [](char c) {
           const char folded = lower(c);
           return (folded >= '0' && folded <= '9') || (folded >= 'a' && folded <= 'z') || folded == '_' ||
                  folded == '-';
         });
}

bool is_hex_text(std::string_view text) {
  return protocol::is_hex(text, text.size(), protocol::HexCase::kAny);
}

Result<std::string> resolve_prefix(const std::string& prefix, const std::vector<PeerView>& peers) {
  std::set<std::string> routing_keys;
  std::set<std::string> members;
  std::set<std::string> keys_of_members;
  for (const PeerView& peer : peers) {
    if (peer.pubkey.starts_with(prefix)) {
      routing_keys.insert(peer.pubkey);
    }
    if (peer.member_pubkey.starts_with(prefix)) {
      members.insert(peer.member_pubkey);
      keys_of_members.insert(peer.pubkey);
    }
  }
  if (routing_keys.empty() && keys_of_members.size() == 1) {
    return *keys_of_members.begin();
  }
  if (routing_keys.empty() && members.size() == 1) {
    return *members.begin();
  }
  routing_keys.insert(members.begin(), members.end());
  if (routing_keys.size() == 1) {
    return *routing_keys.begin();
  }
  if (routing_keys.empty()) {
    return make_error(ErrorCode::kGone, "no peer matching prefix \"" + prefix + "\"");
  }
  return make_error(ErrorCode::kInvalid,
                    "prefix \"" + prefix + "\" is ambiguous (" + std::to_string(routing_keys.size()) + " matches)");
}

Result<std::string> resolve_name(const std::string& name, const std::vector<PeerView>& peers) {
  const std::string wanted = lower_ascii(name);
  const PeerView* found = nullptr;
  for (const PeerView& peer : peers) {
    if (lower_ascii(peer.display_name) != wanted) {
      continue;
    }
    if (peer.peer_role != "control-plane") {
      return peer.pubkey;
    }
    found = found == nullptr ? &peer : found;
  }
  if (found != nullptr) {
    return found->pubkey;
  }
  return make_error(ErrorCode::kGone, "peer \"" + name + "\" not found");
}

}  // namespace

ParsedTarget parse_target(std::string_view to) {
  if (to.starts_with('#')) {
    const std::string_view rest = to.substr(1);
    return is_topic_id(rest) ? ParsedTarget{ParsedTarget::Kind::kTopicId, std::string(to)}
                             : ParsedTarget{ParsedTarget::Kind::kTopicName, std::string(rest)};
  }
  if (to == "*" || to.starts_with('@')) {
    return ParsedTarget{ParsedTarget::Kind::kMulticast, std::string(to)};
  }
  if (is_hex_text(to) && to.size() == protocol::kPublicKeyHexLength) {
    return ParsedTarget{ParsedTarget::Kind::kKey, lower_ascii(to)};
  }
  if (is_hex_text(to) && to.size() >= kKeyPrefixMin && to.size() < protocol::kPublicKeyHexLength) {
    return ParsedTarget{ParsedTarget::Kind::kKeyPrefix, lower_ascii(to)};
  }
  return ParsedTarget{ParsedTarget::Kind::kName, std::string(to)};
}

Result<std::string> resolve_peer(const ParsedTarget& target, const std::vector<PeerView>& peers) {
  return target.kind == ParsedTarget::Kind::kKeyPrefix ? resolve_prefix(target.value, peers)
                                                       : resolve_name(target.value, peers);
}

std::string fold_name(std::string_view name) {
  return lower_ascii(name);
}

FingerprintDestination fingerprint_destination(std::string_view to) {
  if (to.starts_with('@')) {
    return FingerprintDestination{protocol::DestinationKind::kTopic, to.substr(1)};
  }
  if (to == "*") {
    return FingerprintDestination{protocol::DestinationKind::kTopic, to};
  }
  return FingerprintDestination{protocol::DestinationKind::kDm, to};
}

}  // namespace cm::daemon
