#include "cli/config_file.hpp"

#include <sys/stat.h>

#include <thread>

#include "cli/files.hpp"
#include "cli/tests/cli_test_support.hpp"

namespace cm::cli {
namespace {

MeshEntry entry_of(const std::string& slug, const std::string& mesh_id) {
  MeshEntry entry;
  entry.slug = slug;
  entry.name = slug;
  entry.mesh_id = mesh_id;
  entry.member_id = "member";
  entry.pubkey = std::string(64, 'b');
  entry.secret_key = protocol::SecretText(std::string(128, 'c'));
  entry.broker_url = "ws://h/ws";
  entry.joined_at = "2026-01-01T00:00:00.000Z";
  return entry;
}

TEST(ConfigFile, WritesTheShapeOf1_37) {
  ConfigFile config;
  put_mesh(config, entry_of("team", "M1"));
  config.others.set("displayName", json_text("Ada"));
  const std::string text = format_config(config);
  EXPECT_EQ(text.substr(0, 53), "{\n  \"version\": 1,\n  \"meshes\": [\n    {\n      \"meshId\":");
  EXPECT_EQ(text.substr(text.size() - 28), "],\n  \"displayName\": \"Ada\"\n}\n");
  EXPECT_EQ(text.find("rootKey"), std::string::npos);
  const Result<ConfigFile> again = protocol::parse_config(text);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->meshes.front().secret_key.text(), std::string(128, 'c'));
  EXPECT_EQ(format_config(*again), text);
}

TEST(ConfigFile, KeepsKnownKeysDropsOthers) {
  const Result<ConfigFile> config = protocol::parse_config(
      R"({"version":1,"meshes":[{"slug":"a","rootKey":"R","inviteVersion":2}],"groups":[{"name":"g"}],"x":1})");
  ASSERT_TRUE(config);
  const std::string text = format_config(*config);
  EXPECT_NE(text.find("\"rootKey\": \"R\""), std::string::npos);
  EXPECT_NE(text.find("\"inviteVersion\": 2"), std::string::npos);
  EXPECT_NE(text.find("\"groups\""), std::string::npos);
  EXPECT_EQ(text.find("\"x\""), std::string::npos);
}

TEST(ConfigFile, WhatItWouldLoseIsNeverOverwritten) {
  for (const std::string text : {"{ broken", "[]", R"({"meshes":{}})", R"({"meshes":[1]})",
                                 R"({"meshes":[{"slug":"kept"},{"name":"no slug"}]})"}) {
    test::Home home;
    test::write_text(home.context.paths.config_file(), text);
    const std::optional<Failure> failure = add_mesh_to_config(home.context.paths, entry_of("a", "A"), std::nullopt);
    ASSERT_TRUE(failure.has_value()) << text;
    EXPECT_EQ(failure->code, ExitCode::kIo);
    EXPECT_NE(failure->found.find("Failed to load "), std::string::npos);
    EXPECT_EQ(test::read_text(home.context.paths.config_file()), text);
  }
}

TEST(ConfigFile, ConcurrentJoinsAllSurviveWithMode0600) {
  test::Home home;
  constexpr int kJoins = 8;
  std::vector<std::thread> threads;
  for (int i = 0; i < kJoins; ++i) {
    threads.emplace_back([&home, i] {
      const std::string slug = "mesh-" + std::to_string(i);
      EXPECT_FALSE(add_mesh_to_config(home.context.paths, entry_of(slug, slug), std::nullopt).has_value());
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const Outcome<ConfigFile> config = load_config(home.context.paths);
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->meshes.size(), std::size_t{kJoins});
  struct stat info{};
  ASSERT_EQ(::stat(home.context.paths.config_file().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(ConfigFile, JoiningAgainReplacesTheEntry) {
  ConfigFile config;
  put_mesh(config, entry_of("a", "A"));
  put_mesh(config, entry_of("b", "B"));
  MeshEntry newer = entry_of("a", "A");
  newer.pubkey = std::string(64, 'd');
  put_mesh(config, std::move(newer));
  ASSERT_EQ(config.meshes.size(), 2u);
  EXPECT_EQ(config.find("a")->pubkey, std::string(64, 'd'));
}

TEST(ConfigFile, RequireMeshNamesWhatIsThere) {
  test::Home home;
  EXPECT_EQ(require_mesh(home.context.paths, "").failure().code, ExitCode::kFailed);
  home.join({"one", "two"});
  EXPECT_TRUE(require_mesh(home.context.paths, "two").ok());
  EXPECT_EQ(require_mesh(home.context.paths, "three").failure().expected, "one of: one, two");
}

TEST(Files, ALockIsHeldByOneAtATime) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("lock");
  {
    const Result<FileLock> held = FileLock::acquire(path, 0);
    ASSERT_TRUE(held);
    const Result<FileLock> second = FileLock::acquire(path, 30);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  }
  EXPECT_TRUE(FileLock::acquire(path, 0));
}

TEST(Files, WritingIntoAFolderThatIsMissingNamesIt) {
  const Status status = write_private_file("/nonexistent-folder/x", "y");
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("/nonexistent-folder/x"), std::string::npos);
}

TEST(Paths, FollowTheEnvironment) {
  test::TemporaryFolder folder;
  const Paths plain = find_paths(Environment::of({{"HOME", "/home/u/"}}));
  EXPECT_EQ(plain.config_dir, "/home/u/.claudemesh");
  EXPECT_EQ(plain.daemon_dir, "/home/u/.claudemesh/daemon");
  const Paths set = find_paths(Environment::of(
      {{"HOME", "/home/u"}, {"CLAUDEMESH_CONFIG_DIR", folder.path().string()}, {"CLAUDEMESH_DAEMON_DIR", "/run/d/"}}));
  EXPECT_EQ(set.config_dir, folder.path());
  EXPECT_EQ(set.daemon_dir, "/run/d");
  const Paths stale = find_paths(Environment::of({{"HOME", "/home/u"}, {"CLAUDEMESH_CONFIG_DIR", "/nonexistent"}}));
  EXPECT_EQ(stale.config_dir, "/home/u/.claudemesh");
  EXPECT_TRUE(stale.stale_config_dir);
}

TEST(Context, IsoTime) {
  EXPECT_EQ(iso_time(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(iso_time(1'700'000'000'123), "2023-11-14T22:13:20.123Z");
}

}  // namespace
}  // namespace cm::cli
