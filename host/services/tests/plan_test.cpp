// Goal: instances are spread over the loops, groups stay together, explicit and running loops win. Also the life cycle.
#include <gtest/gtest.h>

#include "host/services/host.hpp"

namespace cm::host {
namespace {

config::InstanceConfig instance(std::string name, std::size_t group, std::optional<std::uint32_t> loop = {}) {
  config::InstanceConfig config;
  config.name = std::move(name);
  config.loop_group = group;
  config.loop = loop;
  return config;
}

config::HostConfig host_with(std::uint32_t threads, std::vector<config::InstanceConfig> instances) {
  config::HostConfig config;
  config.host.threads = threads;
  config.instances = std::move(instances);
  return config;
}

TEST(PlanLoops, SpreadsEvenly) {
  const auto plan =
      plan_loops(host_with(2, {instance("a", 0), instance("b", 1), instance("c", 2), instance("d", 3)}), {});
  EXPECT_EQ(plan.at("a"), 0u);
  EXPECT_EQ(plan.at("b"), 1u);
  EXPECT_EQ(plan.at("c"), 0u);
  EXPECT_EQ(plan.at("d"), 1u);
}

TEST(PlanLoops, KeepsAGroupTogether) {
  const auto plan = plan_loops(host_with(3, {instance("a", 0), instance("b", 1), instance("c", 0)}), {});
  EXPECT_EQ(plan.at("a"), plan.at("c"));
  EXPECT_NE(plan.at("a"), plan.at("b"));
}

TEST(PlanLoops, ExplicitLoopsWinForTheWholeGroup) {
  const auto plan = plan_loops(host_with(4, {instance("a", 0), instance("b", 0, 3)}), {});
  EXPECT_EQ(plan.at("a"), 3u);
  EXPECT_EQ(plan.at("b"), 3u);
}

TEST(PlanLoops, RunningInstancesDoNotMove) {
  const auto plan = plan_loops(host_with(2, {instance("a", 0), instance("b", 0), instance("c", 1)}), {{"a", 1}});
  EXPECT_EQ(plan.at("a"), 1u);
  EXPECT_EQ(plan.at("b"), 1u);
  EXPECT_EQ(plan.at("c"), 0u);
}

TEST(LifeCycle, NoStepIsSkippedAndNoneIsRepeated) {
  using enum InstanceState;
  const InstanceState order[] = {kInspected, kLoaded, kCreated, kConfigured, kStarted, kDraining, kStopped, kDestroyed};
  for (std::size_t from = 0; from < std::size(order); ++from) {
    EXPECT_FALSE(may_follow(order[from], order[from]));
    if (from + 1 < std::size(order)) {
      EXPECT_TRUE(may_follow(order[from], order[from + 1]));
    }
    for (std::size_t to = from + 2; to < std::size(order); ++to) {
      const bool never_started_to_destroy =
          order[to] == kDestroyed && (order[from] == kConfigured || order[from] == kCreated);
      EXPECT_EQ(may_follow(order[from], order[to]), never_started_to_destroy) << from << " to " << to;
    }
  }
  EXPECT_TRUE(may_follow(kConfigured, kFailed));
  EXPECT_TRUE(may_follow(kFailed, kDestroyed));
  EXPECT_FALSE(may_follow(kStarted, kFailed));
  EXPECT_FALSE(may_follow(kFailed, kStarted));
}

}  // namespace
}  // namespace cm::host
