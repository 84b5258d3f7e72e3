// Who is meant by the first argument of `send` (wire/07 section 6.4). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/json_fields.hpp"
#include "cli/output.hpp"

namespace cm::cli {

enum class RecipientKind {
  kMany,    // @group, #topic or *
  kKey,     // 64 hex characters
  kPrefix,  // 4 to 63 hex characters, so a name like "beef" is a prefix
  kName,
};
RecipientKind classify_recipient(std::string_view to);

// A peer that fits; several sessions of one key are one peer.
struct PeerMatch {
  std::string name;
  std::string pubkey;
  std::string mesh;
};
// The matching rows. Names compare without case; keys and prefixes with both keys of a row. Rows of daemons
// (control-plane) count only when no session fits, so that a member without a running session can be named too.
std::vector<PeerMatch> match_peers(std::string_view to, RecipientKind kind, const std::vector<JsonValue>& rows);

struct Recipient {
  std::string target;          // what the daemon is asked to send to
  std::string mesh;            // empty: undecided
  std::string name;            // of the matched peer; empty when there was none
  std::optional<bool> online;  // nullopt: unknown, or not one recipient
  // Nobody who is online fits, and the daemon is asked for `target` as it was typed, because it remembers who was here
  // before: what to say when it knows nobody either.
  std::optional<Failure> stranger;
};
// `rows` is nullopt when no roster could be had; `mesh` is empty when undecided. Failure: several fit.
Outcome<Recipient> resolve_recipient(std::string_view to, std::string_view mesh,
                                     const std::optional<std::vector<JsonValue>>& rows);

std::string lower(std::string_view text);

}  // namespace cm::cli
