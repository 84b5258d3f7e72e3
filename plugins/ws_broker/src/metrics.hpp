// The series of the broker: the names of the original (wire/03 section 2) and what it did not count.
#pragma once

#include <claudemesh/cpp/host.hpp>
#include <map>
#include <string>
#include <string_view>

namespace cm::broker {

// One series per value of a label; the values are a closed list, because series are defined while configuring.
class LabelledCounter {
 public:
  LabelledCounter() = default;
  LabelledCounter(const HostApi& host, std::string_view name, std::string_view label,
                  std::initializer_list<std::string_view> values, std::string_view help) {
    for (const std::string_view value : values) {
      const std::string labels = std::string(label) + "=\"" + std::string(value) + "\"";
      series_.emplace(value, host.counter(name, labels, help));
    }
  }
  void add(std::string_view value, std::int64_t amount = 1) const {
    const auto found = series_.find(value);
    if (found != series_.end()) {
      found->second.add(amount);
    }
  }

 private:
  std::map<std::string, Metric, std::less<>> series_;
};

struct Metrics {
  Metrics() = default;
  explicit Metrics(const HostApi& host);  // only while configuring

  Metric connections;
  LabelledCounter connections_rejected;
  Metric connections_active;
  LabelledCounter messages_routed;
  LabelledCounter messages_rejected;
  LabelledCounter dropped_by_grant;
  Metric legacy_auth_hits;
  Metric queue_depth;
  Metric ttl_sweeps;
  Metric hook_requests;
  Metric hook_requests_limited;
  Metric db_healthy;

  Metric accept_latency_us;
  Metric dedupe_hits;
  Metric dedupe_mismatches;
  Metric deliveries;
  Metric pushes;
  Metric redeliveries;
  Metric expired;
  LabelledCounter drops;
  Metric rate_then_refused;
  Metric presences;
  Metric prunes_skipped;
  Metric connections_held;
  Metric feature_requests;
  Metric feature_timeouts;
  Metric feature_abandoned;
  Metric feature_faults;
  LabelledCounter way_outcomes;
};

}  // namespace cm::broker
