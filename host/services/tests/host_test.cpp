// Goal: instances start in dependency order, stop in reverse, and a failed start leaves nothing behind. Method: real
// plugins in a real host; the order is read from the journal that the plugins write.
#include "host_fixture.hpp"

namespace cm::host {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using HostTest = HostFixture;

TEST_F(HostTest, StartsInDependencyOrderAndStopsInReverse) {
  start_host("[host]\nthreads = 2\n" + instance("user", "test_consumer", "provider = \"giver\"\n") +
             instance("giver", "test_provider"));
  EXPECT_TRUE(host_->ready());
  stop_host();
  EXPECT_FALSE(host_->ready());
  EXPECT_THAT(journal(), ElementsAre("giver configure", "user configure", "giver start", "user start 42", "user drain",
                                     "giver drain", "user stop", "giver stop", "user destroy", "giver destroy"));
  EXPECT_THAT(log_->accusations(), testing::IsEmpty());
}

TEST_F(HostTest, AProviderFoundWithoutANameTellsThatItGoesAway) {
  // Nothing in the configuration says that `a_user` depends on `giver`; it stands before it and stops after it.
  start_host(instance("a_user", "test_misbehaving", "") + instance("giver", "test_provider") +
             instance("z_user", "test_consumer", "") + instance("after", "test_misbehaving", "after = \"z_user\"\n"));
  next_text_ = instance("a_user", "test_misbehaving", "") + instance("z_user", "test_consumer", "") +
               instance("after", "test_misbehaving", "after = \"z_user\"\n");
  ASSERT_TRUE(host_->reload().ok());
  const std::vector<std::string> steps = journal();
  const auto at = [&steps](const std::string& step) {
    return std::find(steps.begin(), steps.end(), step) - steps.begin();
  };
  EXPECT_LT(at("z_user going_away"), at("giver stop"));
  EXPECT_LT(at("giver drain"), at("z_user going_away"));
  EXPECT_EQ(host_->instances().size(), 3u);
  EXPECT_TRUE(host_->ready());
  stop_host();
  EXPECT_THAT(log_->accusations(), testing::IsEmpty());
}

TEST_F(HostTest, SeveralProvidersNeedAName) {
  Host& host = make_host(instance("one", "test_provider") + instance("two", "test_provider") +
                         instance("user", "test_consumer"));
  const Status started = host.start();
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().message,
            "instance \"user\": start failed (invalid): several instances provide test.number/1 (one, two); name the "
            "one that is meant");
  host.join();
  // A host that has ended answers instead of waiting for ever.
  EXPECT_EQ(host.start().error().code, ErrorCode::kGone);
  EXPECT_EQ(host.reload().error().code, ErrorCode::kGone);
}

TEST_F(HostTest, WithoutAProviderTheErrorSaysSo) {
  Host& host = make_host(instance("user", "test_consumer"));
  const Status started = host.start();
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().message, HasSubstr("(gone): no instance provides test.number/1"));
}

TEST_F(HostTest, DeferredStepsAreAwaited) {
  start_host(instance("late", "test_slow") + instance("giver", "test_provider"));
  stop_host();
  const std::vector<std::string> steps = journal();
  EXPECT_THAT(steps, testing::IsSupersetOf({"late start", "late started", "late drain", "late drained", "late stop"}));
  const auto drained = std::find(steps.begin(), steps.end(), "late drained");
  EXPECT_LT(drained - steps.begin(), std::find(steps.begin(), steps.end(), "late stop") - steps.begin());
}

TEST_F(HostTest, ADeferredFailureIsTheReasonOfTheFailedStart) {
  Host& host = make_host(instance("late", "test_slow", "fail = true\n"));
  const Status started = host.start();
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().code, ErrorCode::kIo);
  EXPECT_EQ(started.error().message, "instance \"late\": start failed (io): the far end is away");
  EXPECT_EQ(host.start_error(), started.error().message);
  host.join();
}

TEST_F(HostTest, AFailedStartStopsWhatWasStarted) {
  Host& host =
      make_host(instance("giver", "test_provider") + instance("user", "test_consumer", "provider = \"giver\"\n") +
                instance("bad", "test_misbehaving", "mode = \"fail_start\"\nafter = \"user\"\n"));
  const Status started = host.start();
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().message, "instance \"bad\": start failed (io): started to fail");
  host.join();
  EXPECT_THAT(journal(), ElementsAre("giver configure", "user configure", "bad configure", "giver start",
                                     "user start 42", "bad start", "user drain", "giver drain", "user stop",
                                     "giver stop", "bad destroy", "user destroy", "giver destroy"));
  EXPECT_TRUE(log_->has("error [host]", "started to fail"));
}

TEST_F(HostTest, AFailedConfigureStartsNothing) {
  Host& host = make_host(instance("giver", "test_provider") +
                         instance("bad", "test_misbehaving", "mode = \"fail_configure\"\nafter = \"giver\"\n"));
  const Status started = host.start();
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().message, "instance \"bad\": configure failed (invalid): configured to fail");
  host.join();
  EXPECT_THAT(journal(), ElementsAre("giver configure", "bad configure", "bad destroy", "giver destroy"));
}

