// The small files of the home directory.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "plugins/peer_daemon/src/api_guard.hpp"
#include "plugins/peer_daemon/src/config_file.hpp"
#include "plugins/peer_daemon/src/daemon.hpp"
#include "plugins/peer_daemon/src/host_fingerprint.hpp"
#include "plugins/peer_daemon/src/iso_time.hpp"
#include "plugins/peer_daemon/src/pid_lock.hpp"
#include "plugins/peer_daemon/src/process_probe.hpp"
#include "plugins/peer_daemon/src/session_registry.hpp"
#include "protocol/json.hpp"
#include "tests/support/temporary_folder.hpp"

namespace cm::daemon {
namespace {

class FilesTest : public ::testing::Test {
 protected:
  static unsigned mode(const std::string& path) {
    struct stat info{};
    return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 0777U : 0U;
  }
  const test::TemporaryFolder folder_;
  const std::string directory_ = folder_.path().string();
};

std::string mesh_json(const std::string& slug, const protocol::KeyPair& pair) {
  return R"({"meshId":"id-)" + slug + R"(","memberId":"m","slug":")" + slug + R"(","name":"N","pubkey":")" +
         pair.public_key.hex() + R"(","secretKey":")" + pair.secret_key.hex() +
         R"(","brokerUrl":"wss://b/ws","joinedAt":"2026-01-01T00:00:00.000Z","rootKey":"cm9vdA","inviteVersion":1})";
}

protocol::KeyPair pair_of(std::uint8_t seed) {
  std::array<std::uint8_t, 32> bytes{};
  bytes.fill(seed);
  return protocol::KeyPair::from_seed(bytes);
}

TEST_F(FilesTest, PrivateFilesAre0600AndComplete) {
  const std::string path = directory_ + "/secret";
  ASSERT_TRUE(write_private_file(path, "one").ok());
  ASSERT_TRUE(write_private_file(path, "two").ok());
  EXPECT_EQ(mode(path), 0600U);
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
  const auto file = read_private_file(path);
  ASSERT_TRUE(file.ok() && file->has_value());
  EXPECT_EQ((*file)->content.text(), "two");
  EXPECT_FALSE((*file)->was_exposed);
  EXPECT_FALSE(read_private_file(directory_ + "/none")->has_value());
}

TEST_F(FilesTest, ExposedConfigIsNoticedAndClosed) {
  const std::string path = directory_ + "/config.json";
  std::ofstream(path) << R"({"version":1,"meshes":[]})";
  ::chmod(path.c_str(), 0644);
  const auto loaded = load_config(path);
  ASSERT_TRUE(loaded.ok());
  EXPECT_TRUE(loaded->was_exposed);
  EXPECT_EQ(mode(path), 0600U);
}

TEST_F(FilesTest, ConfigIsReadWithItsSecrets) {
  const std::string path = directory_ + "/config.json";
  std::ofstream(path) << R"({"version":1,"meshes":[)" + mesh_json("alpha", pair_of(1)) + R"(],"displayName":"me"})";
  const auto loaded = load_config(path);
  ASSERT_TRUE(loaded.ok());
  ASSERT_EQ(loaded->config.meshes.size(), 1U);
  EXPECT_EQ(loaded->config.meshes[0].secret_key.text(), pair_of(1).secret_key.hex());
  EXPECT_EQ(loaded->config.meshes[0].root_key.text(), "cm9vdA");
  EXPECT_TRUE(loaded->config.problems.empty());
}

TEST_F(FilesTest, OneBrokenMeshDoesNotDisturbTheOthers) {
  std::string broken = mesh_json("broken", pair_of(2));
  broken.replace(broken.find(pair_of(2).public_key.hex()), 64, pair_of(3).public_key.hex());
  const auto parsed = parse_config(R"({"meshes":[)" + broken + "," + mesh_json("good", pair_of(4)) + "," +
                                   mesh_json("good", pair_of(5)) + R"(,{"slug":"empty"},7]})");
  ASSERT_TRUE(parsed.ok());
  ASSERT_EQ(parsed->meshes.size(), 1U);
  EXPECT_EQ(parsed->meshes[0].slug, "good");
  EXPECT_EQ(parsed->problems.size(), 4U);
  for (const std::string& problem : parsed->problems) {
    EXPECT_EQ(problem.find(pair_of(2).secret_key.hex()), std::string::npos);
  }
}

TEST_F(FilesTest, MissingConfigIsEmptyAndBrokenConfigNamesItself) {
  EXPECT_TRUE(load_config(directory_ + "/none.json")->config.meshes.empty());
  std::ofstream(directory_ + "/bad.json") << "{";
  const auto bad = load_config(directory_ + "/bad.json");
  ASSERT_FALSE(bad.ok());
  EXPECT_TRUE(bad.error().message.starts_with("Failed to load " + directory_ + "/bad.json: "));
}

