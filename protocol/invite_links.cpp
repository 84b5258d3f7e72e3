// What a person may paste: the link forms of wire/01 sections 10.1 to 10.3. Written out by hand instead of with regular
// expressions, whose run time on hostile input has no bound.
#include <algorithm>

#include "protocol/encoding.hpp"
#include "protocol/ids.hpp"
#include "protocol/invite.hpp"

namespace cm::protocol {
namespace {

constexpr std::size_t kInviteTextMaxBytes = kInviteTokenMaxBytes + 1'024;  // a token and a host around it
constexpr std::size_t kBareCodeMin = 6;
constexpr std::size_t kBareCodeMax = 16;

constexpr std::string_view kIcScheme = "ic://";
constexpr std::string_view kOwnScheme = "claudemesh://";

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string_view without_trailing_slash(std::string_view text) {
  return text.ends_with('/') ? text.substr(0, text.size() - 1) : text;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) {
    return false;
  }
  text.remove_prefix(prefix.size());
  return true;
}

bool is_token_text(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_base62(std::string_view(&c, 1)) || c == '-' || c == '_';
  });
}

bool is_host(std::string_view text) {
  return !text.empty() && std::none_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte <= 0x20 || byte == 0x7F || c == '/' || c == '?' || c == '#' || c == '@' || c == '\\';
  });
}

// host and the path behind it, with an optional two-letter locale taken off the path.
struct HostPath {
  std::string_view host;
  std::string_view path;  // begins with '/'
};

std::optional<HostPath> split_host(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos || !is_host(text.substr(0, slash))) {
    return std::nullopt;
  }
  HostPath out{text.substr(0, slash), text.substr(slash)};
  const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
  if (out.path.size() > 4 && is_lower(out.path[1]) && is_lower(out.path[2]) && out.path[3] == '/') {
    out.path.remove_prefix(3);
  }
  return out;
}

std::optional<HostPath> split_web_link(std::string_view text) {
  if (!take_prefix(text, "https://") && !take_prefix(text, "http://")) {
    return std::nullopt;
  }
  return split_host(text);
}

InviteShortCode short_code(std::string_view host, std::string_view code) {
  return InviteShortCode{std::string(code), std::string(host),
                         "https://" + std::string(host) + "/api/public/invite-code/" + std::string(code)};
}

std::optional<InviteShortCode> code_of(const std::optional<HostPath>& link) {
  if (!link) {
    return std::nullopt;
  }
  std::string_view code = link->path;
  if (!take_prefix(code, "/i/") || !is_base62(without_trailing_slash(code))) {
    return std::nullopt;
  }
  return short_code(link->host, without_trailing_slash(code));
}

Error no_payload() {
  return make_error(ErrorCode::kInvalid, "invite link has no payload");
}

Error bad_format() {
  return make_error(ErrorCode::kInvalid,
                    "invalid invite format. Expected https://<host>/join/<token>, https://<host>/i/<code>, "
                    "ic://join/<token> or the token itself; copy the whole link.");
}

Result<InviteInput> token_input(std::string_view token) {
  if (token.empty()) {
    return no_payload();
  }
  if (!is_token_text(token)) {
    return bad_format();
  }
  return InviteInput(InviteToken{std::string(token)});
}

}  // namespace

std::string normalise_invite_url(std::string_view text) {
  std::string_view rest = trim(text);
  if (!take_prefix(rest, kOwnScheme)) {
    return std::string(text);
  }
  const std::string base = "https://" + std::string(kInviteFallbackHost);
  if (rest.starts_with("i/") || rest.starts_with("join/")) {
    return base + "/" + std::string(rest);
  }
  return base + "/i/" + std::string(rest);
}

Result<InviteInput> classify_invite(std::string_view text) {
  if (text.size() > kInviteTextMaxBytes) {
    return make_error(ErrorCode::kInvalid, "invalid invite format. Found " + std::to_string(text.size()) +
                                               " characters, at most " + std::to_string(kInviteTextMaxBytes) +
                                               " are accepted; copy only the link.");
  }
  const std::string normalised = normalise_invite_url(text);
  const std::string_view link = trim(normalised);
  std::string_view rest = link;
  if (take_prefix(rest, kIcScheme)) {
    if (!take_prefix(rest, "join/")) {
      return bad_format();
    }
    return token_input(without_trailing_slash(rest));
  }
  if (const auto web = split_web_link(link)) {
    std::string_view path = web->path;
    if (take_prefix(path, "/join/")) {
      return token_input(without_trailing_slash(path));
    }
    if (const auto code = code_of(web)) {
      return InviteInput(*code);
    }
    return bad_format();
  }
  if (link.size() >= kInviteRawTokenMinLength && is_token_text(link)) {
    return InviteInput(InviteToken{std::string(link)});
  }
  return bad_format();
}

std::optional<InviteShortCode> parse_invite_code(std::string_view text) {
  if (text.size() > kInviteTextMaxBytes) {
    return std::nullopt;
  }
  const std::string normalised = normalise_invite_url(text);
  const std::string_view link = trim(normalised);
  if (const auto code = code_of(split_web_link(link))) {
    return code;
  }
  if (link.find("://") == std::string_view::npos) {
    if (const auto code = code_of(split_host(link))) {
      return code;
    }
  }
  if (link.size() >= kBareCodeMin && link.size() <= kBareCodeMax && is_base62(link)) {
    return short_code(kInviteFallbackHost, link);
  }
  return std::nullopt;
}

bool is_invite_url(std::string_view text) {
  if (text.starts_with(kIcScheme) || text.starts_with(kOwnScheme)) {
    return true;
  }
  const auto web = split_web_link(text);
  return web && (web->path.starts_with("/i/") || web->path.starts_with("/join/"));
}

std::string invite_join_link(std::string_view web_base, std::string_view token) {
  return std::string(without_trailing_slash(web_base)) + "/join/" + std::string(token);
}

std::string invite_short_link(std::string_view web_base, std::string_view code) {
  return std::string(without_trailing_slash(web_base)) + "/i/" + std::string(code);
}

std::string invite_ic_link(std::string_view token) {
  return "ic://join/" + std::string(token);
}

Result<std::string> broker_http_base(std::string_view broker_url) {
  std::string_view rest = broker_url;
  std::string_view scheme;
  if (take_prefix(rest, "wss://") || take_prefix(rest, "https://")) {
    scheme = "https://";
  } else if (take_prefix(rest, "ws://") || take_prefix(rest, "http://")) {
    scheme = "http://";
  }
  const std::string_view host = rest.substr(0, rest.find('/'));
  if (scheme.empty() || !is_host(host)) {
    return make_error(ErrorCode::kInvalid,
                      "broker URL: expected ws:// or wss:// and a host, as in wss://broker.example.com/ws");
  }
  return std::string(scheme) + std::string(host);
}

}  // namespace cm::protocol
