// Metrics: what plugins define, and the text page of Prometheus (exposition format 0.0.4).
#pragma once

#include <claudemesh/abi.h>
#include <claudemesh/cpp/result.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "host/services/calls.hpp"

namespace cm::host {

inline constexpr std::uint32_t kMetricsPerInstanceMax = 1024;
inline constexpr std::size_t kMetricTextBytesMax = 1024;  // of a name, the labels or the help

// The numbers are those of cm.metrics/1.
enum class MetricKind : std::uint32_t { kCounter = 1, kGauge = 2, kHistogram = 3 };

// One series. The description never changes; values are changed by any thread.
struct MetricSeries {
  std::string name;
  std::string labels;  // without braces, complete
  std::string help;
  MetricKind kind = MetricKind::kCounter;
  std::atomic<std::int64_t> value{0};
  std::unique_ptr<Histogram> histogram;  // of histograms only
};

// Pure checks of what a plugin gives. kInvalid says what was found and expected.
Status check_metric_name(std::string_view name);
// `name="value",name="value"`, values escaped as Prometheus does. "plugin" and "le" belong to the host.
Status check_metric_labels(std::string_view labels);

// The names of one host with their kinds: one name means one thing, whichever plugin counts it. Any thread.
class MetricFamilies {
 public:
  // kInvalid when the name exists with another kind.
  Status declare(const std::string& name, MetricKind kind);

 private:
  std::mutex mutex_;
  std::map<std::string, MetricKind> kinds_;
};

// The series of one instance: defined while it configures, then frozen. The numbers are the ids that plugins use.
class InstanceMetrics {
 public:
  explicit InstanceMetrics(std::string instance_name) : instance_name_(std::move(instance_name)) {}

  // Forgets all series, for the next instance of this name; their memory is kept and used again, because a thread of
  // the plugin may still be counting. [control]
  void reset() noexcept { count_.store(0, std::memory_order_release); }

  // [loop, while configuring]
  Result<std::uint32_t> define(MetricFamilies& families, std::uint32_t kind, std::string_view name,
                               std::string_view labels, std::string_view help);

  // [any] Unknown ids and the wrong kind do nothing; false then.
  bool add(std::uint32_t id, std::int64_t amount) noexcept {
    MetricSeries* series = find(id);
    if (series == nullptr || series->histogram != nullptr) {
      return false;
    }
    if (series->kind == MetricKind::kCounter && amount < 0) {
      return false;
    }
    series->value.fetch_add(amount, std::memory_order_relaxed);
    return true;
  }
  bool set(std::uint32_t id, std::int64_t value) noexcept {
    MetricSeries* series = find(id);
    if (series == nullptr || series->kind != MetricKind::kGauge) {
      return false;
    }
    series->value.store(value, std::memory_order_relaxed);
    return true;
  }
  bool observe(std::uint32_t id, std::uint64_t value) noexcept {
    MetricSeries* series = find(id);
    if (series == nullptr || series->histogram == nullptr) {
      return false;
    }
    series->histogram->observe(value);
    return true;
  }

  // [any] Calls `visit(series)` for each.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    const std::uint32_t count = count_.load(std::memory_order_acquire);
    for (std::uint32_t id = 0; id < count; ++id) {
      visit(*series_[id]);
    }
  }
  std::uint32_t size() const noexcept { return count_.load(std::memory_order_acquire); }

 private:
  // Written once per entry before `count_` covers it; the array itself never moves.
  using SeriesArray = std::array<std::unique_ptr<MetricSeries>, kMetricsPerInstanceMax>;

  MetricSeries* find(std::uint32_t id) const noexcept {
    return id < count_.load(std::memory_order_acquire) ? series_[id].get() : nullptr;
  }

  std::string instance_name_;
  SeriesArray series_;
  std::vector<std::unique_ptr<MetricSeries>> replaced_;  // of a former instance, never looked at again
  std::atomic<std::uint32_t> count_{0};
};

// Collects samples and writes them grouped by name, as the format demands. One thread.
class MetricsPage {
 public:
  void counter(std::string_view name, std::string_view help, std::string_view labels, std::uint64_t value);
  void gauge(std::string_view name, std::string_view help, std::string_view labels, std::int64_t value);
  // `scale` divides the bounds and the sum, for example 1e6 to show microseconds as seconds.
  void histogram(std::string_view name, std::string_view help, std::string_view labels, const Histogram& values,
                 double scale = 1.0);
  void add(const MetricSeries& series);

  // The whole page. Families in alphabetical order, each with its HELP and TYPE.
  std::string text() const;

 private:
  struct Family {
    std::string help;
    std::string_view type;
    std::string samples;
  };
  Family& family(std::string_view name, std::string_view help, std::string_view type);

  std::map<std::string, Family, std::less<>> families_;
};

// Escapes a label's value: backslash, quote and line feed.
std::string escape_label_value(std::string_view value);

}  // namespace cm::host
