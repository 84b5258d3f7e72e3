#include "plugins/ws_broker/src/recipients.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "plugins/ws_broker/tests/model_builder.hpp"

namespace cm::broker {
namespace {

using test::key_of;
using test::TestMesh;

class RecipientsTest : public ::testing::Test {
 protected:
  static constexpr std::int64_t kNow = 1'000'000'000;
  static constexpr std::int64_t kWeek = 604'800'000;

  Route route(const Presence& sender, std::string_view target) {
    return find_route(RouteInput{world_.mesh, &sender, target, kNow, kWeek});
  }
  static std::vector<std::string> members(const Route& route) {
    std::vector<std::string> ids;
    for (const Recipient& recipient : route.recipients) {
      ids.push_back(recipient.member->id);
    }
    std::sort(ids.begin(), ids.end());
    return ids;
  }

  TestMesh world_;
  Member& alice_ = world_.member("alice", key_of('a'));
  Member& bob_ = world_.member("bob", key_of('b'), {"dev"});
  Member& carol_ = world_.member("carol", key_of('c'));
  Presence& sender_ = world_.presence(alice_, "", "alice-1");
};

TEST_F(RecipientsTest, MemberKeyReachesAMemberThatIsOffline) {
  const Route found = route(sender_, bob_.pubkey);
  EXPECT_EQ(found.fault, RouteFault::kNone);
  EXPECT_FALSE(found.multicast);
  ASSERT_EQ(members(found), std::vector<std::string>{"bob"});
  EXPECT_TRUE(found.recipients[0].key.empty());
}

TEST_F(RecipientsTest, NamesPrefixesAndForeignKeysMatchNobody) {
  for (const std::string& target :
       {std::string("bob"), bob_.pubkey.substr(0, 16), std::string(64, 'B'), key_of('f'), std::string()}) {
    EXPECT_EQ(route(sender_, target).fault, RouteFault::kNoPeer) << target;
  }
}

TEST_F(RecipientsTest, RevokedMemberIsNoTarget) {
  MeshCache::set_revoked(bob_, 5);
  EXPECT_EQ(route(sender_, bob_.pubkey).fault, RouteFault::kNoPeer);
  EXPECT_EQ(members(route(sender_, "*")), std::vector<std::string>{"carol"});
}

TEST_F(RecipientsTest, OwnMemberKeyNeedsAnotherPresence) {
  EXPECT_EQ(route(sender_, alice_.pubkey).fault, RouteFault::kNoPeer);
  Presence& session = world_.presence(alice_, key_of('5'), "alice-2", PresenceKind::kSession);
  EXPECT_EQ(members(route(sender_, alice_.pubkey)), std::vector<std::string>{"alice"});
  EXPECT_EQ(members(route(session, alice_.pubkey)), std::vector<std::string>{"alice"});
  EXPECT_EQ(route(session, key_of('5')).fault, RouteFault::kNoPeer) << "its own session key";
  const Route sibling = route(sender_, key_of('5'));
  ASSERT_EQ(members(sibling), std::vector<std::string>{"alice"});
  EXPECT_EQ(sibling.recipients[0].key, key_of('5'));
}

TEST_F(RecipientsTest, RememberedSessionIsATargetForAWeek) {
  world_.mesh->session_keys[key_of('7')] = SessionKey{&bob_, kNow - kWeek + 1, 0};
  EXPECT_EQ(members(route(sender_, key_of('7'))), std::vector<std::string>{"bob"});
  world_.mesh->session_keys[key_of('7')].last_seen_at_ms = kNow - kWeek;
  EXPECT_EQ(route(sender_, key_of('7')).fault, RouteFault::kNoPeer);
}

TEST_F(RecipientsTest, ClaimedSessionKeyDoesNotTakeOverARememberedSession) {
  world_.mesh->session_keys[key_of('7')] = SessionKey{&bob_, kNow, 0};
  world_.presence(carol_, key_of('7'), "thief", PresenceKind::kControlPlane);
  EXPECT_EQ(members(route(sender_, key_of('7'))), std::vector<std::string>{"bob"});
}

TEST_F(RecipientsTest, BroadcastIsForEveryOtherMember) {
  for (const char* target : {"*", "@all"}) {
    const Route found = route(sender_, target);
    EXPECT_TRUE(found.multicast);
    EXPECT_EQ(members(found), (std::vector<std::string>{"bob", "carol"})) << target;
  }
}

TEST_F(RecipientsTest, GroupByDefaultsAndByPresence) {
  EXPECT_EQ(members(route(sender_, "@dev")), std::vector<std::string>{"bob"});
  world_.presence(carol_, "", "c").groups.push_back({"dev", std::nullopt});
  EXPECT_EQ(members(route(sender_, "@dev")), (std::vector<std::string>{"bob", "carol"}));
  EXPECT_TRUE(route(sender_, "@Dev").recipients.empty());
  EXPECT_EQ(route(sender_, "@nobody").fault, RouteFault::kNone) << "an empty group is accepted";
}

TEST_F(RecipientsTest, SenderIsNeverInItsOwnGroup) {
  sender_.groups.push_back({"ops", std::nullopt});
  EXPECT_TRUE(route(sender_, "@ops").recipients.empty());
}

TEST_F(RecipientsTest, TopicsAreNotServed) {
  EXPECT_EQ(route(sender_, "#topic").fault, RouteFault::kTopic);
}

}  // namespace
}  // namespace cm::broker
