// URLs of the kinds this room dials: http, https, ws, wss and unix. Pure.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cm::net {

inline constexpr std::size_t kUrlBytesMax = 8192;

// A URL taken apart. `unix:///path/to.sock:/v1/health` names a socket file and the target behind the last ":/".
struct Url {
  std::string scheme;       // lower case: http, https, ws, wss, unix
  std::string host;         // lower case, without brackets; empty for unix
  std::uint16_t port = 0;   // given or the scheme's default; 0 for unix
  std::string socket_path;  // unix only
  std::string user_info;    // raw "user:password", never to be logged; empty when absent
  std::string target;       // path and query as sent, at least "/"; the fragment is dropped

  bool tls() const { return scheme == "https" || scheme == "wss"; }
  bool is_unix() const { return scheme == "unix"; }
  // The Host header's value: brackets for IPv6, the port only when it is not the scheme's default.
  std::string host_header() const;
  // For logs and errors: everything but the user information and the query (either may hold a secret).
  std::string printable() const;
};

// Errors: kInvalid with what was found and what was expected. Control characters and spaces are refused.
Result<Url> parse_url(std::string_view text);

// Resolves a Location header against the URL that was asked (RFC 3986 section 5, absolute, "//host" and "/path" forms
// and paths relative to the last slash).
Result<Url> resolve_reference(const Url& base, std::string_view reference);

// Percent-decoding (RFC 3986 section 2.1); nullopt when a "%" is not followed by two hex digits. `plus_is_space` is for
// the query of HTML forms.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space = false);
// Escapes everything but the unreserved characters, so that the result is one path segment or one query value.
std::string percent_encode(std::string_view text);

// Splits "a=1&b=2" and decodes both halves ("+" is a space). Pairs that do not decode are kept raw.
std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query);

// Which proxy, if any, stands between us and `url`.
struct ProxySettings {
  std::string http_proxy;   // for http and ws, as in HTTP_PROXY; empty: none
  std::string https_proxy;  // for https and wss, as in HTTPS_PROXY
  std::string no_proxy;     // comma list of hosts, ".suffix", "host:port", CIDR-less addresses or "*"

  // Reads HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; the lower case names win. Any thread that changes no
  // environment.
  static ProxySettings from_environment();
  // nullopt: dial directly. Errors: kInvalid when the setting is not an http:// URL.
  Result<std::optional<Url>> proxy_for(const Url& url) const;
};

}  // namespace cm::net
