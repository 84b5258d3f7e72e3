#include "plugins/broker_link/src/handshake.hpp"

#include <claudemesh/cpp/text.hpp>

#include <optional>
#include <utility>

#include "protocol/canonical.hpp"
#include "protocol/json.hpp"
#include "protocol/wire_parse.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker_link {
namespace {

std::optional<std::string> text_or_none(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional<std::string>(text);
}

// What a hello says of whoever connects, whichever of the two it is.
template <typename Frame>
void describe_self(Frame& hello, const Identity& identity, const std::string& hostname, std::int64_t unix_ms) {
  hello.mesh_id = identity.mesh_id;
  hello.display_name = text_or_none(identity.display_name);
  hello.session_id = identity.session_id;
  hello.pid = static_cast<double>(identity.pid);
  hello.cwd = identity.cwd;
  hello.hostname = text_or_none(hostname);
  hello.peer_type = "ai";
  hello.timestamp_ms = static_cast<double>(unix_ms);
}

Result<std::string> build_member_hello(const Identity& identity, const std::string& hostname, std::int64_t unix_ms,
                                       const Signer& sign) {
  protocol::Hello hello;
  describe_self(hello, identity, hostname, unix_ms);
  hello.member_id = identity.member_id;
  hello.pubkey = identity.member_pubkey;
  hello.channel = "claudemesh-daemon";
  hello.groups = identity.groups;
  Result<std::string> signature =
      sign(CM_SIGN_MEMBER, protocol::canonical_hello(hello.mesh_id, hello.member_id, hello.pubkey, hello.timestamp_ms));
  if (!signature) {
    return signature;
  }
  hello.signature = std::move(*signature);
  std::string frame;
  protocol::write_hello(frame, hello);
  return frame;
}

Result<protocol::SessionAttestation> mint_attestation(const Identity& identity, std::int64_t unix_ms,
                                                      const Signer& sign) {
  protocol::SessionAttestation attestation;
  attestation.session_pubkey = identity.session_pubkey;
  attestation.parent_member_pubkey = identity.member_pubkey;
  attestation.expires_at_ms = static_cast<double>(unix_ms + protocol::kSessionAttestationDefaultTtlMs);
  Result<std::string> signature = sign(
      CM_SIGN_MEMBER, protocol::canonical_session_attestation(attestation.parent_member_pubkey,
                                                              attestation.session_pubkey, attestation.expires_at_ms));
  if (!signature) {
    return std::move(signature).error();
  }
  attestation.signature = std::move(*signature);
  return attestation;
}

Result<std::string> build_session_hello(const Identity& identity, const std::string& hostname, std::int64_t unix_ms,
                                        const Signer& sign) {
  Result<protocol::SessionAttestation> attestation = mint_attestation(identity, unix_ms, sign);
  if (!attestation) {
    return std::move(attestation).error();
  }
  protocol::SessionHello hello;
  describe_self(hello, identity, hostname, unix_ms);
  hello.parent_member_id = text_or_none(identity.member_id);
  hello.parent_member_pubkey = identity.member_pubkey;
  hello.session_pubkey = identity.session_pubkey;
  hello.parent_attestation = std::move(*attestation);
  hello.channel = "claudemesh-session";
  hello.role = text_or_none(identity.role);
  if (!identity.groups.empty()) {
    hello.groups = identity.groups;  // absent lets the broker use the member's default groups
  }
  Result<std::string> signature =
      sign(CM_SIGN_SESSION, protocol::canonical_session_hello(hello.mesh_id, hello.parent_member_pubkey,
                                                              hello.session_pubkey, hello.timestamp_ms));
  if (!signature) {
    return signature;
  }
  hello.signature = std::move(*signature);
  std::string frame;
  protocol::write_session_hello(frame, hello);
  return frame;
}

Result<std::vector<std::string>> feature_names(const protocol::JsonValue& features, std::string_view member) {
  std::vector<std::string> names;
  const protocol::JsonValue* list = features.find(member);
  if (list == nullptr || list->as_array() == nullptr) {
    return names;
  }
  for (const protocol::JsonValue& entry : *list->as_array()) {
    if (entry.as_string() == nullptr) {
      return make_error(ErrorCode::kInvalid, "features_json." + std::string(member) + " holds " +
                                                 std::string(protocol::describe(entry.kind())) +
                                                 "; expected feature names as text");
    }
    names.push_back(*entry.as_string());
  }
  return names;
}

Result<protocol::FeatureNegotiationRequest> parse_features(std::string_view json) {
  protocol::FeatureNegotiationRequest request;
  if (json.empty()) {
    return request;
  }
  const Result<protocol::JsonValue> tree = protocol::parse_json(json);
  if (!tree) {
    return make_error(ErrorCode::kInvalid, "features_json is not JSON: " + tree.error().message);
  }
  Result<std::vector<std::string>> require = feature_names(*tree, "require");
  if (!require) {
    return std::move(require).error();
  }
  Result<std::vector<std::string>> optional = feature_names(*tree, "optional");
  if (!optional) {
    return std::move(optional).error();
  }
  request.require = std::move(*require);
  request.optional = std::move(*optional);
  return request;
}

Error missing(std::string_view member) {
  return make_error(ErrorCode::kInvalid, "the link identity has no " + std::string(member) + "; every link needs one");
}

}  // namespace