TEST_F(FilesTest, OneDaemonPerDirectory) {
  const std::string path = directory_ + "/daemon.pid";
  std::ofstream(path) << "1";  // somebody died and left it behind
  auto first = PidLock::acquire(path);
  ASSERT_TRUE(first.ok());
  const auto second = PidLock::acquire(path);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().message, "daemon already running (pid " + std::to_string(::getpid()) + ")");
  first->release();
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(PidLock::acquire(path).ok());
}

TEST(HostFingerprint, RecognisesTheMachine) {
  const HostFacts here{"linux:abc", "00:11:22:33:44:55"};
  EXPECT_EQ(check_fingerprint(std::nullopt, here).outcome, FingerprintOutcome::kFirstRun);
  const std::string file = format_fingerprint(here, 0);
  EXPECT_EQ(check_fingerprint(file, here).outcome, FingerprintOutcome::kMatch);
  EXPECT_EQ(check_fingerprint(file, HostFacts{"linux:abc", "66:11:22:33:44:55"}).outcome, FingerprintOutcome::kRewrite);
  EXPECT_EQ(check_fingerprint(file, HostFacts{"linux:xyz", "00:11:22:33:44:55"}).outcome,
            FingerprintOutcome::kMismatch);
  EXPECT_EQ(check_fingerprint("garbage", here).outcome, FingerprintOutcome::kUnavailable);
  EXPECT_EQ(check_fingerprint(R"({"schema_version":9,"fingerprint":"x"})", here).outcome,
            FingerprintOutcome::kUnavailable);
  const HostFacts nothing;
  EXPECT_EQ(check_fingerprint(format_fingerprint(nothing, 0), nothing).outcome, FingerprintOutcome::kMatch);
}

TEST(HostFingerprint, PicksARealUniversalInterface) {
  EXPECT_EQ(pick_stable_mac({{"lo", "00:00:00:00:00:00", true},
                             {"docker0", "00:aa:00:00:00:01", false},
                             {"wlan0", "00:11:22:33:44:02", false},
                             {"eth0", "02:11:22:33:44:01", false},
                             {"apple0", "00:11:22:33:44:03", false},
                             {"ap1", "00:11:22:33:44:00", false}}),
            "00:11:22:33:44:03");
  EXPECT_EQ(pick_stable_mac({{"eth0", "02:11:22:33:44:01", false}}), "02:11:22:33:44:01");
  EXPECT_EQ(pick_stable_mac({}), "");
}

TEST(IsoTime, WritesAndReads) {
  EXPECT_EQ(format_iso_ms(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(format_iso_ms(1'776'254'400'123), "2026-04-15T12:00:00.123Z");
  EXPECT_EQ(parse_iso_ms("2026-04-15T12:00:00.123Z"), 1'776'254'400'123);
  EXPECT_EQ(parse_iso_ms("2026-04-15T14:00:00+02:00"), 1'776'254'400'000);
  EXPECT_EQ(parse_iso_ms("2026-04-15"), 1'776'211'200'000);
  for (const char* bad : {"", "yesterday", "2026-02-30", "2026-04-15T", "2026-04-15T12:00:00Zx", "2026-04-15T12"}) {
    EXPECT_FALSE(parse_iso_ms(bad).has_value()) << bad;
  }
}

TEST(ApiGuard, RulesInTheirOrder) {
  const GuardPolicy policy{"secret", false};
  GuardInput input;
  input.path = "/v1/health";
  EXPECT_FALSE(guard_request(input, policy).has_value());
  input.query = "a=1&token=x";
  EXPECT_EQ(guard_request(input, policy)->status, 400U);
  input.query = "tokens=1";
  input.host = "evil.example:80";
  EXPECT_EQ(guard_request(input, policy)->json, R"({"error":"forbidden host"})");
  for (const char* host : {"localhost:47823", "127.0.0.1", "[::1]:80", "::1", ""}) {
    input.host = host;
    EXPECT_FALSE(guard_request(input, policy).has_value()) << host;
  }
  input.origin = "http://localhost";
  EXPECT_EQ(guard_request(input, policy)->json, R"({"error":"forbidden origin"})");
  input.origin = "";
  input.unix_socket = false;
  EXPECT_EQ(guard_request(input, policy)->json, R"({"error":"missing bearer token"})");
  input.authorization = "Bearer wrong";
  EXPECT_EQ(guard_request(input, policy)->json, R"({"error":"invalid bearer token"})");
  input.authorization = "Bearer secret";
  EXPECT_FALSE(guard_request(input, policy).has_value());
  input.authorization = "";
  EXPECT_FALSE(guard_request(input, GuardPolicy{"secret", true}).has_value()) << "public health";
}

TEST(Sessions, RegistrationTextsAndSecrets) {
  const auto error = [](std::string_view body) {
    return *protocol::parse_json(parse_register(body).refusal.json)->find("error")->as_string();
  };
  EXPECT_EQ(error(""), "missing body");
  EXPECT_EQ(error("{}"), "token must be 64 hex chars");
  EXPECT_EQ(error(R"({"token":")" + std::string(64, 'a') + "\"}"), "session_id, mesh, display_name, pid all required");
  // A number that no process id can be is as good as none.
  EXPECT_EQ(error(R"({"token":")" + std::string(64, 'a') +
                  R"(","session_id":"s","mesh":"m","display_name":"d","pid":1e300})"),
            "session_id, mesh, display_name, pid all required");
  const protocol::KeyPair pair = pair_of(6);
  const std::string body = R"({"token":")" + std::string(64, 'a') +
                           R"(","session_id":"s","mesh":"m","display_name":"d","pid":5,"groups":["@g:lead","h"],)"
                           R"("presence":{"session_pubkey":")" +
                           pair.public_key.hex() + R"(","session_secret_key":")" + pair.secret_key.hex() + R"("}})";
  const auto parsed = parse_register(body);
  ASSERT_TRUE(parsed.value.has_value());
  EXPECT_EQ(parsed.value->info.session_pubkey, pair.public_key.hex());
  const std::string shown = describe_session(parsed.value->info) + format_sessions({&parsed.value->info});
  EXPECT_EQ(shown.find(pair.secret_key.hex()), std::string::npos);
  EXPECT_EQ(describe_session(parsed.value->info).find(std::string(64, 'a')), std::string::npos);
  EXPECT_EQ(groups_json(parsed.value->info.groups), R"([{"name":"g","role":"lead"},{"name":"h"}])");
}

