// `claudemesh join`: becoming a member with an invite (wire/07 section 6.1.1, wire/03 section 4).
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <string>
#include <string_view>

#include "cli/config_file.hpp"
#include "cli/json_fields.hpp"
#include "protocol/invite.hpp"

namespace cm::cli {

struct JoinArguments {
  std::string invite;  // link, token or short code
  std::string name;    // display name; empty: the configured one, else the user's name
  std::string slug;    // local name of the mesh; empty: the one in the invite
  bool json = false;
};
int run_join(const JoinArguments& arguments, const Context& context);

// --- pure parts ---
// The body of POST /join. The payload holds the mesh root key.
JsonValue join_body(std::string_view token, const protocol::InvitePayload& payload, std::string_view pubkey,
                    std::string_view display_name);
// Why the broker refused, in words, and what to do.
Failure join_refused(int status, std::string_view code);
// The failure for an invite that did not pass the local checks.
Failure invite_failure(const Error& error);

}  // namespace cm::cli
