// Goal: `claudemesh run` as a process: signals, exit codes, readiness. Method: a child, a pipe and a notify socket.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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
  EXPECT_EQ(child.notified(), "READY=1");
  EXPECT_EQ(request(url("/hello")).body, "good day world");
  child.send(SIGINT);
  EXPECT_EQ(child.notified(), "STOPPING=1");
  EXPECT_EQ(child.wait(), 0);
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
