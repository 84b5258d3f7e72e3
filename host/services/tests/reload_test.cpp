// Goal: a reload changes what differs and nothing else; one that cannot be used changes nothing.
#include "host_fixture.hpp"

namespace cm::host {
namespace {

using testing::HasSubstr;

using ReloadTest = HostFixture;

TEST_F(ReloadTest, AnEqualConfigurationChangesNothing) {
  start_host(echo() + instance("giver", "test_provider"));
  const std::size_t steps = journal().size();
  ASSERT_TRUE(host_->reload().ok());
  EXPECT_EQ(journal().size(), steps);
  EXPECT_TRUE(host_->ready());
}

TEST_F(ReloadTest, AReloadableOptionIsTakenInTwoPhasesWithoutARestart) {
  start_host(echo());
  next_text_ = echo("echo", "greeting = \"good day\"\n");
  ASSERT_TRUE(host_->reload().ok());
  EXPECT_EQ(request(url("/hello")).body, "good day world");
  EXPECT_THAT(journal(),
              testing::ElementsAre("echo configure", "echo start", "echo reload_prepare", "echo reload_commit"));
}

TEST_F(ReloadTest, OneRefusalAbortsAll) {
  start_host(echo("one") + echo("two"));
  next_text_ = echo("one", "greeting = \"good day\"\n") + echo("two", "greeting = \"refuse\"\n") +
               instance("added", "test_provider");
  const Status reloaded = host_->reload();
  ASSERT_FALSE(reloaded.ok());
  EXPECT_THAT(reloaded.error().message, HasSubstr("this greeting is not polite"));
  EXPECT_EQ(request(url("/hello", "one")).body, "hello world");
  EXPECT_THAT(journal(), testing::IsSupersetOf({"one reload_prepare", "one reload_abort", "two reload_abort"}));
  EXPECT_EQ(host_->instances().size(), 2u);
  EXPECT_TRUE(host_->ready());
}

TEST_F(ReloadTest, ABadFileChangesNothingAndIsLogged) {
  start_host(echo());
  next_text_ = "[plugins.echo]\nnonsense = \n";
  EXPECT_FALSE(host_->reload().ok());
  EXPECT_TRUE(log_->wait_for("reload refused, nothing has changed"));
  EXPECT_EQ(request(url("/hello")).status, 200);
  EXPECT_THAT(host_->metrics_text(), HasSubstr("claudemesh_reload_failures_total 1\n"));
}

TEST_F(ReloadTest, InstancesComeAndGo) {
  start_host(echo("one") + instance("giver", "test_provider"));
  next_text_ = echo("one") + echo("two");
  ASSERT_TRUE(host_->reload().ok());
  EXPECT_EQ(request(url("/hello", "two")).status, 200);
  std::vector<std::string> names;
  for (const InstanceStatus& instance : host_->instances()) {
    names.push_back(instance.name);
    EXPECT_EQ(instance.state, InstanceState::kStarted);
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("one", "two"));
  EXPECT_THAT(journal(), testing::IsSupersetOf({"giver drain", "giver stop", "giver destroy", "two start"}));
  EXPECT_THAT(journal(), testing::Not(testing::Contains("one stop")));
}

TEST_F(ReloadTest, AChangedProviderRestartsItsUsers) {
  start_host(instance("giver", "test_provider") + instance("user", "test_consumer", "provider = \"giver\"\n"));
  next_text_ =
      instance("giver", "test_provider", "first = 99\n") + instance("user", "test_consumer", "provider = \"giver\"\n");
  ASSERT_TRUE(host_->reload().ok());
  const std::vector<std::string> steps = journal();
  EXPECT_EQ(steps.back(), "user start 100");
  EXPECT_TRUE(host_->ready());
}

TEST_F(ReloadTest, AnAddedInstanceThatCannotStartAbortsBeforeAnythingEnds) {
  start_host(echo() + instance("giver", "test_provider"));
  next_text_ = "[log]\nlevel = \"debug\"\n" + echo("echo", "greeting = \"good day\"\n") +
               instance("bad", "test_misbehaving", "mode = \"fail_start\"\n");
  const Status reloaded = host_->reload();
  ASSERT_FALSE(reloaded.ok());
  EXPECT_THAT(reloaded.error().message, HasSubstr("started to fail"));
  EXPECT_TRUE(log_->wait_for("reload refused, nothing has changed", "started to fail"));
  EXPECT_EQ(request(url("/hello")).body, "hello world");
  EXPECT_THAT(journal(), testing::Not(testing::Contains("giver drain")));
  EXPECT_THAT(journal(), testing::IsSupersetOf({"echo reload_prepare", "echo reload_abort", "bad destroy"}));
  EXPECT_TRUE(host_->ready());
  EXPECT_EQ(host_->instances().size(), 2u);
  EXPECT_FALSE(log_->has("debug [host]"));
}

TEST_F(ReloadTest, ARestartedInstanceThatCannotBeConfiguredAbortsBeforeTheOldOneEnds) {
  start_host(echo() + instance("fickle", "test_misbehaving"));
  next_text_ = echo() + instance("fickle", "test_misbehaving", "mode = \"fail_configure\"\n");
  ASSERT_FALSE(host_->reload().ok());
  EXPECT_THAT(journal(), testing::Not(testing::Contains("fickle drain")));
  EXPECT_TRUE(host_->ready());
  next_text_ = echo() + instance("fickle", "test_misbehaving", "after = \"echo\"\n");
  EXPECT_TRUE(host_->reload().ok());
  EXPECT_TRUE(host_->ready());
}

TEST_F(ReloadTest, ARestartThatFailsBringsTheFormerConfigurationBack) {
  const std::string echo_text = echo("echo", "greeting = \"hello\"\n");
  const std::string gone = instance("gone", "test_provider");
  start_host(echo_text + gone + instance("fickle", "test_misbehaving"));
  next_text_ = echo("echo", "greeting = \"good day\"\n") + echo("added") +
               instance("fickle", "test_misbehaving", "mode = \"fail_start\"\n");
  const Status reloaded = host_->reload();
  ASSERT_FALSE(reloaded.ok());
  EXPECT_THAT(reloaded.error().message, HasSubstr("started to fail"));
  EXPECT_TRUE(log_->wait_for("reload failed, the former configuration runs again"));
  EXPECT_EQ(request(url("/hello")).body, "hello world") << "the prepared option was forgotten";
  EXPECT_EQ(request(url("/hello", "added")).status, 0);
  std::vector<std::string> names;
  for (const InstanceStatus& instance : host_->instances()) {
    names.push_back(instance.name);
    EXPECT_EQ(instance.state, InstanceState::kStarted) << instance.name;
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("echo", "gone", "fickle"));
  EXPECT_TRUE(host_->ready());
  EXPECT_THAT(host_->metrics_text(), HasSubstr("claudemesh_reload_rollbacks_total 1\n"));
  next_text_ = echo_text + gone + instance("fickle", "test_misbehaving");
  EXPECT_TRUE(host_->reload().ok()) << "the former configuration equals itself";
}

TEST_F(ReloadTest, ARestartedUserFindsTheRestartedProviderOnly) {
  const std::string user = instance("user", "test_consumer", "provider = \"giver\"\n");
  start_host(instance("giver", "test_provider") + user);
  const std::string broken = instance("fickle", "test_misbehaving", "mode = \"fail_start\"\nafter = \"user\"\n");
  next_text_ = instance("giver", "test_provider", "first = 99\n") + user + broken;
  ASSERT_FALSE(host_->reload().ok());
  EXPECT_THAT(journal(), testing::Contains("user start 100"));
  EXPECT_NE(journal().back(), "user start 100") << "rolled back";
  EXPECT_TRUE(host_->ready());
}

// A port that the kernel chose stays, and whoever connects while the instance is away waits for the next one.
TEST_F(ReloadTest, AListeningSocketOutlivesTheInstanceThatRestarts) {
  const auto on_tcp = [this](const std::string& more) {
    return instance("echo", "test_echo", "listen = \"127.0.0.1:0\"\n" + more);
  };
  start_host("[log]\nlevel = \"debug\"\n" + on_tcp(""));
  ASSERT_EQ(host_->services().listening_sockets.size(), 1u);
  const std::string address = host_->services().listening_sockets.addresses().at(0);
  EXPECT_EQ(request("http://" + address + "/hello").body, "hello world");
  next_text_ = "[log]\nlevel = \"debug\"\n" + on_tcp(
                                                  "permissions = [\"cm.config/1\", \"cm.http.server/1\", "
                                                  "\"cm.websocket/1\", \"cm.metrics/1\", \"cm.log/1\", "
                                                  "\"cm.buffer/1\"]\n");
  const Status reloaded = host_->reload();
  ASSERT_TRUE(reloaded.ok()) << reloaded.error().message;
  EXPECT_THAT(journal(), testing::Contains("echo destroy"));
  EXPECT_EQ(host_->services().listening_sockets.size(), 1u);
  EXPECT_EQ(request("http://" + address + "/hello").body, "hello world");
}

TEST_F(ReloadTest, AnAddressMovesFromARemovedInstanceToAnAddedOne) {
  const std::string listen = "listen = \"unix:" + (folder_ / "moving.sock").string() + "\"\n";
  start_host(instance("old", "test_echo", listen));
  EXPECT_EQ(request(url("/hello", "moving")).body, "hello world");
  next_text_ = instance("young", "test_echo", listen + "greeting = \"good day\"\n");
  const Status reloaded = host_->reload();
  ASSERT_TRUE(reloaded.ok()) << reloaded.error().message;
  EXPECT_EQ(request(url("/hello", "moving")).body, "good day world");
  stop_host();
  EXPECT_FALSE(std::filesystem::exists(folder_ / "moving.sock"));
}

TEST_F(ReloadTest, ASocketWhoseFileWasRemovedIsBoundAnew) {
  start_host(echo());
  std::filesystem::remove(socket_path());
  next_text_ = echo("echo",
                    "permissions = [\"cm.config/1\", \"cm.http.server/1\", \"cm.websocket/1\", "
                    "\"cm.metrics/1\", \"cm.log/1\", \"cm.buffer/1\"]\n");
  const Status reloaded = host_->reload();
  ASSERT_TRUE(reloaded.ok()) << reloaded.error().message;
  EXPECT_EQ(request(url("/hello")).status, 200);
}

TEST_F(ReloadTest, AChangedLibraryIsNamedAndGoesOn) {
  const std::filesystem::path copy = folder_ / "echo_copy.so";
  std::filesystem::copy_file(CM_TEST_PLUGIN_DIR "/test_echo.so", copy);
  const std::string text =
      "[plugins.echo]\nfile = \"" + copy.string() + "\"\nlisten = \"unix:" + socket_path() + "\"\n";
  start_host(text);
  std::filesystem::copy_file(CM_TEST_PLUGIN_DIR "/test_echo.so", folder_ / "next.so");
  std::filesystem::rename(folder_ / "next.so", copy);
  ASSERT_TRUE(host_->reload().ok());
  EXPECT_TRUE(log_->wait_for("echo_copy.so has changed", "upgrade it (SIGUSR2)"));
  EXPECT_EQ(request(url("/hello")).status, 200);
}

TEST_F(ReloadTest, LogLevelsFollow) {
  const std::string text = "[log]\nlevel = \"debug\"\n" + echo();
  start_host(echo());
  next_text_ = text;
  ASSERT_TRUE(host_->reload().ok());
  EXPECT_FALSE(log_->has("debug [host]"));
  next_text_ = text + instance("giver", "test_provider");
  ASSERT_TRUE(host_->reload().ok());
  EXPECT_TRUE(log_->wait_for("debug [host]", "\"giver\" started"));
}

}  // namespace
}  // namespace cm::host
