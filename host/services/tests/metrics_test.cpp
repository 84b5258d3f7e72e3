// Goal: names and labels are checked, values are counted, and the page is what Prometheus 0.0.4 reads.
#include "host/services/metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cm::host {
namespace {

using testing::HasSubstr;

TEST(MetricName, FollowsTheDeclaredAlphabet) {
  EXPECT_TRUE(check_metric_name("a_b:c9"));
  EXPECT_FALSE(check_metric_name(""));
  EXPECT_FALSE(check_metric_name("9a"));
  EXPECT_FALSE(check_metric_name("A"));
  EXPECT_FALSE(check_metric_name("a-b"));
  EXPECT_FALSE(check_metric_name(std::string(2000, 'a')));
}

TEST(MetricLabels, AreParsedStrictly) {
  EXPECT_TRUE(check_metric_labels(""));
  EXPECT_TRUE(check_metric_labels(R"(a="b")"));
  EXPECT_TRUE(check_metric_labels(R"(a="b\"\\\n",c="")"));
  for (const char* bad : {R"(a=b)", R"(a="b)", R"(a="b",)", R"(,a="b")", R"(a="b"c="d")", R"(9="b")", R"(plugin="x")",
                          R"(le="1")", R"(a="\x")", R"(a)", "a=\"line\nfeed\""}) {
    EXPECT_FALSE(check_metric_labels(bad)) << bad;
  }
}

TEST(Histogram, BucketsArePowersOfTwo) {
  EXPECT_EQ(Histogram::bucket_of(0), 0u);
  EXPECT_EQ(Histogram::bucket_of(1), 0u);
  EXPECT_EQ(Histogram::bucket_of(2), 1u);
  EXPECT_EQ(Histogram::bucket_of(3), 2u);
  EXPECT_EQ(Histogram::bucket_of(4), 2u);
  EXPECT_EQ(Histogram::bucket_of(5), 3u);
  EXPECT_EQ(Histogram::bucket_of(UINT64_MAX), Histogram::kBuckets - 1);
}

TEST(InstanceMetrics, KindsAreRespected) {
  MetricFamilies families;
  InstanceMetrics metrics("echo");
  const auto counter = metrics.define(families, 1, "c_total", "", "help").value();
  const auto gauge = metrics.define(families, 2, "g", "", "help").value();
  const auto histogram = metrics.define(families, 3, "h", "", "help").value();
  EXPECT_TRUE(metrics.add(counter, 2));
  EXPECT_FALSE(metrics.add(counter, -1));
  EXPECT_FALSE(metrics.set(counter, 1));
  EXPECT_TRUE(metrics.add(gauge, -1));
  EXPECT_TRUE(metrics.set(gauge, 5));
  EXPECT_FALSE(metrics.observe(gauge, 1));
  EXPECT_TRUE(metrics.observe(histogram, 3));
  EXPECT_FALSE(metrics.add(99, 1));
}

TEST(InstanceMetrics, RefusesDoublesAndAnotherKindOfTheSameName) {
  MetricFamilies families;
  InstanceMetrics one("one");
  InstanceMetrics two("two");
  ASSERT_TRUE(one.define(families, 1, "a_total", "", ""));
  EXPECT_FALSE(one.define(families, 1, "a_total", "", ""));
  EXPECT_TRUE(one.define(families, 1, "a_total", R"(x="1")", ""));
  EXPECT_TRUE(two.define(families, 1, "a_total", "", ""));
  EXPECT_FALSE(two.define(families, 2, "a_total", R"(x="1")", ""));
  EXPECT_FALSE(two.define(families, 4, "b", "", ""));
}

TEST(InstanceMetrics, HasALimit) {
  MetricFamilies families;
  InstanceMetrics metrics("echo");
  for (std::uint32_t i = 0; i < kMetricsPerInstanceMax; ++i) {
    ASSERT_TRUE(metrics.define(families, 1, "m_" + std::to_string(i), "", ""));
  }
  const auto refused = metrics.define(families, 1, "one_more", "", "");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
}

TEST(MetricsPage, GroupsByFamilyWithHelpAndType) {
  MetricFamilies families;
  InstanceMetrics one("one");
  InstanceMetrics two("t\"wo");
  one.define(families, 1, "b_total", R"(x="1")", "first\nhelp").value();
  two.define(families, 1, "b_total", "", "other help").value();
  one.define(families, 2, "a", "", "a gauge").value();
  one.add(0, 3);
  one.set(1, -4);
  MetricsPage page;
  one.for_each([&page](const MetricSeries& series) { page.add(series); });
  two.for_each([&page](const MetricSeries& series) { page.add(series); });
  EXPECT_EQ(page.text(),
            "# HELP a a gauge\n# TYPE a gauge\na{plugin=\"one\"} -4\n"
            "# HELP b_total first\\nhelp\n# TYPE b_total counter\n"
            "b_total{plugin=\"one\",x=\"1\"} 3\nb_total{plugin=\"t\\\"wo\"} 0\n");
}

TEST(MetricsPage, HistogramsAreCumulative) {
  Histogram values;
  values.observe(1);
  values.observe(3);
  values.observe(1'000'000);
  MetricsPage page;
  page.histogram("h_seconds", "help", "a=\"b\"", values, 1e6);
  const std::string text = page.text();
  EXPECT_THAT(text, HasSubstr("# TYPE h_seconds histogram\n"));
  EXPECT_THAT(text, HasSubstr("h_seconds_bucket{a=\"b\",le=\"1e-06\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("h_seconds_bucket{a=\"b\",le=\"2e-06\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("h_seconds_bucket{a=\"b\",le=\"4e-06\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("h_seconds_bucket{a=\"b\",le=\"+Inf\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("h_seconds_sum{a=\"b\"} 1.000004\n"));
  EXPECT_THAT(text, HasSubstr("h_seconds_count{a=\"b\"} 3\n"));
}

}  // namespace
}  // namespace cm::host
