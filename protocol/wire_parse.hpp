// From a parsed frame to the structs of wire_messages.hpp, for everything that is not hot. Unknown fields are ignored.
// Errors are kInvalid and name the field, what was found and what was expected.
#pragma once

#include <string_view>

#include <claudemesh/cpp/result.hpp>

#include "protocol/json.hpp"
#include "protocol/wire_messages.hpp"

namespace cm::protocol {

// Lenient on purpose: a field that is missing or of the wrong kind becomes empty (NaN for the timestamp), so that the
// documented check order decides which word the client gets. Only a frame that is no object fails.
Result<Hello> parse_hello(const JsonValue& frame);
Result<SessionHello> parse_session_hello(const JsonValue& frame);

// The attestation object alone (it also travels in the daemon's local API). kInvalid when it is no object.
Result<SessionAttestation> parse_attestation(const JsonValue& value);

Result<HelloAck> parse_hello_ack(const JsonValue& frame);
Result<ErrorFrame> parse_error(const JsonValue& frame);
Result<ListPeers> parse_list_peers(const JsonValue& frame);
Result<PeersList> parse_peers_list(const JsonValue& frame);
Result<MessageStatusRequest> parse_message_status(const JsonValue& frame);
Result<MessageStatusResult> parse_message_status_result(const JsonValue& frame);

// [{name, role?}]; entries without a name are dropped.
std::vector<GroupMembership> parse_groups(const JsonValue* value);

// Text forms, for callers without a FrameReader.
Result<Hello> parse_hello(std::string_view text);
Result<SessionHello> parse_session_hello(std::string_view text);
Result<HelloAck> parse_hello_ack(std::string_view text);
Result<PeersList> parse_peers_list(std::string_view text);

}  // namespace cm::protocol
