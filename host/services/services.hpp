// What all instances of one host share.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "host/net/counters.hpp"
#include "host/services/buffers.hpp"
#include "host/services/events.hpp"
#include "host/services/http_listeners.hpp"
#include "host/services/listening_sockets.hpp"
#include "host/services/log.hpp"
#include "host/services/metrics.hpp"
#include "host/services/process_spawn.hpp"
#include "host/services/registry.hpp"
#include "host/services/tickets.hpp"
#include "host/services/workers.hpp"

namespace cm::host {

// Counters of the host's own bounds, shown on the metrics page.
struct HostCounters {
  std::atomic<std::uint64_t> watchdog_hits{0};
  std::atomic<std::uint64_t> call_overruns{0};
  std::atomic<std::uint64_t> permission_denials{0};
  std::atomic<std::uint64_t> wrong_thread_calls{0};
  std::atomic<std::uint64_t> unanswered_requests{0};
  std::atomic<std::uint64_t> process_limit_kills{0};
  std::atomic<std::uint64_t> reloads{0};
  std::atomic<std::uint64_t> reload_failures{0};
  std::atomic<std::uint64_t> reload_rollbacks{0};
  std::atomic<std::uint64_t> late_steps{0};
  std::atomic<std::uint64_t> upgrades{0};
  std::atomic<std::uint64_t> upgrade_failures{0};
};

// Lives as long as the process, like the instances that refer to it; `close` ends its threads.
struct Services {
  Services(std::unique_ptr<LogSink> sink, LogFormat format, LogLevel level, std::uint32_t worker_threads)
      : log(std::move(sink), format, level), workers(worker_threads) {}

  Log log;
  HostCounters counters;
  std::shared_ptr<net::NetCounters> net_counters = std::make_shared<net::NetCounters>();
  ListeningSockets listening_sockets;
  BufferStore buffers;
  MetricFamilies metric_families;
  TicketBook tickets;
  EventBus events;
  ExtensionRegistry registry;
  WorkerPool workers;
  std::shared_ptr<ProcessSpawner> spawner = std::make_shared<ProcessSpawner>();
  // Of one instance; 0: no limit. From [log] lines_per_second.
  std::atomic<std::uint32_t> log_lines_per_second{kLogLinesPerSecond};
  // A request that its plugin does not answer for so long gets 503. Changed by tests only, before any request.
  std::uint64_t unanswered_request_ms = kUnansweredRequestMs;
};

}  // namespace cm::host
