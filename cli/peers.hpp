// `claudemesh peer list`: who is online (wire/07 section 6.3).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/config_file.hpp"
#include "cli/json_fields.hpp"
#include "cli/local_api.hpp"

namespace cm::cli {

struct PeerListArguments {
  std::string mesh;
  std::string json;  // empty: text; "true": JSON; otherwise the comma list of fields to keep
  bool all = false;  // also the daemons' own connections
  DaemonOptions daemon;
};
int run_peer_list(const PeerListArguments& arguments, const Context& context);

// --- pure parts ---
// The record of a peer as scripts see it: the daemon's row with `role`, `peerRole`, `isSelf` and `isThisSession`.
JsonValue peer_record(const JsonValue& row, std::string_view own_member_key, std::string_view own_session_key);
bool is_control_plane(const JsonValue& peer);
// Keeps only these fields ("name" means displayName), in the order asked for.
JsonValue project(const JsonValue& record, std::string_view fields);
// One row of text: a line, and further lines for what is long.
std::string peer_text(const JsonValue& record, const Output& output);
// This session, the user's other sessions, everybody else; otherwise the order is kept.
void sort_peers(std::vector<JsonValue>& records);

// The key of this process' session, asked from the daemon; empty without a session.
std::string own_session_key(ApiClient& client, const Context& context);

}  // namespace cm::cli
