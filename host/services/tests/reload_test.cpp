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

TEST_F(ReloadTest, AnInstanceThatFailsDuringAReloadHarmsOnlyItself) {
  start_host(echo());
  next_text_ = echo() + instance("bad", "test_misbehaving", "mode = \"fail_start\"\n");
  EXPECT_FALSE(host_->reload().ok());
  EXPECT_EQ(request(url("/hello")).status, 200);
  EXPECT_FALSE(host_->ready());
  next_text_ = echo() + instance("bad", "test_misbehaving", "mode = \"none\"\n");
  EXPECT_TRUE(host_->reload().ok());
  EXPECT_TRUE(host_->ready());
}

TEST_F(ReloadTest, LogLevelsFollow) {
  start_host(echo());
  EXPECT_FALSE(log_->has("debug [host]"));
  next_text_ = "[log]\nlevel = \"debug\"\n" + echo() + instance("giver", "test_provider");
  ASSERT_TRUE(host_->reload().ok());
  EXPECT_TRUE(log_->wait_for("debug [host]", "\"giver\" started"));
}

}  // namespace
}  // namespace cm::host
