// Goal: `claudemesh run` as a process: signals, exit codes, readiness. Method: a child, a pipe and a notify socket.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstring>

#include "host_fixture.hpp"

namespace cm::host {
namespace {

// A running claudemesh whose service manager is the test.
class Child {
 public:
  // `activation_fd`: a socket that the service manager listens on.
  Child(const std::filesystem::path& folder, std::vector<std::string> arguments, int activation_fd = -1) {
    const std::string socket_path = (folder / "notify.sock").string();
    notify_fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
    ::unlink(socket_path.c_str());
    EXPECT_EQ(::bind(notify_fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::string error_file = (folder / "stderr").string();
    arguments.insert(arguments.begin(), CM_TEST_PROGRAM);
    std::vector<char*> argv;
    for (std::string& argument : arguments) {
      argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::setenv("NOTIFY_SOCKET", socket_path.c_str(), 1);
      ::setenv("HOME", folder.c_str(), 1);
      const int fd = ::open(error_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      ::dup2(fd, STDERR_FILENO);
      if (activation_fd >= 0) {
        ::dup2(activation_fd, 3);
        ::setenv("LISTEN_FDS", "1", 1);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
      }
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(notify_fd_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // The next message to the service manager, or "" at the deadline.
  std::string notified() const {
    pollfd fd{notify_fd_, POLLIN, 0};
    char text[256];
    if (::poll(&fd, 1, static_cast<int>(std::chrono::milliseconds(kTestDeadline).count())) != 1) {
      return {};
    }
    const ssize_t size = ::recv(notify_fd_, text, sizeof text, 0);
    return std::string(text, static_cast<std::size_t>(std::max<ssize_t>(0, size)));
  }
  void send(int number) const { ::kill(pid_, number); }
  // The next message that begins with this text.
  std::string notified_with(const std::string& begin) const {
    for (;;) {
      std::string text = notified();
      if (text.empty() || text.starts_with(begin)) {
        return text;
      }
    }
  }
  // The process that took over is the test's from now on; see become_subreaper.
  int follow(pid_t successor) {
    const int former = wait();
    pid_ = successor;
    return former;
  }
  // The exit code, or 256 + the signal. The test's own time-out bounds the wait.
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
  }

 private:
  int notify_fd_ = -1;
  pid_t pid_ = -1;
};

class ProcessTest : public HostFixture {
 protected:
  std::string write_config(const std::string& text) const {
    const std::filesystem::path file = folder_ / "run.toml";
    std::ofstream(file) << text;
    return file.string();
  }
  std::string standard_error() const {
    std::ifstream file(folder_ / "stderr");
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
};

TEST_F(ProcessTest, SigtermDrainsAndStopsWithExitCodeZero) {
  Child child(folder_, {"run", write_config(echo())});
  ASSERT_EQ(child.notified(), "READY=1") << standard_error();
  EXPECT_EQ(request(url("/hello")).body, "hello world");
  child.send(SIGTERM);
  EXPECT_EQ(child.notified(), "STOPPING=1");
  EXPECT_EQ(child.wait(), 0);
  EXPECT_THAT(journal(),
              testing::ElementsAre("echo configure", "echo start", "echo drain", "echo stop", "echo destroy"));
}

TEST_F(ProcessTest, SighupReloadsTheFile) {
  Child child(folder_, {"run", write_config(echo())});
  ASSERT_EQ(child.notified(), "READY=1") << standard_error();
  write_config(echo("echo", "greeting = \"good day\"\n"));
  child.send(SIGHUP);
  EXPECT_THAT(child.notified(), testing::StartsWith("RELOADING=1\nMONOTONIC_USEC="));
  EXPECT_EQ(child.notified(), "READY=1\nSTATUS=reloaded");
  EXPECT_EQ(request(url("/hello")).body, "good day world");
  child.send(SIGINT);
  EXPECT_EQ(child.notified(), "STOPPING=1");
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(ProcessTest, AReloadThatALoopHoldsUpIsToldToTheServiceManager) {
  const std::string gate = (folder_ / "gate").string();
  ASSERT_EQ(::mkfifo(gate.c_str(), 0600), 0);
  const auto config = [&](const std::string& text) {
    return write_config(
        "[host]\nreload_timeout = \"2s\"\n" +
        instance("slow", "test_holder", "hold = \"prepare\"\ngate = \"" + gate + "\"\ntext = \"" + text + "\"\n"));
  };
  Child child(folder_, {"run", config("one")});
  ASSERT_EQ(child.notified(), "READY=1") << standard_error();
  config("two");
  child.send(SIGHUP);
  EXPECT_THAT(child.notified(), testing::StartsWith("RELOADING=1"));
  EXPECT_THAT(child.notified(),
              testing::AllOf(testing::StartsWith("READY=1\nSTATUS=the reload failed: instance \"slow\""),
                             testing::HasSubstr("instance \"slow\" holds loop-0 in its callback reload_prepare")));
  const int writer = ::open(gate.c_str(), O_RDWR | O_CLOEXEC);
  child.send(SIGHUP);
  EXPECT_THAT(child.notified(), testing::StartsWith("RELOADING=1"));
  EXPECT_EQ(child.notified(), "READY=1\nSTATUS=reloaded") << standard_error();
  child.send(SIGTERM);
  EXPECT_EQ(child.notified(), "STOPPING=1");
  EXPECT_EQ(child.wait(), 0);
  ::close(writer);
}

// Orphans of the test's children become the test's children, so that it can wait for them.
void become_subreaper() {
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
}

pid_t main_pid_of(const std::string& message) {
  const std::size_t at = message.find("MAINPID=");
  return at == std::string::npos ? 0 : std::stoi(message.substr(at + 8));
}

std::string upgrade_config(const std::filesystem::path& folder, const std::string& instances) {
  return "[host]\ndata_dir = \"" + (folder / "data").string() + "\"\n" + instances;
}

TEST_F(ProcessTest, Sigusr2HandsOverToANewProcess) {
  become_subreaper();
  Child child(folder_, {"run", write_config(upgrade_config(folder_, echo()))});
  ASSERT_EQ(child.notified(), "READY=1") << standard_error();
  write_config(upgrade_config(folder_, echo("echo", "greeting = \"good day\"\n")));
  child.send(SIGUSR2);
  EXPECT_THAT(child.notified(), testing::StartsWith("RELOADING=1\nMONOTONIC_USEC="));
  const std::string message = child.notified();
  ASSERT_THAT(message, testing::StartsWith("READY=1\nMAINPID=")) << standard_error();
  EXPECT_EQ(child.follow(main_pid_of(message)), 0) << "the old process ends cleanly";
  EXPECT_EQ(request(url("/hello")).body, "good day world") << "the socket file is still there";
  // The old one let go of everything before the new one started.
  EXPECT_THAT(journal(), testing::ElementsAre("echo configure", "echo start", "echo configure", "echo drain",
                                              "echo stop", "echo destroy", "echo start"));
  child.send(SIGTERM);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "data")) << "a clean end leaves no record";
}

TEST_F(ProcessTest, AnUpgradeThatCannotEvenBeginChangesNothing) {
  Child child(folder_, {"run", write_config(upgrade_config(folder_, echo()))});
  ASSERT_EQ(child.notified(), "READY=1") << standard_error();
  write_config(upgrade_config(folder_, echo("echo", "nonsense = 1\n")));
  child.send(SIGUSR2);
  EXPECT_THAT(child.notified(), testing::StartsWith("RELOADING=1"));
  EXPECT_EQ(child.notified(), "READY=1");
  EXPECT_EQ(request(url("/hello")).body, "hello world");
  EXPECT_THAT(journal(), testing::ElementsAre("echo configure", "echo start"));
  child.send(SIGTERM);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_THAT(standard_error(), testing::HasSubstr("upgrade refused, nothing has changed"));
  EXPECT_THAT(standard_error(), testing::HasSubstr("ended with exit code 2"));
}

TEST_F(ProcessTest, ASuccessorThatFailsAfterGoIsReplacedByTheFormerProcess) {
  Child child(folder_, {"run", write_config(upgrade_config(folder_, echo()))});
  ASSERT_EQ(child.notified(), "READY=1") << standard_error();
  write_config(upgrade_config(folder_, echo("echo", "greeting = \"good day\"\n") +
                                           instance("bad", "test_misbehaving", "mode = \"fail_start\"\n")));
  child.send(SIGUSR2);
  EXPECT_THAT(child.notified(), testing::StartsWith("RELOADING=1"));
  EXPECT_EQ(child.notified(), "READY=1");
  EXPECT_EQ(request(url("/hello")).body, "hello world");
  child.send(SIGTERM);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_THAT(standard_error(), testing::HasSubstr("upgrade failed, this process goes on"));
  EXPECT_THAT(standard_error(), testing::HasSubstr("failed to start: instance \"bad\""));
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

TEST_F(ProcessTest, SocketsOfTheServiceManagerAreUsed) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_path().c_str(), socket_path().size());
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(fd, 8), 0);
  Child child(folder_, {"run", write_config(upgrade_config(folder_, echo()))}, fd);
  ASSERT_EQ(child.notified(), "READY=1") << standard_error();
  EXPECT_EQ(request(url("/hello")).body, "hello world");
  child.send(SIGTERM);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(std::filesystem::exists(socket_path())) << "the file is the service manager's";
  ::close(fd);
}

TEST_F(ProcessTest, ThreeCrashesAtStartTurnSafeModeOnAndACleanStopTurnsItOff) {
  const std::string config =
      write_config(upgrade_config(folder_, instance("crasher", "test_misbehaving", "mode = \"crash\"\n")));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Child(folder_, {"run", config}).wait(), 256 + SIGABRT);
    EXPECT_EQ(standard_error().find("in a row"), std::string::npos);
  }
  Child child(folder_, {"run", config});
  ASSERT_EQ(child.notified_with("READY=1"), "READY=1") << standard_error();
  child.send(SIGTERM);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_THAT(standard_error(), testing::HasSubstr("3 crashes at start in a row, so this run is in safe mode"));
  EXPECT_THAT(standard_error(), testing::HasSubstr("[plugins.crasher] left out, because safe mode is on"));
  EXPECT_EQ(Child(folder_, {"run", config}).wait(), 256 + SIGABRT) << "and the next start tries again";
}

TEST_F(ProcessTest, AKillIsNamedAtTheNextStart) {
  const std::string config = write_config(upgrade_config(folder_, echo()));
  {
    Child child(folder_, {"run", config});
    ASSERT_EQ(child.notified(), "READY=1") << standard_error();
    child.send(SIGKILL);
    child.wait();
  }
  Child child(folder_, {"run", config});
  ASSERT_EQ(child.notified_with("READY=1"), "READY=1") << standard_error();
  child.send(SIGTERM);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_THAT(standard_error(), testing::HasSubstr(") was killed"));
}

TEST_F(ProcessTest, ASecondSignalDoesNotWaitForTheDrain) {
  Child child(folder_, {"run", write_config("[host]\ndrain_timeout = \"1h\"\n" +
                                            instance("bad", "test_misbehaving", "mode = \"never_drain\"\n"))});
  ASSERT_EQ(child.notified(), "READY=1") << standard_error();
  child.send(SIGTERM);
  EXPECT_EQ(child.notified(), "STOPPING=1");
  child.send(SIGTERM);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(journal().back(), "bad destroy");
}

TEST_F(ProcessTest, AFailedStartIsExitCodeOneAndNamesTheInstance) {
  Child child(folder_, {"run", write_config(instance("bad", "test_misbehaving", "mode = \"fail_start\"\n"))});
  EXPECT_EQ(child.wait(), 1);
  EXPECT_THAT(standard_error(), testing::HasSubstr("instance \"bad\": start failed (io): started to fail"));
}

TEST_F(ProcessTest, AWrongConfigurationIsExitCodeTwoAndStartsNothing) {
  Child child(folder_, {"run", write_config(echo("echo", "nonsense = 1\n"))});
  EXPECT_EQ(child.wait(), 2);
  EXPECT_THAT(standard_error(), testing::HasSubstr("nonsense"));
  EXPECT_TRUE(journal().empty());
}

TEST_F(ProcessTest, AMissingFileIsExitCodeTwo) {
  Child child(folder_, {"run", (folder_ / "missing.toml").string()});
  EXPECT_EQ(child.wait(), 2);
  EXPECT_THAT(standard_error(), testing::HasSubstr("missing.toml"));
}

TEST_F(ProcessTest, AWrongCommandLineIsExitCodeTwo) {
  Child child(folder_, {"run"});
  EXPECT_EQ(child.wait(), 2);
}

TEST_F(ProcessTest, ACrashInAPluginNamesIt) {
  Child child(folder_, {"run", write_config(instance("crasher", "test_misbehaving", "mode = \"crash\"\n"))});
  EXPECT_EQ(child.wait(), 256 + SIGABRT);
  EXPECT_THAT(standard_error(), testing::HasSubstr("crashed inside plugin crasher"));
}

}  // namespace
}  // namespace cm::host