TEST(Sessions, OneEntryPerSessionAndReaping) {
  SessionRegistry registry;
  SessionInfo info;
  info.token = std::string(64, 'a');
  info.session_id = "s";
  info.mesh = "m";
  info.pid = 7;
  registry.put(info);
  SessionInfo again = info;
  again.token = std::string(64, 'b');
  EXPECT_EQ(registry.replaced_by(again), std::vector<std::string>{info.token});
  const auto alive = [](std::int64_t, const std::string&) { return true; };
  const auto dead = [](std::int64_t, const std::string&) { return false; };
  EXPECT_TRUE(registry.ended(kSessionTtlMs, alive).empty());
  EXPECT_EQ(registry.ended(kSessionTtlMs + 1, alive).size(), 1U);
  EXPECT_EQ(registry.ended(0, dead).size(), 1U);
  SessionInfo proven;
  proven.token = std::string(64, 'd');
  proven.session_id = "long";
  proven.start_time = "4711";
  registry.put(proven);
  EXPECT_EQ(registry.ended(10 * kSessionTtlMs, alive).size(), 1U) << "a process that is the same keeps its session";
  const auto saved = parse_sessions(format_sessions(registry.all()));
  ASSERT_TRUE(saved.ok() && saved->size() == 1);
  EXPECT_EQ(saved->front().session_id, "s");
}

TEST(ProcessProbe, KnowsThisProcess) {
  const std::string start = process_start_time(::getpid());
  EXPECT_FALSE(start.empty());
  EXPECT_TRUE(process_is_same(::getpid(), start));
  EXPECT_FALSE(process_is_same(::getpid(), "1")) << "a recycled pid";
  EXPECT_TRUE(process_is_same(::getpid(), "Mon Jan  1 00:00:00 2026")) << "another notation says nothing";
  EXPECT_FALSE(process_exists(-1));
}

TEST(MaxAge, StaysInsideTheBrokersMemory) {
  constexpr std::int64_t kHour = 3'600'000;
  EXPECT_EQ(effective_max_age_ms(168 * kHour, "{}"), 168 * kHour);
  EXPECT_EQ(effective_max_age_ms(10'000 * kHour, "{}"), 720 * kHour);
  const auto scoped = [](int days) {
    return R"({"client_message_id_dedupe":{"version":1,"mode":"retention_scoped","dedupe_retention_days":)" +
           std::to_string(days) + R"(,"request_fingerprint":true}})";
  };
  EXPECT_EQ(effective_max_age_ms(168 * kHour, scoped(3)), 72 * kHour);
  EXPECT_EQ(effective_max_age_ms(1'000 * kHour, scoped(30)), 648 * kHour);
}

}  // namespace
}  // namespace cm::daemon
