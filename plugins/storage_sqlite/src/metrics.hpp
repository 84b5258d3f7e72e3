// The series of one storage instance.
#pragma once

#include <claudemesh/cpp/host.hpp>

namespace cm::storage {

struct Metrics {
  Metric commits;
  Metric works_ok;
  Metric works_failed;
  Metric reads;
  Metric batch_size;
  Metric commit_duration_us;
  Metric checkpoint_duration_us;
  Metric queue_depth;
  Metric wal_pages;
  Metric sync_errors;
  Metric disk_full;
  Metric busy;
  Metric queue_full;
  Metric slow_works;
  Metric stuck_works;
  Metric degraded;
  Metric read_only;

  // Defines them; only while configuring. [loop]
  static Metrics define(const HostApi& host);
};

}  // namespace cm::storage