TEST_F(HostTest, AStartThatNeverCompletesMeetsItsDeadline) {
  Host& host = make_host("[host]\nstart_timeout = \"100ms\"\n" +
                         instance("bad", "test_misbehaving", "mode = \"never_start\"\n"));
  const Status started = host.start();
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().code, ErrorCode::kBusy);
  EXPECT_THAT(started.error().message, HasSubstr("start_timeout"));
  host.join();
}

TEST_F(HostTest, AStopDuringTheStartEndsIt) {
  Host& host =
      make_host("[host]\nstart_timeout = \"1h\"\n" + instance("bad", "test_misbehaving", "mode = \"never_start\"\n"));
  host.request_start();
  host.request_stop();
  host.join();
  EXPECT_TRUE(log_->has("stopped"));
}

TEST_F(HostTest, ADrainThatNeverCompletesMeetsItsDeadline) {
  start_host("[host]\ndrain_timeout = \"50ms\"\n" + instance("bad", "test_misbehaving", "mode = \"never_drain\"\n"));
  stop_host();
  EXPECT_THAT(journal(), ElementsAre("bad configure", "bad start", "bad drain", "bad stop", "bad destroy"));
  EXPECT_TRUE(log_->has("drain failed", "drain time-out")) << log_->text();
}

TEST_F(HostTest, AnImmediateStopDoesNotWaitForTheDrain) {
  start_host("[host]\ndrain_timeout = \"1h\"\n" + instance("bad", "test_misbehaving", "mode = \"never_drain\"\n"));
  host_->request_immediate_stop();
  host_->join();
  EXPECT_EQ(journal().back(), "bad destroy");
}

TEST_F(HostTest, AHandleOfADestroyedInstanceIsGone) {
  start_host(echo());
  // The numbers of instances are small and given in order, so the test can guess them all.
  std::vector<cm_handle> handles;
  for (std::uint32_t index = 0; index < 64; ++index) {
    handles.push_back(make_handle(0x10000 + index, index));
  }
  stop_host();
  for (const cm_handle handle : handles) {
    Instance* instance = InstanceDirectory::find(handle);
    if (instance != nullptr && instance->granted(HostTable::kMetrics)) {
      EXPECT_FALSE(instance->open());
      EXPECT_EQ(admit_any(handle, HostTable::kMetrics).status, CM_GONE);
      EXPECT_FALSE(admit_loop(handle, HostTable::kHttpServer, "test"));
    }
  }
  EXPECT_EQ(admit_any(UINT64_MAX, HostTable::kLog).instance, nullptr);
}

TEST_F(HostTest, OpsTellsHealthReadinessAndMetrics) {
  start_host("[ops]\nlisten = \"127.0.0.1:0\"\n" + echo());
  EXPECT_EQ(ops("/healthz").status, 200);
  const Answer ready = ops("/readyz");
  EXPECT_EQ(ready.status, 200);
  EXPECT_THAT(ready.body, HasSubstr("\"name\":\"echo\",\"plugin\":\"org.claudemesh.test.echo\",\"state\":\"started\""));
  EXPECT_EQ(request(url("/hello")).body, "hello world");
  const Answer metrics = ops("/metrics");
  EXPECT_THAT(metrics.body, HasSubstr("\ntest_echo_requests_total{plugin=\"echo\",kind=\"hello\"} 1\n"));
  EXPECT_THAT(metrics.body, HasSubstr("claudemesh_plugin_calls_total{plugin=\"echo\",callback=\"http_request\"} 1\n"));
  EXPECT_THAT(metrics.body, HasSubstr("claudemesh_plugin_state{plugin=\"echo\",state=\"started\"} 1\n"));
  EXPECT_THAT(metrics.body, HasSubstr("# TYPE claudemesh_plugin_call_seconds histogram\n"));
  EXPECT_THAT(metrics.body, HasSubstr("claudemesh_net_http_requests_total"));
  EXPECT_EQ(ops("/nothing").status, 404);
  EXPECT_EQ(request("http://" + host_->ops_address() + "/metrics", "POST").status, 405);
}

TEST_F(HostTest, AnOpsAddressInUseFailsTheStartWithItsReason) {
  start_host("[ops]\nlisten = \"127.0.0.1:0\"\n" + echo());
  Result<config::HostConfig> config = load("[ops]\nlisten = \"" + host_->ops_address() + "\"\n");
  ASSERT_TRUE(config.ok()) << config.error().message;
  HostOptions options;
  options.log_sink = std::make_unique<CapturingSink>(log_);
  Host second(std::move(config).value(), std::move(options));
  const Status started = second.start();
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().message, HasSubstr("[ops] listen"));
}

}  // namespace
}  // namespace cm::host
