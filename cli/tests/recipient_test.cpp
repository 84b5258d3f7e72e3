#include "cli/recipient.hpp"

#include <gtest/gtest.h>

namespace cm::cli {
namespace {

const std::string kAda = std::string(60, 'a') + "0001";
const std::string kAdaMember = std::string(60, 'b') + "0001";
const std::string kBob = std::string(60, 'a') + "0002";

JsonValue row(const std::string& name, const std::string& pubkey, const std::string& member, const std::string& mesh,
              const std::string& role = "session") {
  return object_of({{"displayName", json_text(name)},
                    {"pubkey", json_text(pubkey)},
                    {"memberPubkey", json_text(member)},
                    {"mesh", json_text(mesh)},
                    {"peerRole", json_text(role)}});
}

std::vector<JsonValue> roster() {
  return {row("Ada", kAda, kAdaMember, "team"), row("Bob", kBob, std::string(64, 'c'), "team"),
          row("Daemon", std::string(64, 'd'), std::string(64, 'd'), "team", "control-plane")};
}

TEST(Recipient, Kinds) {
  EXPECT_EQ(classify_recipient("@all"), RecipientKind::kMany);
  EXPECT_EQ(classify_recipient("#general"), RecipientKind::kMany);
  EXPECT_EQ(classify_recipient("*"), RecipientKind::kMany);
  EXPECT_EQ(classify_recipient(std::string(64, 'A')), RecipientKind::kKey);
  EXPECT_EQ(classify_recipient("beef"), RecipientKind::kPrefix);
  EXPECT_EQ(classify_recipient("bee"), RecipientKind::kName);
  EXPECT_EQ(classify_recipient("ada"), RecipientKind::kName);
  EXPECT_EQ(classify_recipient(std::string(65, 'a')), RecipientKind::kName);
  EXPECT_EQ(classify_recipient(""), RecipientKind::kName);
}

TEST(Recipient, ANameMatchesWithoutCaseAndBecomesAKey) {
  const Outcome<Recipient> found = resolve_recipient("aDA", "", roster());
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->target, kAda);
  EXPECT_EQ(found->mesh, "team");
  EXPECT_EQ(found->name, "Ada");
  EXPECT_EQ(found->online, true);
}

TEST(Recipient, APrefixMatchesBothKeysOfARow) {
  EXPECT_EQ(resolve_recipient(kAda.substr(0, 64 - 1), "", roster()).failure().code, ExitCode::kFailed)
      << "63 characters that two keys share";
  EXPECT_EQ(resolve_recipient("BBBB", "", roster())->target, kAda) << "a member key leads to the session";
}

TEST(Recipient, SeveralThatFitAreListedWithTheirMeshes) {
  std::vector<JsonValue> rows = roster();
  rows.push_back(row("Ada", std::string(64, 'e'), std::string(64, 'e'), "other"));
  const Outcome<Recipient> found = resolve_recipient("ada", "", rows);
  ASSERT_FALSE(found.ok());
  EXPECT_NE(found.failure().found.find("2 peers"), std::string::npos);
  EXPECT_NE(found.failure().found.find("on other"), std::string::npos);
}

TEST(Recipient, TheSameKeyTwiceIsOnePeer) {
  std::vector<JsonValue> rows = roster();
  rows.push_back(rows.front());
  EXPECT_TRUE(resolve_recipient("ada", "", rows).ok());
}

TEST(Recipient, NobodyFitsAndTheDaemonIsAsked) {
  const Outcome<Recipient> found = resolve_recipient("eve", "team", roster());
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->target, "eve");
  EXPECT_EQ(found->online, false);
  ASSERT_TRUE(found->stranger.has_value());
  EXPECT_EQ(found->stranger->code, ExitCode::kFailed);
  EXPECT_NE(found->stranger->next.find("peer list --mesh team"), std::string::npos);
}

TEST(Recipient, ADaemonOnlyWhenNoSessionFits) {
  EXPECT_EQ(resolve_recipient("daemon", "", roster())->target, std::string(64, 'd'));
  std::vector<JsonValue> rows = roster();
  rows.push_back(row("Daemon", kBob, kBob, "team"));
  EXPECT_EQ(resolve_recipient("daemon", "", rows)->target, kBob);
}

TEST(Recipient, AFullKeyNeedsNoRosterAndIsLowerCase) {
  const Outcome<Recipient> unknown = resolve_recipient(std::string(64, 'F'), "team", roster());
  ASSERT_TRUE(unknown.ok());
  EXPECT_EQ(unknown->target, std::string(64, 'f'));
  EXPECT_EQ(unknown->online, false);
  const Outcome<Recipient> blind = resolve_recipient(std::string(64, 'F'), "team", std::nullopt);
  EXPECT_EQ(blind->online, std::nullopt);
  const Outcome<Recipient> member = resolve_recipient(kAdaMember, "team", roster());
  EXPECT_EQ(member->target, kAdaMember) << "a typed key is sent as typed";
  EXPECT_EQ(member->online, true);
}

TEST(Recipient, ManyAreNeverLookedUp) {
  const Outcome<Recipient> all = resolve_recipient("*", "team", std::nullopt);
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->target, "*");
  EXPECT_EQ(all->online, std::nullopt);
}

}  // namespace
}  // namespace cm::cli
