#include "plugins/ws_broker/src/registry.hpp"

#include <gtest/gtest.h>

#include "plugins/ws_broker/tests/model_builder.hpp"

namespace cm::broker {
namespace {

using test::key_of;
using test::TestMesh;

TEST(Registry, CountsExactly) {
  TestMesh world;
  Member& alice = world.member("alice", key_of('a'));
  std::vector<Presence*> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(&world.presence(alice, key_of(static_cast<char>('b' + i)), "session"));
  }
  EXPECT_EQ(world.registry.size(), 5u);
  for (Presence* presence : all) {
    const std::unique_ptr<Presence> removed = world.registry.remove(*presence);
    EXPECT_EQ(removed->lease.state(), protocol::LeaseState::kEvicted);
  }
  EXPECT_EQ(world.registry.size(), 0u);
  EXPECT_TRUE(world.mesh->presences.empty());
  EXPECT_TRUE(world.mesh->by_session_key.empty());
  EXPECT_TRUE(world.mesh->by_session_id.empty());
  EXPECT_TRUE(alice.presences.empty());
}

TEST(Registry, ReattachesOnlyTheSameMemberInItsGrace) {
  TestMesh world;
  Member& alice = world.member("alice", key_of('a'));
  Member& bob = world.member("bob", key_of('b'));
  Presence& presence = world.presence(alice, "", "sid");
  EXPECT_EQ(Registry::reattachable(*world.mesh, alice, "", "sid"), &presence);
  EXPECT_EQ(Registry::reattachable(*world.mesh, alice, "", "other"), nullptr);
  EXPECT_EQ(Registry::reattachable(*world.mesh, bob, "", "sid"), nullptr);
  EXPECT_EQ(Registry::reattachable(*world.mesh, alice, key_of('c'), "sid"), nullptr)
      << "a hello with a session key is matched by that key alone";
}

TEST(Registry, SessionIdsOfOtherMembersAreNotReplaced) {
  TestMesh world;
  Member& alice = world.member("alice", key_of('a'));
  Member& bob = world.member("bob", key_of('b'));
  Presence& own = world.presence(alice, "", "same");
  world.presence(bob, "", "same");
  EXPECT_EQ(Registry::with_session_id(*world.mesh, alice, "same"), std::vector<Presence*>{&own});
}

TEST(Registry, ProvedSessionKeyComesBeforeAClaimedOne) {
  TestMesh world;
  Member& mallory = world.member("mallory", key_of('e'));
  Member& alice = world.member("alice", key_of('a'));
  Presence& claimed = world.presence(mallory, key_of('c'), "1", PresenceKind::kControlPlane);
  EXPECT_EQ(Registry::by_session_key(*world.mesh, key_of('c')), &claimed);
  Presence& proved = world.presence(alice, key_of('c'), "2", PresenceKind::kSession);
  EXPECT_EQ(Registry::by_session_key(*world.mesh, key_of('c')), &proved);
  EXPECT_EQ(Registry::by_session_key(*world.mesh, key_of('d')), nullptr);
}

}  // namespace
}  // namespace cm::broker
