// Goal: with the program itself as runner, nothing of an isolated plugin outlives its host, however that ends, and the
// operator sees it. Method: `claudemesh run` as a process.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>

#include "host/isolation/tests/isolation_fixture.hpp"

namespace cm::host {
namespace {

using ::testing::HasSubstr;

class IsolatedProgram : public IsolationFixture {
 protected:
  ~IsolatedProgram() override {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  std::string ops_path() const { return (folder_ / "ops.sock").string(); }

  // Starts the program with a rogue hook in a process of its own, and waits until it is ready.
  void run() {
    const std::string file = (folder_ / "host.toml").string();
    std::ofstream(file) << "[ops]\nlisten = \"unix:" << ops_path() << "\"\n" << rogue();
    std::vector<std::string> arguments{CM_TEST_PROGRAM, "run", file};
    std::vector<char*> argv;
    for (std::string& argument : arguments) {
      argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::setenv("HOME", folder_.c_str(), 1);
      const int fd = ::open((folder_ / "stderr").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      ::dup2(fd, STDERR_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ASSERT_TRUE(eventually([this] { return request("unix://" + ops_path() + ":/readyz").status == 200; }));
  }

  pid_t runner_pid() {
    const std::string json = request("unix://" + ops_path() + ":/plugins").body;
    const std::size_t at = json.find("\"pid\":");
    EXPECT_NE(at, std::string::npos) << json;
    return at == std::string::npos ? 0 : std::stoi(json.substr(at + 6));
  }

  // What the program prints.
  static std::string output_of(const std::string& command) {
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), &::pclose);
    std::string text;
    std::array<char, 4096> buffer{};
    for (std::size_t count = 0; (count = std::fread(buffer.data(), 1, buffer.size(), pipe.get())) != 0;) {
      text.append(buffer.data(), count);
    }
    return text;
  }

  pid_t pid_ = -1;
};

TEST_F(IsolatedProgram, ItsRunnersDieWithIt) {
  run();
  const pid_t runner = runner_pid();
  ASSERT_GT(runner, 0);
  ASSERT_TRUE(process_exists(runner));
  // One that spins reads nothing, so it cannot see the end of its connection.
  std::thread spinner([this] { ask("spin"); });
  ::kill(pid_, SIGKILL);
  ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  EXPECT_TRUE(has_died(runner));
  spinner.join();
}

TEST_F(IsolatedProgram, ACleanStopLeavesNoProcess) {
  run();
  const pid_t runner = runner_pid();
  ::kill(pid_, SIGTERM);
  int status = 0;
  ASSERT_EQ(::waitpid(std::exchange(pid_, -1), &status, 0) > 0, true);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_FALSE(process_exists(runner));
}

TEST_F(IsolatedProgram, TheListOfRunningPluginsShowsIt) {
  run();
  const std::string list = output_of(std::string(CM_TEST_PROGRAM) + " plugin list --running unix:" + ops_path());
  EXPECT_THAT(list, HasSubstr("rogue                running      process   " + std::to_string(runner_pid())));
  EXPECT_THAT(list, HasSubstr("asker                started      none      -"));
  const std::string json = output_of(std::string(CM_TEST_PROGRAM) + " plugin list --json --running unix:" + ops_path());
  EXPECT_THAT(json, HasSubstr(R"("name":"rogue","plugin":"org.claudemesh.test.rogue","state":"started")"));
  EXPECT_THAT(json, HasSubstr(R"("isolation":"process","phase":"running")"));
}

TEST_F(IsolatedProgram, APluginThatStartsProgramsIsRefusedBeforeAnythingStarts) {
  const std::string file = (folder_ / "host.toml").string();
  std::ofstream(file) << "[plugins.judge]\nfile = \"" CM_ASK_PROGRAM
                         "\"\nprogram = \"/bin/true\"\nisolation = \"process\"\n";
  for (const std::string verb : {"check", "run"}) {
    const std::string text = output_of(std::string(CM_TEST_PROGRAM) + " " + verb + " " + file + " 2>&1 </dev/null");
    EXPECT_THAT(text, HasSubstr(file + ":4:13: [plugins.judge] isolation: found \"process\", but ask_program asks for "
                                       "cm.process/1"))
        << verb;
    EXPECT_THAT(text, HasSubstr("take the key out")) << verb;
  }
}

TEST_F(IsolatedProgram, TheRunnerIsNotForPeople) {
  const std::string text = output_of(std::string(CM_TEST_PROGRAM) + " plugin-runner x 2>&1 </dev/null");
  EXPECT_THAT(text, HasSubstr("started by the host only"));
  EXPECT_THAT(output_of(std::string(CM_TEST_PROGRAM) + " --help"), testing::Not(HasSubstr("plugin-runner")));
}

}  // namespace
}  // namespace cm::host
