#include "plugins/storage_sqlite/src/metrics.hpp"

namespace cm::storage {

Metrics Metrics::define(const HostApi& host) {
  Metrics metrics;
  metrics.commits = host.counter("storage_commits_total", "", "Commits that reached the disk.");
  metrics.works_ok = host.counter("storage_works_total", "result=\"ok\"", "Works by their answer.");
  metrics.works_failed = host.counter("storage_works_total", "result=\"failed\"", "Works by their answer.");
  metrics.reads = host.counter("storage_reads_total", "", "Reads that ran.");
  metrics.batch_size = host.histogram("storage_batch_works", "", "Works that shared one commit.");
  metrics.commit_duration_us = host.histogram("storage_commit_duration_us", "", "Microseconds of one commit.");
  metrics.checkpoint_duration_us =
      host.histogram("storage_checkpoint_duration_us", "", "Microseconds of one checkpoint.");
  metrics.queue_depth = host.gauge("storage_queue_depth", "", "Works that wait for the writer.");
  metrics.wal_pages = host.gauge("storage_wal_pages", "", "Pages in the write-ahead log after the last commit.");
  metrics.sync_errors = host.counter("storage_errors_total", "reason=\"io\"", "Failures by reason.");
  metrics.disk_full = host.counter("storage_errors_total", "reason=\"disk_full\"", "Failures by reason.");
  metrics.busy = host.counter("storage_errors_total", "reason=\"busy\"", "Failures by reason.");
  metrics.queue_full = host.counter("storage_errors_total", "reason=\"queue_full\"", "Failures by reason.");
  metrics.slow_works = host.counter("storage_slow_works_total", "", "Works that took longer than slow_work.");
  metrics.stuck_works = host.counter("storage_stuck_works_total", "", "Works that ran longer than stuck_work.");
  metrics.degraded = host.gauge("storage_degraded", "", "1 when the file is damaged and takes no writes.");
  metrics.read_only = host.gauge("storage_read_only", "", "1 when the disk has refused commits for read_only_grace.");
  return metrics;
}

}  // namespace cm::storage
