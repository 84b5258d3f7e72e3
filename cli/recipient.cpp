#include "cli/recipient.hpp"

#include <algorithm>

#include "cli/peers.hpp"
#include "protocol/encoding.hpp"

namespace cm::cli {

namespace {

constexpr std::size_t kPrefixMin = 4;
constexpr std::size_t kKeyLength = 64;
constexpr std::size_t kCandidatesShown = 8;

bool fits(std::string_view to, RecipientKind kind, const JsonValue& row) {
  if (kind == RecipientKind::kName) {
    return lower(text_of(row, "displayName")) == lower(to);
  }
  const std::string prefix = lower(to);
  return text_of(row, "pubkey").starts_with(prefix) || text_of(row, "memberPubkey").starts_with(prefix);
}

Failure nobody_fits(std::string_view to, RecipientKind kind, std::string_view mesh, std::size_t peers) {
  const std::string where = mesh.empty() ? "any mesh" : "mesh \"" + printable(mesh) + "\"";
  const std::string what = kind == RecipientKind::kPrefix ? "peer whose key begins with" : "peer named";
  return {ExitCode::kFailed,
          "no " + what + " \"" + printable(to) + "\" on " + where + " (" + std::to_string(peers) + " online)",
          "a display name, a key, 4 or more characters of a key, @group, #topic or *",
          "run `claudemesh peer list" + (mesh.empty() ? "" : " --mesh " + std::string(mesh)) +
              "` to see who is online" + (mesh.empty() ? ", or add --mesh SLUG for somebody who is not" : "")};
}

Failure several_fit(std::string_view to, const std::vector<PeerMatch>& matches) {
  std::string list;
  for (std::size_t i = 0; i < std::min(matches.size(), kCandidatesShown); ++i) {
    const PeerMatch& match = matches[i];
    list += (list.empty() ? "" : ", ") + printable(match.name) + " " + printable(match.pubkey.substr(0, 16)) + "… on " +
            printable(match.mesh);
  }
  return {ExitCode::kFailed, "\"" + printable(to) + "\" fits " + std::to_string(matches.size()) + " peers: " + list,
          "exactly one", "give more characters of the key, or add --mesh SLUG"};
}

}  // namespace

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return result;
}

RecipientKind classify_recipient(std::string_view to) {
  if (!to.empty() && (to.front() == '@' || to.front() == '#' || to == "*")) {
    return RecipientKind::kMany;
  }
  const bool hex = protocol::is_hex(to, to.size(), protocol::HexCase::kAny);
  if (hex && to.size() == kKeyLength) {
    return RecipientKind::kKey;
  }
  return hex && to.size() >= kPrefixMin && to.size() < kKeyLength ? RecipientKind::kPrefix : RecipientKind::kName;
}

namespace {

std::vector<PeerMatch> matches_among(std::string_view to, RecipientKind kind, const std::vector<JsonValue>& rows,
                                     bool control_plane) {
  std::vector<PeerMatch> matches;
  for (const JsonValue& row : rows) {
    if (is_control_plane(row) != control_plane || !fits(to, kind, row)) {
      continue;
    }
    PeerMatch match{text_of(row, "displayName"), text_of(row, "pubkey"), text_of(row, "mesh")};
    const bool known = std::any_of(matches.begin(), matches.end(), [&match](const PeerMatch& other) {
      return other.pubkey == match.pubkey && other.mesh == match.mesh;
    });
    if (!known) {
      matches.push_back(std::move(match));
    }
  }
  return matches;
}

}  // namespace

std::vector<PeerMatch> match_peers(std::string_view to, RecipientKind kind, const std::vector<JsonValue>& rows) {
  std::vector<PeerMatch> matches = matches_among(to, kind, rows, false);
  return matches.empty() ? matches_among(to, kind, rows, true) : matches;
}

Outcome<Recipient> resolve_recipient(std::string_view to, std::string_view mesh,
                                     const std::optional<std::vector<JsonValue>>& rows) {
  const RecipientKind kind = classify_recipient(to);
  Recipient recipient{std::string(to), std::string(mesh), {}, std::nullopt, std::nullopt};
  if (kind == RecipientKind::kMany) {
    return recipient;
  }
  if (kind == RecipientKind::kKey) {
    recipient.target = lower(to);  // the broker compares keys with case
  }
  if (!rows.has_value()) {
    return recipient;
  }
  const std::vector<PeerMatch> matches = match_peers(to, kind, *rows);
  if (matches.size() > 1) {
    return several_fit(to, matches);
  }
  if (matches.empty()) {
    if (kind != RecipientKind::kKey) {
      recipient.stranger = nobody_fits(to, kind, mesh, rows->size());
    }
    recipient.online = false;
    return recipient;
  }
  recipient.name = matches.front().name;
  recipient.online = true;
  if (!matches.front().mesh.empty()) {
    recipient.mesh = matches.front().mesh;
  }
  if (kind != RecipientKind::kKey) {
    recipient.target = matches.front().pubkey;
  }
  return recipient;
}

}  // namespace cm::cli
