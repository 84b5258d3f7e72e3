#include "host/net/router.hpp"

#include <algorithm>
#include <optional>

#include "host/net/http_types.hpp"
#include "host/net/url.hpp"

namespace cm::net {

namespace {

enum class SegmentKind : std::uint8_t { kLiteral, kParameter, kTail };

struct Segment {
  SegmentKind kind = SegmentKind::kLiteral;
  std::string text;
};

std::vector<std::string_view> split_path(std::string_view path) {
  std::vector<std::string_view> segments;
  path.remove_prefix(path.empty() ? 0 : 1);
  for (;;) {
    const std::size_t slash = path.find('/');
    segments.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) {
      return segments;
    }
    path.remove_prefix(slash + 1);
  }
}

Error bad_pattern(std::string_view pattern, std::string_view found, std::string_view expected) {
  return make_error(ErrorCode::kInvalid, "the route '" + std::string(pattern.substr(0, 120)) + "' is not usable: " +
                                             std::string(found) + "; expected " + std::string(expected));
}

Result<std::vector<Segment>> parse_pattern(std::string_view pattern) {
  std::vector<Segment> segments;
  const auto parts = split_path(pattern);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string_view part = parts[i];
    const bool special = !part.empty() && (part.front() == ':' || part.front() == '*');
    if (!special) {
      segments.push_back({SegmentKind::kLiteral, std::string(part)});
      continue;
    }
    const std::string name(part.substr(1));
    if (name.empty()) {
      return bad_pattern(pattern, "a parameter has no name", ":name or *name");
    }
    const bool tail = part.front() == '*';
    if (tail && i + 1 != parts.size()) {
      return bad_pattern(pattern, "*" + name + " is not the last segment", "a tail at the end only");
    }
    const bool twice = std::any_of(segments.begin(), segments.end(), [&](const Segment& other) {
      return other.kind != SegmentKind::kLiteral && other.text == name;
    });
    if (twice) {
      return bad_pattern(pattern, "the parameter " + name + " is there twice", "names that differ");
    }
    segments.push_back({tail ? SegmentKind::kTail : SegmentKind::kParameter, name});
  }
  return segments;
}

}  // namespace

struct Router::Route {
  RouteId id = 0;
  std::string method;
  std::string pattern;
  RouteOptions options;
  std::vector<Segment> segments;
  std::string order;  // compares smaller for the more specific route: one letter per segment

  // The parameters when the route matches the target.
  std::optional<std::vector<RouteParameter>> match(std::string_view target) const;
};

std::optional<std::vector<RouteParameter>> Router::Route::match(std::string_view target) const {
  std::vector<RouteParameter> parameters;
  if (options.kind == RouteKind::kRawTarget) {
    return target == pattern ? std::optional(std::move(parameters)) : std::nullopt;
  }
  std::string_view rest = options.match_query ? target : target.substr(0, target.find('?'));
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    if (rest.empty() || rest.front() != '/') {
      return std::nullopt;
    }
    rest.remove_prefix(1);
    std::string_view found = segment.kind == SegmentKind::kTail ? rest : rest.substr(0, rest.find('/'));
    rest.remove_prefix(found.size());
    if (segment.kind == SegmentKind::kLiteral) {
      if (found != segment.text) {
        return std::nullopt;
      }
      continue;
    }
    if (segment.kind == SegmentKind::kParameter && found.empty()) {
      return std::nullopt;
    }
    auto value = options.decode_parameters ? percent_decode(found) : std::optional(std::string(found));
    if (!value) {
      return std::nullopt;
    }
    parameters.push_back({segment.text, std::move(*value)});
  }
  return rest.empty() ? std::optional(std::move(parameters)) : std::nullopt;
}

std::string_view RouteMatch::parameter(std::string_view name) const {
  for (const RouteParameter& candidate : parameters) {
    if (candidate.name == name) {
      return candidate.value;
    }
  }
  return {};
}

Router::Router() = default;
Router::~Router() = default;
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;

Result<RouteId> Router::add(std::string_view method, std::string_view pattern, const RouteOptions& options) {
  if (!is_token(method)) {
    return bad_pattern(pattern, "the method is not a token", "GET, POST, ... or *");
  }
  if (pattern.empty() || (pattern.front() != '/' && pattern != "*")) {
    return bad_pattern(pattern, "it does not begin with a slash", "/path");
  }
  for (const auto& route : routes_) {
    if (route->method == method && route->pattern == pattern && route->options.kind == options.kind) {
      return make_error(ErrorCode::kBusy, "the route " + std::string(method) + " " + std::string(pattern) +
                                              " is registered already; remove it first or choose another path");
    }
  }
  auto route = std::make_unique<Route>();
  route->id = next_id_++;
  route->method = std::string(method);
  route->pattern = std::string(pattern);
  route->options = options;
  if (options.kind == RouteKind::kRawTarget) {
    route->order = "0";
  } else {
    auto segments = parse_pattern(pattern);
    if (!segments) {
      return segments.error();
    }
    route->segments = std::move(*segments);
    for (const Segment& segment : route->segments) {
      route->order.push_back(static_cast<char>('1' + static_cast<int>(segment.kind)));
    }
  }
  const RouteId id = route->id;
  const auto at = std::upper_bound(routes_.begin(), routes_.end(), route,
                                   [](const auto& left, const auto& right) { return left->order < right->order; });
  routes_.insert(at, std::move(route));
  return id;
}

bool Router::remove(RouteId id) {
  return std::erase_if(routes_, [id](const auto& route) { return route->id == id; }) != 0;
}

std::size_t Router::size() const noexcept {
  return routes_.size();
}

RouteMatch Router::match(std::string_view method, std::string_view target) const {
  // A route of the very method wins over HEAD's fallback to GET, and that over "*"; within each, the most specific.
  const Route* any = nullptr;
  const Route* fallback = nullptr;
  RouteMatch result;
  std::vector<std::string> allowed;
  for (const auto& route : routes_) {
    auto parameters = route->match(target);
    if (!parameters) {
      continue;
    }
    if (route->method == method) {
      result.outcome = RouteMatch::Outcome::kFound;
      result.route = route->id;
      result.parameters = std::move(*parameters);
      return result;
    }
    if (fallback == nullptr && method == "HEAD" && route->method == "GET") {
      fallback = route.get();
    }
    if (any == nullptr && route->method == "*") {
      any = route.get();
    }
    if (std::find(allowed.begin(), allowed.end(), route->method) == allowed.end()) {
      allowed.push_back(route->method);
    }
  }
  const Route* chosen = fallback != nullptr ? fallback : any;
  if (chosen != nullptr) {
    result.outcome = RouteMatch::Outcome::kFound;
    result.route = chosen->id;
    result.parameters = *chosen->match(target);
    return result;
  }
  if (!allowed.empty()) {
    result.outcome = RouteMatch::Outcome::kMethodNotAllowed;
    std::sort(allowed.begin(), allowed.end());
    for (const std::string& name : allowed) {
      result.allow += (result.allow.empty() ? "" : ", ") + name;
    }
  }
  return result;
}

}  // namespace cm::net
