#include "host/net/url.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdlib>

namespace cm::net {

namespace {

Error bad_url(std::string_view found, std::string_view expected) {
  return make_error(ErrorCode::kInvalid, "the URL is not usable: " + std::string(found) + "; expected " +
                                             std::string(expected) + "; correct the URL and try again");
}

std::string to_lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

std::uint16_t default_port(std::string_view scheme) {
  return scheme == "https" || scheme == "wss" ? 443 : 80;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  if (text.empty() || text.size() > 5) {
    return std::nullopt;
  }
  std::uint32_t port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') {
      return std::nullopt;
    }
    port = port * 10 + static_cast<std::uint32_t>(c - '0');
  }
  return port >= 1 && port <= 65535 ? std::optional(static_cast<std::uint16_t>(port)) : std::nullopt;
}

bool host_valid(std::string_view host, bool bracketed) {
  if (host.empty() || host.size() > 253) {
    return false;
  }
  const auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (!bracketed) {
    return std::all_of(host.begin(), host.end(),
                       [&](char c) { return alphanumeric(c) || c == '.' || c == '-' || c == '_'; });
  }
  // Only an address may stand in brackets (RFC 3986 section 3.2.2), with a zone behind '%' (RFC 6874).
  const std::size_t percent = host.find('%');
  const std::string address(host.substr(0, percent));
  in6_addr parsed = {};
  if (inet_pton(AF_INET6, address.c_str(), &parsed) != 1) {
    return false;
  }
  const std::string_view zone = percent == std::string_view::npos ? std::string_view() : host.substr(percent + 1);
  return (percent == std::string_view::npos || !zone.empty()) && std::all_of(zone.begin(), zone.end(), alphanumeric);
}

Result<Url> parse_unix(std::string_view rest, Url url) {
  const std::size_t split = rest.find(":/");
  url.socket_path = std::string(rest.substr(0, split));
  url.target = split == std::string_view::npos ? "/" : std::string(rest.substr(split + 1));
  if (url.socket_path.empty() || url.socket_path.front() != '/') {
    return bad_url("the socket path is not absolute", "unix:///path/to.sock:/target");
  }
  return url;
}

// Splits "user@host:port" into the URL's fields.
Status parse_authority(std::string_view authority, Url& url) {
  const std::size_t at = authority.rfind('@');
  if (at != std::string_view::npos) {
    url.user_info = std::string(authority.substr(0, at));
    authority.remove_prefix(at + 1);
  }
  std::string_view port;
  bool has_port = false;
  const bool bracketed = !authority.empty() && authority.front() == '[';
  if (bracketed) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) {
      return bad_url("the bracket of the IPv6 address is not closed", "http://[::1]:8080/path");
    }
    url.host = to_lower(authority.substr(1, end - 1));
    const std::string_view after = authority.substr(end + 1);
    has_port = !after.empty();
    if (has_port && after.front() != ':') {
      return bad_url("text follows the bracket of the IPv6 address", "a port such as [::1]:8080");
    }
    port = has_port ? after.substr(1) : after;
  } else {
    const std::size_t colon = authority.find(':');
    has_port = colon != std::string_view::npos;
    url.host = to_lower(authority.substr(0, colon));
    port = has_port ? authority.substr(colon + 1) : std::string_view();
  }
  if (!host_valid(url.host, bracketed)) {
    return bad_url("the host name is empty or has characters that a host name cannot have",
                   "https://host.example/path");
  }
  if (!has_port || port.empty()) {
    url.port = default_port(url.scheme);
    return {};
  }
  const auto number = parse_port(port);
  if (!number) {
    return bad_url("the port '" + std::string(port.substr(0, 16)) + "' is not a number", "a port from 1 to 65535");
  }
  url.port = *number;
  return {};
}

}  // namespace

std::string Url::host_header() const {
  if (is_unix()) {
    return "localhost";
  }
  std::string text = host.find(':') != std::string::npos ? "[" + host + "]" : host;
  if (port != default_port(scheme)) {
    text += ":" + std::to_string(port);
  }
  return text;
}

std::string Url::printable() const {
  const std::string path = target.substr(0, target.find('?'));
  return is_unix() ? "unix://" + socket_path + ":" + path : scheme + "://" + host_header() + path;
}

Result<Url> parse_url(std::string_view text) {
  if (text.empty() || text.size() > kUrlBytesMax) {
    return bad_url("it has " + std::to_string(text.size()) + " bytes", "1 to " + std::to_string(kUrlBytesMax));
  }
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7F) {
      return bad_url("it has a space, a control character or a non-ASCII character", "such characters as %XX");
    }
  }
  const std::size_t colon = text.find("://");
  Url url;
  url.scheme = to_lower(text.substr(0, colon == std::string_view::npos ? 0 : colon));
  if (url.scheme != "http" && url.scheme != "https" && url.scheme != "ws" && url.scheme != "wss" &&
      url.scheme != "unix") {
    return bad_url("the scheme is '" + url.scheme.substr(0, 16) + "'", "http, https, ws, wss or unix");
  }
  std::string_view rest = text.substr(colon + 3);
  rest = rest.substr(0, rest.find('#'));
  if (url.scheme == "unix") {
    return parse_unix(rest, std::move(url));
  }
  const std::size_t path = rest.find_first_of("/?");
  const Status authority = parse_authority(rest.substr(0, path), url);
  if (!authority) {
    return authority.error();
  }
  url.target = path == std::string_view::npos ? "/" : std::string(rest.substr(path));
  if (url.target.front() == '?') {
    url.target.insert(0, 1, '/');
  }
  return url;
}

