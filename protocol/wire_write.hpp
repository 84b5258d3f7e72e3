// From the structs to frames: each function appends one compact JSON object (no newline) to `out`. The caller owns and
// reuses the string. Texts that are not valid UTF-8 are repaired with U+FFFD, so that the output is always JSON.
#pragma once

#include <string>
#include <vector>

#include "protocol/wire_messages.hpp"

namespace cm::protocol {

void write_hello(std::string& out, const Hello& hello);
void write_session_hello(std::string& out, const SessionHello& hello);
void write_hello_ack(std::string& out, const HelloAck& ack);

void write_send(std::string& out, const Send& send);
void write_send(std::string& out, const SendView& send);
void write_ack(std::string& out, const Ack& ack);
void write_ack(std::string& out, const AckView& ack);
void write_push(std::string& out, const Push& push);
void write_push(std::string& out, const PushView& push);
void write_client_ack(std::string& out, const ClientAck& ack);
void write_client_ack(std::string& out, const ClientAckView& ack);

void write_error(std::string& out, const ErrorFrame& error);
void write_list_peers(std::string& out, const ListPeers& request);
void write_peers_list(std::string& out, const PeersList& list);
void write_message_status(std::string& out, const MessageStatusRequest& request);
void write_message_status_result(std::string& out, const MessageStatusResult& result);

// Pieces that other messages share.
void write_groups(std::string& out, const std::vector<GroupMembership>& groups);
void write_attestation(std::string& out, const SessionAttestation& attestation);

}  // namespace cm::protocol
