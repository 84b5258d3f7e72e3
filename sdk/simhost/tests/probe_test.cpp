// The probe counts and fails calls, changes tables, and notes what breaks a rule.
#include "sdk/simhost/probe.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace cm::sim {
namespace {

std::size_t index_of(std::string_view name) {
  for (std::size_t i = 0; i < host_functions().size(); ++i) {
    if (host_functions()[i].text() == name) {
      return i;
    }
  }
  return SIZE_MAX;
}

TEST(ProbeTest, FailsTheNamedCallOnce) {
  HostProbe probe;
  probe.fail_call("cm.timer/1 start", 2, CM_BUSY);
  const std::size_t start = index_of("cm.timer/1 start");
  ASSERT_NE(start, SIZE_MAX);
  EXPECT_FALSE(probe.enter(start));
  EXPECT_EQ(probe.enter(start), CM_BUSY);
  EXPECT_FALSE(probe.enter(start));
  EXPECT_EQ(probe.calls("cm.timer/1 start"), 3U);
  EXPECT_EQ(probe.failed_function(), "cm.timer/1 start");
}

TEST(ProbeTest, NeverFailsWhatGivesBack) {
  HostProbe probe;
  probe.fail_nth("cm.timer/1", 1, CM_IO);
  EXPECT_FALSE(probe.enter(index_of("cm.timer/1 cancel")));
  EXPECT_EQ(probe.fallible_calls("cm.timer/1"), 0U);
  EXPECT_EQ(probe.enter(index_of("cm.timer/1 start")), CM_IO);
}

TEST(ProbeTest, DrawsFailuresFromTheSeed) {
  const auto pattern = [](std::uint64_t seed) {
    HostProbe probe;
    probe.fail_randomly(0.5, seed);
    std::string result;
    for (int i = 0; i < 64; ++i) {
      result += probe.enter(index_of("cm.loop/1 post")) ? 'x' : '.';
    }
    return result;
  };
  EXPECT_EQ(pattern(1), pattern(1));
  EXPECT_NE(pattern(1), pattern(2));
  EXPECT_NE(pattern(1).find('x'), std::string::npos);
}

TEST(ProbeTest, ShortensLengthensAndWithholdsTables) {
  HostProbe probe;
  EXPECT_EQ(probe.table(CM_TIMER_ID), find_probed_table(CM_TIMER_ID));
  probe.truncate(CM_TIMER_ID, 16);
  const auto* shorter = static_cast<const cm_timer_v1*>(probe.table(CM_TIMER_ID));
  EXPECT_EQ(shorter->size, 16U);
  EXPECT_NE(shorter->start, nullptr);
  EXPECT_EQ(shorter->cancel, nullptr);
  probe.extend(CM_LOG_ID, 1);
  struct Longer {
    cm_log_v1 known;
    cm_status (*newer)() noexcept;
  };
  const auto* longer = static_cast<const Longer*>(probe.table(CM_LOG_ID));
  EXPECT_EQ(longer->known.size, sizeof(Longer));
  EXPECT_EQ(longer->newer(), CM_UNSUPPORTED);
  ASSERT_EQ(probe.breaches().size(), 1U);
  EXPECT_EQ(probe.breaches()[0].breach, Breach::kBehindSize);
  probe.withhold(CM_LOOP_ID);
  EXPECT_EQ(probe.table(CM_LOOP_ID), nullptr);
  EXPECT_TRUE(probe.asked_for().contains(CM_LOOP_ID));
}

TEST(ProbeTest, KnowsEveryFunctionOfTheListedTables) {
  std::set<std::string_view> listed;
  for (const HostTableInfo& table : host_tables()) {
    std::size_t functions = 0;
    for (const HostFunction& function : host_functions()) {
      functions += function.table_id == table.id ? 1U : 0U;
    }
    EXPECT_EQ(8 + functions * 8, table.size) << table.id;
    EXPECT_TRUE(listed.insert(table.id).second) << table.id;
  }
}

}  // namespace
}  // namespace cm::sim