Result<Url> resolve_reference(const Url& base, std::string_view reference) {
  const std::size_t scheme = reference.find("://");
  if (scheme != std::string_view::npos && scheme < reference.find_first_of("/?#")) {
    return parse_url(reference);
  }
  if (reference.substr(0, 2) == "//") {
    return parse_url(base.scheme + ":" + std::string(reference));
  }
  Url url = base;
  const std::string base_path = base.target.substr(0, base.target.find('?'));
  std::string target;
  if (reference.empty()) {
    target = base.target;
  } else if (reference.front() == '/') {
    target = std::string(reference);
  } else if (reference.front() == '?') {
    target = base_path + std::string(reference);
  } else {
    target = base_path.substr(0, base_path.rfind('/') + 1) + std::string(reference);
  }
  url.target = target.substr(0, target.find('#'));
  for (const char c : url.target) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7F) {
      return bad_url("the redirect has a character that must be escaped", "such characters as %XX");
    }
  }
  if (url.target.empty() || url.target.front() != '/' || url.target.size() > kUrlBytesMax) {
    return bad_url("the redirect has no usable path", "an absolute URL or a path");
  }
  return url;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return std::nullopt;
      }
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    } else {
      out.push_back(plus_is_space && text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain) {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> pairs;
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    if (pair.empty()) {
      continue;
    }
    const std::size_t equals = pair.find('=');
    const std::string_view name = pair.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1);
    pairs.emplace_back(percent_decode(name, true).value_or(std::string(name)),
                       percent_decode(value, true).value_or(std::string(value)));
  }
  return pairs;
}

namespace {

std::string environment(const char* lower_name, const char* upper_name) {
  for (const char* name : {lower_name, upper_name}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') {
      return value;
    }
  }
  return {};
}

// One entry of NO_PROXY: "*", "host", ".suffix" (also matches subdomains of "host"), optionally with ":port".
bool no_proxy_entry_matches(std::string_view entry, const Url& url) {
  if (entry == "*") {
    return true;
  }
  const std::size_t colon = entry.rfind(':');
  const bool one_colon = colon != std::string_view::npos && entry.find(':') == colon;
  if (one_colon) {
    const auto port = parse_port(entry.substr(colon + 1));
    if (!port || *port != url.port) {
      return false;
    }
    entry = entry.substr(0, colon);
  }
  if (!entry.empty() && entry.front() == '[' && entry.back() == ']') {
    entry = entry.substr(1, entry.size() - 2);
  }
  if (!entry.empty() && entry.front() == '.') {
    entry.remove_prefix(1);
  }
  if (entry.empty() || url.host.size() < entry.size()) {
    return false;
  }
  const std::string wanted = to_lower(entry);
  const std::string_view tail = std::string_view(url.host).substr(url.host.size() - wanted.size());
  return tail == wanted && (url.host.size() == wanted.size() || url.host[url.host.size() - wanted.size() - 1] == '.');
}

}  // namespace

ProxySettings ProxySettings::from_environment() {
  ProxySettings settings;
  const std::string all = environment("all_proxy", "ALL_PROXY");
  settings.http_proxy = environment("http_proxy", "HTTP_PROXY");
  settings.https_proxy = environment("https_proxy", "HTTPS_PROXY");
  settings.no_proxy = environment("no_proxy", "NO_PROXY");
  if (settings.http_proxy.empty()) {
    settings.http_proxy = all;
  }
  if (settings.https_proxy.empty()) {
    settings.https_proxy = all;
  }
  return settings;
}

Result<std::optional<Url>> ProxySettings::proxy_for(const Url& url) const {
  const std::string& setting = url.tls() ? https_proxy : http_proxy;
  if (url.is_unix() || setting.empty()) {
    return std::optional<Url>();
  }
  std::string_view rest = no_proxy;
  while (!rest.empty()) {
    std::string_view entry = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), entry.size() + 1));
    const std::size_t first = entry.find_first_not_of(' ');
    entry = first == std::string_view::npos ? std::string_view()
                                            : entry.substr(first, entry.find_last_not_of(' ') - first + 1);
    if (no_proxy_entry_matches(entry, url)) {
      return std::optional<Url>();
    }
  }
  Result<Url> proxy = parse_url(setting.find("://") == std::string::npos ? "http://" + setting : setting);
  if (!proxy || proxy->scheme != "http") {
    return make_error(
        ErrorCode::kInvalid,
        "the proxy setting for " + url.scheme +
            " URLs is not usable: expected http://host:port; correct HTTP_PROXY or HTTPS_PROXY, or name " + url.host +
            " in NO_PROXY");
  }
  return std::optional<Url>(std::move(*proxy));
}

}  // namespace cm::net
