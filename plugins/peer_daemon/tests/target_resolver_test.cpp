#include "plugins/peer_daemon/src/target_resolver.hpp"

#include <gtest/gtest.h>

namespace cm::daemon {
namespace {

const std::string kAlice(64, 'a');
const std::string kBob = std::string(20, 'b') + std::string(44, '1');
const std::string kBobSession = "cc" + std::string(62, '2');
const std::string kBobOther = "dd" + std::string(62, '3');

std::vector<PeerView> peers() {
  return {{kAlice, kAlice, "Alice", "control-plane"},
          {kBob, kBob, "bob", "control-plane"},
          {kBobSession, kBob, "bob", "session"},
          {kBobOther, kBob, "Bob the second", "session"}};
}

std::string resolved(std::string_view to) {
  const Result<std::string> key = resolve_peer(parse_target(to), peers());
  return key ? *key : key.error().message;
}

TEST(TargetResolver, Kinds) {
  using Kind = ParsedTarget::Kind;
  EXPECT_EQ(parse_target("#0123456789abcdefghij").kind, Kind::kTopicId);
  EXPECT_EQ(parse_target("#general").kind, Kind::kTopicName);
  EXPECT_EQ(parse_target("#general").value, "general");
  EXPECT_EQ(parse_target("@reviewers").kind, Kind::kMulticast);
  EXPECT_EQ(parse_target("*").kind, Kind::kMulticast);
  EXPECT_EQ(parse_target(std::string(64, 'A')).kind, Kind::kKey);
  EXPECT_EQ(parse_target(std::string(64, 'A')).value, kAlice) << "routing compares lower case";
  EXPECT_EQ(parse_target(std::string(16, 'f')).kind, Kind::kKeyPrefix);
  EXPECT_EQ(parse_target("beef").kind, Kind::kName) << "short hex is a name";
  EXPECT_EQ(parse_target(std::string(65, 'f')).kind, Kind::kName);
}

TEST(TargetResolver, NamePrefersASession) {
  EXPECT_EQ(resolved("BOB"), kBobSession);
  EXPECT_EQ(resolved("alice"), kAlice) << "the control plane when there is nothing else";
}

TEST(TargetResolver, UnknownNameHasTheTextOf1370) {
  EXPECT_EQ(resolved("carol"), "peer \"carol\" not found");
}

TEST(TargetResolver, UniquePrefixOfARoutingKey) {
  EXPECT_EQ(resolved("cc" + std::string(16, '2')), kBobSession);
}

TEST(TargetResolver, PrefixOfTheMemberMeansTheMember) {
  EXPECT_EQ(resolved(kBob.substr(0, 18)), kBob);
}

TEST(TargetResolver, MemberPrefixWithOneSessionGoesThere) {
  const std::vector<PeerView> one = {{kBobSession, kBob, "bob", "session"}};
  EXPECT_EQ(*resolve_peer(parse_target(kBob.substr(0, 18)), one), kBobSession);
}

TEST(TargetResolver, UnknownAndAmbiguousPrefix) {
  EXPECT_EQ(resolved(std::string(16, 'e')), "no peer matching prefix \"" + std::string(16, 'e') + "\"");
  const std::string prefix(16, '7');
  const std::vector<PeerView> two = {{prefix + std::string(48, '1'), "x", "x", ""},
                                     {prefix + std::string(48, '2'), "y", "y", ""}};
  EXPECT_EQ(resolve_peer(parse_target(prefix), two).error().message,
            "prefix \"" + prefix + "\" is ambiguous (2 matches)");
}

TEST(TargetResolver, FingerprintDestination) {
  EXPECT_EQ(fingerprint_destination("@a").kind, protocol::DestinationKind::kTopic);
  EXPECT_EQ(fingerprint_destination("@a").ref, "a");
  EXPECT_EQ(fingerprint_destination("*").ref, "*");
  EXPECT_EQ(fingerprint_destination("Bob").kind, protocol::DestinationKind::kDm);
  EXPECT_EQ(fingerprint_destination("Bob").ref, "Bob");
}

}  // namespace
}  // namespace cm::daemon
