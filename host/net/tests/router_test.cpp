// Goal: every rule of Router's contract. Method: tables of targets against small route sets.
#include "host/net/router.hpp"

#include <gtest/gtest.h>

namespace cm::net {
namespace {

using Outcome = RouteMatch::Outcome;

RouteId must_add(Router& router, std::string_view method, std::string_view pattern, const RouteOptions& options = {}) {
  auto id = router.add(method, pattern, options);
  EXPECT_TRUE(id.ok()) << (id.ok() ? "" : id.error().message);
  return id.ok() ? *id : 0;
}

TEST(NetRouter, LiteralsParametersAndTails) {
  Router router;
  const RouteId list = must_add(router, "GET", "/v1/inbox");
  const RouteId one = must_add(router, "GET", "/v1/inbox/:id");
  const RouteId unread = must_add(router, "GET", "/v1/inbox/unread");
  const RouteId files = must_add(router, "GET", "/files/*path");
  EXPECT_EQ(router.match("GET", "/v1/inbox").route, list);
  EXPECT_EQ(router.match("GET", "/v1/inbox?limit=3").route, list);
  EXPECT_EQ(router.match("GET", "/v1/inbox/unread").route, unread) << "a literal goes before a parameter";
  const RouteMatch match = router.match("GET", "/v1/inbox/a%20b");
  EXPECT_EQ(match.route, one);
  EXPECT_EQ(match.parameter("id"), "a b");
  EXPECT_EQ(match.parameter("other"), "");
  EXPECT_EQ(router.match("GET", "/files/a/b/c").parameter("path"), "a/b/c");
  EXPECT_EQ(router.match("GET", "/files/").route, files) << "a tail may be empty";
  EXPECT_EQ(router.match("GET", "/files").outcome, Outcome::kNotFound);
  EXPECT_EQ(router.match("GET", "/v1/inbox/").outcome, Outcome::kNotFound) << "a parameter is never empty";
  EXPECT_EQ(router.match("GET", "/v1/inbox/a/b").outcome, Outcome::kNotFound);
  EXPECT_EQ(router.match("GET", "/v1/inbox/%zz").outcome, Outcome::kNotFound) << "a bad escape does not match";
  EXPECT_EQ(router.match("GET", "").outcome, Outcome::kNotFound);
  EXPECT_EQ(router.match("GET", "*").outcome, Outcome::kNotFound);
}

TEST(NetRouter, RawTargetsMatchByteForByte) {
  Router router;
  const RouteId health = must_add(router, "GET", "/health", {RouteKind::kRawTarget});
  EXPECT_EQ(router.match("GET", "/health").route, health);
  EXPECT_EQ(router.match("GET", "/health?x").outcome, Outcome::kNotFound);
  EXPECT_EQ(router.match("GET", "/Health").outcome, Outcome::kNotFound);
  RouteOptions raw_segments;
  raw_segments.decode_parameters = false;
  raw_segments.match_query = true;
  const RouteId claim = must_add(router, "POST", "/invites/:code/claim", raw_segments);
  const RouteMatch match = router.match("POST", "/invites/a%20b/claim");
  EXPECT_EQ(match.route, claim);
  EXPECT_EQ(match.parameter("code"), "a%20b");
  EXPECT_EQ(router.match("POST", "/invites/a/claim?x").outcome, Outcome::kNotFound);
}

TEST(NetRouter, MethodsAllowHeadAndAny) {
  Router router;
  const RouteId get = must_add(router, "GET", "/thing/:id");
  const RouteId del = must_add(router, "DELETE", "/thing/:id");
  EXPECT_EQ(router.match("HEAD", "/thing/1").route, get);
  EXPECT_EQ(router.match("DELETE", "/thing/1").route, del);
  const RouteMatch refused = router.match("POST", "/thing/1");
  EXPECT_EQ(refused.outcome, Outcome::kMethodNotAllowed);
  EXPECT_EQ(refused.allow, "DELETE, GET");
  EXPECT_EQ(router.match("get", "/thing/1").outcome, Outcome::kMethodNotAllowed) << "methods are case-sensitive";
  const RouteId any = must_add(router, "*", "/thing/:id");
  EXPECT_EQ(router.match("PATCH", "/thing/1").route, any);
  EXPECT_EQ(router.match("GET", "/thing/1").route, get);
}

TEST(NetRouter, RefusesWhatCannotWork) {
  Router router;
  EXPECT_FALSE(router.add("GET", "no-slash").ok());
  EXPECT_FALSE(router.add("GET", "/a/:").ok());
  EXPECT_FALSE(router.add("GET", "/a/*rest/b").ok());
  EXPECT_FALSE(router.add("GET", "/a/:x/:x").ok());
  EXPECT_FALSE(router.add("BAD METHOD", "/a").ok());
  const RouteId id = must_add(router, "GET", "/a");
  const auto again = router.add("GET", "/a");
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, ErrorCode::kBusy);
  EXPECT_TRUE(router.remove(id));
  EXPECT_FALSE(router.remove(id));
  EXPECT_EQ(router.match("GET", "/a").outcome, Outcome::kNotFound);
  EXPECT_TRUE(router.add("GET", "/a").ok());
}

}  // namespace
}  // namespace cm::net
