// Goal: an isolated plugin opens what it was granted, and no other file; the state is visible, also where the kernel
// cannot do it. Method: a real child tries each call; older versions of Landlock are those of an older kernel.
#include <sys/stat.h>

#include "host/isolation/confinement.hpp"
#include "host/isolation/sandbox.hpp"
#include "host/isolation/tests/isolation_fixture.hpp"

namespace cm::host {
namespace {

using ::testing::HasSubstr;

class Files : public IsolationFixture {
 protected:
  Files() {
    for (const char* name : {"readable", "writable", "own", "outside"}) {
      std::filesystem::create_directory(folder_ / name);
      std::ofstream(folder_ / name / "file") << "content";
    }
  }
  ~Files() override { isolation::set_landlock_version(std::nullopt); }

  std::string in(const std::string& name) const { return (folder_ / name).string(); }
  std::string grants() const {
    return "isolation_read = [\"" + in("readable") + "\"]\nisolation_write = [\"" + in("writable") +
           "\"]\nfolder = \"" + in("own") + "\"\n";
  }
  std::string prober(const std::string& more) const {
    return plugin("prober", "iso_prober", true, more) + asker("hook = \"prober\"\n");
  }
  // What a call on a file of the test's folder comes to.
  std::string attempt(const std::string& verb, const std::string& name, const std::string& other = {}) {
    const std::string answer = ask(verb + " " + in(name) + (other.empty() ? "" : " " + in(other)));
    return answer.starts_with("replace:") ? answer.substr(8) : answer;
  }
  std::string content(const std::string& name) const {
    std::ifstream file(folder_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // A process whose files stay open to it is no failure of the code on a kernel without Landlock.
  static bool kernel_lacks(int version) { return isolation::landlock_version() < version; }
  static std::string why_skipped(int version) {
    return "SKIPPED: this kernel offers version " + std::to_string(isolation::landlock_version()) +
           " of Landlock, expected at least " + std::to_string(version);
  }
};

class EachVersion : public Files, public testing::WithParamInterface<int> {};

TEST_P(EachVersion, WhatIsNotGrantedIsRefusedAndWhatIsGrantedIsAllowed) {
  if (kernel_lacks(GetParam())) {
    GTEST_SKIP() << why_skipped(GetParam());
  }
  isolation::set_landlock_version(GetParam());
  start_host(prober(grants()));
  EXPECT_EQ(attempt("read", "outside/file"), "EACCES");
  EXPECT_EQ(attempt("list", "outside"), "EACCES");
  EXPECT_EQ(attempt("write", "outside/file"), "EACCES");
  EXPECT_EQ(attempt("write", "outside/new"), "EACCES");
  EXPECT_EQ(attempt("remove", "outside/file"), "EACCES");
  EXPECT_EQ(attempt("make", "outside/folder"), "EACCES");
  EXPECT_EQ(attempt("read", "readable/file"), "ok");
  EXPECT_EQ(attempt("list", "readable"), "ok");
  EXPECT_EQ(attempt("write", "readable/file"), "EACCES");
  EXPECT_EQ(attempt("remove", "readable/file"), "EACCES");
  for (const std::string folder : {"writable", "own"}) {
    EXPECT_EQ(attempt("read", folder + "/file"), "ok");
    EXPECT_EQ(attempt("list", folder), "ok");
    EXPECT_EQ(attempt("write", folder + "/new"), "ok");
    EXPECT_EQ(attempt("move", folder + "/new", folder + "/newer"), "ok");
    EXPECT_EQ(attempt("make", folder + "/sub"), "ok");
    EXPECT_EQ(attempt("remove", folder + "/newer"), "ok");
  }
  // The plugin's own folder cannot be a way to read what is outside.
  EXPECT_NE(attempt("link", "outside/file", "writable/link"), "ok");
  EXPECT_NE(attempt("move", "outside/file", "writable/moved"), "ok");
  EXPECT_EQ(attempt("read", "outside/../writable/../outside/file"), "EACCES");
  std::filesystem::create_symlink(in("outside/file"), in("writable/to-outside"));
  EXPECT_EQ(attempt("read", "writable/to-outside"), "EACCES");
  if (isolation::kLimitsAddressSpace) {  // else a sanitizer needs to look at its own memory there
    EXPECT_EQ(ask("read /proc/self/environ"), "replace:EACCES");
  }
  EXPECT_EQ(ask("read /etc/passwd"), "replace:EACCES");
}

TEST_P(EachVersion, NothingOutsideCanBeCutOffOrChanged) {
  if (kernel_lacks(GetParam())) {
    GTEST_SKIP() << why_skipped(GetParam());
  }
  isolation::set_landlock_version(GetParam());
  start_host(prober(grants()));
  const auto mode_of = [this](const char* name) {
    struct stat status{};
    ::stat(in(name).c_str(), &status);
    return status.st_mode & 07777U;
  };
  const auto mode = mode_of("outside/file");
  for (const char* name : {"outside/file", "readable/file"}) {
    EXPECT_NE(attempt("truncate", name), "ok");
    EXPECT_NE(attempt("cut", name), "ok");
    EXPECT_NE(attempt("mode", name), "ok");
    EXPECT_NE(attempt("touch", name), "ok");
    EXPECT_EQ(content(name), "content");
  }
  EXPECT_EQ(mode_of("outside/file"), mode);
  EXPECT_EQ(attempt("write", "writable/file"), "ok");
  EXPECT_EQ(content("writable/file"), "") << "where it may write, it may also cut off";
}

INSTANTIATE_TEST_SUITE_P(All, EachVersion, testing::Values(1, 2, 3, 5),
                         [](const auto& version) { return "Version" + std::to_string(version.param); });

TEST_F(Files, TheStateIsVisible) {
  if (kernel_lacks(1)) {
    GTEST_SKIP() << why_skipped(1);
  }
  start_host(ops_table() + prober(grants()));
  EXPECT_THAT(ops("/plugins").body, HasSubstr("\"files\":\"confined\""));
  EXPECT_THAT(ops("/metrics").body, HasSubstr("claudemesh_isolation_files_confined{plugin=\"prober\"} 1\n"));
  EXPECT_FALSE(log_->has("Landlock"));
}

TEST_F(Files, AKernelWithoutLandlockIsToldOnceAndTheRestGoesOn) {
  isolation::set_landlock_version(isolation::kLandlockNone);
  start_host(ops_table() + prober(grants()));
  EXPECT_EQ(attempt("read", "outside/file"), "ok");
  EXPECT_THAT(ops("/plugins").body, HasSubstr("\"files\":\"open\""));
  EXPECT_THAT(ops("/metrics").body, HasSubstr("claudemesh_isolation_files_confined{plugin=\"prober\"} 0\n"));
  ::kill(isolation_of("prober").pid, SIGKILL);
  ASSERT_TRUE(eventually([this] { return isolation_of("prober").restarts == 1 && running("prober"); }));
  stop_host();  // all lines are written then
  const std::string log = log_->text();
  const std::size_t line = log.find("this kernel offers no Landlock");
  ASSERT_NE(line, std::string::npos) << log;
  EXPECT_EQ(log.find("this kernel offers no Landlock", line + 1), std::string::npos) << log;
}

TEST_F(Files, WhatIsMissingIsNamedAndGrantsNothing) {
  if (kernel_lacks(1)) {
    GTEST_SKIP() << why_skipped(1);
  }
  start_host(prober("isolation_write = [\"" + in("not-there") + "\"]\n"));
  EXPECT_TRUE(log_->wait_for("isolation_write: found no " + in("not-there"), "make it")) << log_->text();
  EXPECT_EQ(attempt("make", "not-there"), "EACCES");
}

TEST_F(Files, APathThatThePluginsAuthorChoseGrantsNothing) {
  if (kernel_lacks(1)) {
    GTEST_SKIP() << why_skipped(1);
  }
  start_host(prober("isolation_write = [\"" + in("writable/file") + "\"]\n"));
  EXPECT_EQ(ask("read /nowhere/by/default"), "replace:ENOENT") << "its folder option names this";
  EXPECT_FALSE(log_->has("/nowhere/by/default"));
  EXPECT_EQ(attempt("write", "writable/file"), "ok") << "a single file can be granted";
  EXPECT_EQ(attempt("write", "writable/other"), "EACCES");
}

TEST_F(Files, AReloadThatGrantsMoreMakesANewProcess) {
  if (kernel_lacks(1)) {
    GTEST_SKIP() << why_skipped(1);
  }
  start_host(prober(grants()));
  const pid_t before = isolation_of("prober").pid;
  EXPECT_EQ(attempt("read", "outside/file"), "EACCES");
  next_text_ = prober("isolation_read = [\"" + in("outside") + "\"]\n");
  ASSERT_TRUE(host_->reload().ok());
  EXPECT_EQ(attempt("read", "outside/file"), "ok");
  EXPECT_EQ(attempt("read", "own/file"), "EACCES");
  EXPECT_NE(isolation_of("prober").pid, before);
}

}  // namespace
}  // namespace cm::host
