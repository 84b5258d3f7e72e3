// Matches method and request target to a route. Pure: no sockets, no threads of its own.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cm::net {

// What a route looks like and how it is compared.
enum class RouteKind {
  kPattern,    // "/v1/items/:id", "/files/*rest": the path, segment by segment; the query is not looked at
  kRawTarget,  // exactly these bytes of the raw request target, query included: "/health?x" is not "/health"
};

struct RouteOptions {
  RouteKind kind = RouteKind::kPattern;
  bool decode_parameters = true;  // percent-decode what a parameter matched; a bad escape then does not match
  bool match_query = false;  // kPattern: the raw target with its query is matched as if "?" were an ordinary character
};

using RouteId = std::uint32_t;

struct RouteParameter {
  std::string name;
  std::string value;
};

// The answer of Router::match.
struct RouteMatch {
  enum class Outcome {
    kFound,
    kNotFound,          // answer 404
    kMethodNotAllowed,  // answer 405 with `allow` as the Allow header
  };
  Outcome outcome = Outcome::kNotFound;
  RouteId route = 0;
  std::vector<RouteParameter> parameters;
  std::string allow;  // "GET, POST"

  // The value of a parameter, or an empty view.
  std::string_view parameter(std::string_view name) const;
};

// A table of routes. Precedence: an exact raw target, then literal segments before parameters before a tail, decided
// segment by segment from the left. HEAD falls back to GET. Build on one thread; match() is const and reentrant.
class Router {
 public:
  Router();
  ~Router();
  Router(Router&&) noexcept;
  Router& operator=(Router&&) noexcept;

  // Adds a route; `method` is compared exactly, "*" takes any method that has no route of its own.
  // A segment ":name" takes one non-empty segment; a last segment "*name" takes the rest, which may be empty.
  // Errors: kInvalid for a bad pattern or method, kBusy when the same method and pattern are there already.
  Result<RouteId> add(std::string_view method, std::string_view pattern, const RouteOptions& options = {});
  // Removes a route; false when it does not exist. Ids are not reused.
  bool remove(RouteId id);
  std::size_t size() const noexcept;

  // `target` is the raw request target, with its query.
  RouteMatch match(std::string_view method, std::string_view target) const;

 private:
  struct Route;
  std::vector<std::unique_ptr<Route>> routes_;
  RouteId next_id_ = 1;
};

}  // namespace cm::net
