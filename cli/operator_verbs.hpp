// `claudemesh mesh ...`: the operator's side, over the broker's operator socket (docs/contracts.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cli/context.hpp"
#include "cli/http_api.hpp"

namespace cm::cli {

struct OperatorArguments {
  std::string socket;  // empty: found as find_operator_socket says
  bool json = false;
  std::string mesh;  // slug or id
  std::string name;  // mesh create
  std::string slug;  // mesh create
  std::string role = "member";
  int uses = 1;
  std::string expires = "7d";
  std::string invite;  // id, code, token or link
  std::string path;    // mesh backup
};

int run_mesh_create(const OperatorArguments& arguments, const Context& context);
int run_mesh_list(const OperatorArguments& arguments, const Context& context);
int run_mesh_members(const OperatorArguments& arguments, const Context& context);
int run_mesh_invite(const OperatorArguments& arguments, const Context& context);
int run_mesh_invites(const OperatorArguments& arguments, const Context& context);
int run_mesh_revoke(const OperatorArguments& arguments, const Context& context);
int run_mesh_backup(const OperatorArguments& arguments, const Context& context);

// --- pure parts ---
// `chosen`, else CLAUDEMESH_OPERATOR_SOCKET, else the first that exists of ~/.claudemesh/broker/operator.sock,
// ~/.claudemesh/operator.sock, /run/claudemesh/operator.sock and /var/lib/claudemesh/operator.sock, else the first.
std::string find_operator_socket(const std::string& chosen, const Environment& environment, const std::string& home);
// "30s", "15m", "12h", "7d", "2w" or plain seconds; nullopt for anything else or what is not 1 s to 365 d.
std::optional<std::int64_t> parse_duration_s(std::string_view text);
// The id, code or token inside what a person pastes.
std::string invite_key(std::string_view text);
Failure operator_refused(const ApiReply& reply, std::string_view what);

}  // namespace cm::cli