Result<std::string> build_hello(const Identity& identity, const std::string& hostname, std::int64_t unix_ms,
                                const Signer& sign) {
  return identity.session ? build_session_hello(identity, hostname, unix_ms, sign)
                          : build_member_hello(identity, hostname, unix_ms, sign);
}

Result<Identity> copy_identity(const cm_link_identity& raw) {
  Identity identity;
  identity.session = raw.kind == CM_LINK_SESSION;
  identity.url = std::string(to_view(raw.url));
  identity.mesh_id = std::string(to_view(raw.mesh_id));
  identity.member_id = std::string(to_view(raw.member_id));
  identity.member_pubkey = std::string(to_view(raw.member_pubkey));
  identity.session_pubkey = std::string(to_view(raw.session_pubkey));
  identity.session_id = std::string(to_view(raw.session_id));
  identity.display_name = std::string(to_view(raw.display_name));
  identity.cwd = std::string(to_view(raw.cwd));
  identity.role = std::string(to_view(raw.role));
  identity.pid = raw.pid;
  if (raw.kind != CM_LINK_MEMBER && raw.kind != CM_LINK_SESSION) {
    return make_error(ErrorCode::kInvalid, "the link identity is of kind " + std::to_string(raw.kind) +
                                               "; expected CM_LINK_MEMBER or CM_LINK_SESSION");
  }
  if (identity.url.empty()) {
    return missing("url");
  }
  if (identity.mesh_id.empty()) {
    return missing("mesh_id");
  }
  if (!protocol::is_hex(identity.member_pubkey, protocol::kPublicKeyHexLength, protocol::HexCase::kLowerOnly)) {
    return missing("member_pubkey of 64 lower-case hex characters");
  }
  if (identity.session &&
      !protocol::is_hex(identity.session_pubkey, protocol::kPublicKeyHexLength, protocol::HexCase::kLowerOnly)) {
    return missing("session_pubkey of 64 lower-case hex characters");
  }
  if (raw.groups_json.size != 0) {
    const Result<protocol::JsonValue> groups = protocol::parse_json(to_view(raw.groups_json));
    if (!groups) {
      return make_error(ErrorCode::kInvalid, "groups_json is not JSON: " + groups.error().message);
    }
    identity.groups = protocol::parse_groups(&*groups);
  }
  Result<protocol::FeatureNegotiationRequest> features = parse_features(to_view(raw.features_json));
  if (!features) {
    return std::move(features).error();
  }
  identity.features = std::move(*features);
  return identity;
}

}  // namespace cm::broker_link
