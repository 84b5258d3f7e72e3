#include "cli/daemon_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cli/daemon_verbs.hpp"
#include "cli/files.hpp"
#include "cli/local_api.hpp"
#include "cli/tests/cli_test_support.hpp"

namespace cm::cli {
namespace {

constexpr std::uint64_t kPatienceMs = 30'000;  // generous: reached only by a failing test

// A shell script in the place of the program: `script run config`.
void be_executable(test::Home& home, const std::string& script) {
  home.context.paths.executable = home.folder.file("claudemesh");
  test::write_text(home.context.paths.executable, "#!/bin/sh\n" + script);
  ::chmod(home.context.paths.executable.c_str(), 0755);
  test::write_text(home.context.paths.config_dir + "/daemon.toml", "");
}

TEST(DaemonConfig, IsSearchedInOrder) {
  test::Home home;
  home.context.paths.executable = home.folder.file("build/p/app/claudemesh");
  const Outcome<std::string> none = find_daemon_config(home.context.paths, "");
  if (!none.ok()) {  // a machine may have one in /etc
    EXPECT_NE(none.failure().expected.find(home.context.paths.config_dir + "/daemon.toml"), std::string::npos);
    std::filesystem::create_directories(home.folder.file("build/p/app"));
    std::filesystem::create_directories(home.folder.file("etc"));
    test::write_text(home.folder.file("etc/daemon.toml"), "");
    EXPECT_EQ(*find_daemon_config(home.context.paths, ""), home.folder.file("etc/daemon.toml"));
  }
  test::write_text(home.context.paths.config_dir + "/daemon.toml", "");
  EXPECT_EQ(*find_daemon_config(home.context.paths, ""), home.context.paths.config_dir + "/daemon.toml");
  EXPECT_FALSE(find_daemon_config(home.context.paths, "/nonexistent.toml").ok());
}

TEST(DaemonPidFile, AStaleNumberIsNoDaemon) {
  test::Home home;
  EXPECT_EQ(read_daemon_pid(home.context.paths).pid, 0);
  test::write_text(home.context.paths.pid_file(), std::to_string(::getpid()));
  const DaemonPid unlocked = read_daemon_pid(home.context.paths);
  EXPECT_TRUE(unlocked.alive);
  EXPECT_FALSE(unlocked.locked);
  EXPECT_EQ(run_daemon_down({.config = "", .foreground = false, .json = true}, home.context), 0)
      << "this very process must survive a pid file that names it";
  EXPECT_EQ(text_of(home.out_json(), "reason"), "not_running");
  const Descriptor file(::open(home.context.paths.pid_file().c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::flock(file.get(), LOCK_EX), 0);
  EXPECT_TRUE(read_daemon_pid(home.context.paths).locked);
}

TEST(DaemonStart, AFailureShowsTheEndOfTheLog) {
  test::Home home;
  be_executable(home, "echo first; echo cannot open the store >&2; exit 2\n");
  const Outcome<StartedDaemon> started =
      start_daemon(home.context, home.context.paths.config_dir + "/daemon.toml", kPatienceMs);
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.failure().found.find("exit code 2"), std::string::npos);
  EXPECT_NE(started.failure().next.find("cannot open the store"), std::string::npos);
  struct stat info{};
  ASSERT_EQ(::stat(home.context.paths.log_file().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(DaemonStart, IsReadyWhenItSaysSoAndRunsInASessionOfItsOwn) {
  test::Home home;
  be_executable(home,
                "echo \"$CLAUDEMESH_CONFIG_DIR|$CLAUDEMESH_IPC_TOKEN|$1|$2\"\n"
                "python3 -c 'import os,socket;s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);"
                "s.sendto(b\"READY=1\",\"\\0\"+os.environ[\"NOTIFY_SOCKET\"][1:])'\n"
                "exec sleep 60\n");
  ::setenv("CLAUDEMESH_IPC_TOKEN", "secret", 1);
  const std::string config = home.context.paths.config_dir + "/daemon.toml";
  const Outcome<StartedDaemon> started = start_daemon(home.context, config, kPatienceMs);
  ::unsetenv("CLAUDEMESH_IPC_TOKEN");
  ASSERT_TRUE(started.ok()) << started.failure().found << started.failure().next;
  EXPECT_NE(::getsid(started->pid), ::getsid(0));
  EXPECT_EQ(stop_process(started->pid, kPatienceMs), StopResult::kStopped);
  ::waitpid(started->pid, nullptr, 0);
  const std::string log = test::read_text(home.context.paths.log_file());
  EXPECT_EQ(log, home.context.paths.config_dir + "||run|" + config + "\n");
}

TEST(DaemonStart, ADaemonThatIsLateIsLeftAlone) {
  test::Home home;
  be_executable(home, "exec sleep 60\n");
  const Outcome<StartedDaemon> started =
      start_daemon(home.context, home.context.paths.config_dir + "/daemon.toml", 150);
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.failure().found.find("not ready within 150 ms"), std::string::npos);
  const std::string& text = started.failure().found;
  const int pid = std::stoi(text.substr(text.find("(pid ") + 5));
  EXPECT_EQ(::kill(pid, 0), 0);
  EXPECT_EQ(stop_process(pid, kPatienceMs), StopResult::kStopped);
  ::waitpid(pid, nullptr, 0);
  EXPECT_EQ(stop_process(pid, 10), StopResult::kGone);
}

TEST(DaemonStart, ALargeLogIsMovedAway) {
  test::Home home;
  be_executable(home, "exit 1\n");
  test::write_text(home.context.paths.log_file(), "x");
  std::filesystem::resize_file(home.context.paths.log_file(), kLogRotateBytes + 1);
  static_cast<void>(start_daemon(home.context, home.context.paths.config_dir + "/daemon.toml", kPatienceMs));
  EXPECT_EQ(std::filesystem::file_size(home.context.paths.log_file() + ".1"), kLogRotateBytes + 1);
  EXPECT_EQ(std::filesystem::file_size(home.context.paths.log_file()), 0u);
}

TEST(DaemonVerbs, StatusOfARunningDaemon) {
  test::Home home;
  test::FakeServer daemon(home.context.paths.socket());
  daemon.answer("GET /v1/health", 200,
                R"({"ok":true,"pid":4711,"brokers":{"team":"reconnecting"},"links":{"team":{"state":"reconnecting",)"
                R"("since_ms":5000,"attempt":3,"retry_in_ms":4000,"reason":"refused","degraded":["batch_ack"]}},)"
                R"("outbox":{"pending":2,"inflight":1,"dead":0}})");
  EXPECT_EQ(run_daemon_status({}, home.context), 0);
  const std::string text = home.out.str();
  EXPECT_NE(text.find("daemon running (pid 4711)"), std::string::npos);
  EXPECT_NE(text.find("attempt 3, next in 4 s — refused"), std::string::npos) << text;
  EXPECT_NE(text.find("not offered by this broker: batch_ack"), std::string::npos);
  EXPECT_NE(text.find("outbox: 2 pending, 1 in flight, 0 failed"), std::string::npos);
}

TEST(DaemonVerbs, StatusWithoutADaemon) {
  test::Home home;
  EXPECT_EQ(run_daemon_status({.config = "", .foreground = false, .json = true}, home.context), 1);
  EXPECT_EQ(protocol::to_json(home.out_json()), R"({"running":false})");
}

TEST(DaemonVerbs, UpIsHappyWithARunningDaemon) {
  test::Home home;
  test::FakeServer daemon(home.context.paths.socket());
  daemon.answer("GET /v1/health", 200, R"({"ok":true,"pid":4711,"brokers":{}})");
  EXPECT_EQ(run_daemon_up({.config = "", .foreground = false, .json = true}, home.context), 0);
  EXPECT_EQ(text_of(home.out_json(), "reason"), "already_running");
}

TEST(DaemonVerbs, Outbox) {
  test::Home home;
  test::FakeServer daemon(home.context.paths.socket());
  daemon.answer("GET /v1/outbox", 200,
                R"({"items":[{"id":"R","client_message_id":"C","status":"dead","attempts":25,"last_error":"no"}]})");
  OutboxArguments arguments;
  arguments.status = "dead";
  EXPECT_EQ(run_outbox_list(arguments, home.context), 0);
  EXPECT_EQ(home.out.str(), "dead     R  cid=C  attempts=25 last_error=\"no\"\n");
  EXPECT_EQ(daemon.requests("GET /v1/outbox")[0].target, "/v1/outbox?status=dead&limit=50");
  daemon.answer("POST /v1/outbox/requeue", 409, R"({"error":"row not found, already aborted, or already done"})");
  arguments.id = "R";
  EXPECT_EQ(run_outbox_requeue(arguments, home.context), 1);
  test::expect_three_parts(home.err.str());
}

TEST(AutoStart, HappensOnceAndIsReported) {
  test::Home home;
  home.join({"team"});
  home.context.environment = Environment();
  be_executable(home, "exit 3\n");
  EXPECT_EQ(reach_daemon(home.context, {}).failure().code, ExitCode::kNetwork);
  EXPECT_TRUE(std::filesystem::exists(home.context.paths.daemon_dir + "/.spawn-failure"));
  home.context.now_ms = [&home] {
    struct stat info{};
    ::stat((home.context.paths.daemon_dir + "/.spawn-failure").c_str(), &info);
    return std::int64_t{info.st_mtim.tv_sec} * 1000 + 1'000;
  };
  const Outcome<ApiClient> second = reach_daemon(home.context, {});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.failure().found.find("less than 30 s ago"), std::string::npos) << second.failure().found;
}

TEST(LastLines, AreCutAndHarmless) {
  EXPECT_EQ(last_lines("a\nb\nc\n", 2), (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(last_lines("", 2), std::vector<std::string>());
  EXPECT_EQ(last_lines("x\x1b[2J", 1).front().find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace cm::cli
