// What the outside may see of a host: its instances, the metrics page, readiness and health.
#include <algorithm>
#include <set>

#include "host/services/host.hpp"
#include "sdk/tools/options.hpp"

namespace cm::host {

namespace {

std::string plugin_label(const Instance& instance) {
  return "plugin=\"" + escape_label_value(instance.name()) + "\"";
}

void add_calls(MetricsPage& page, const Instance& instance) {
  for (std::size_t index = 1; index < kCallbackKinds; ++index) {
    const auto kind = static_cast<CallbackKind>(index);
    const CallStats& stats = instance.stats(kind);
    if (stats.calls() == 0) {
      continue;
    }
    const std::string labels = plugin_label(instance) + ",callback=\"" + callback_name(kind) + "\"";
    page.histogram("claudemesh_plugin_call_seconds", "Time inside a plugin per callback", labels, stats.duration_us,
                   1e6);
    page.counter("claudemesh_plugin_calls_total", "Calls into a plugin per callback", labels, stats.calls());
    page.counter("claudemesh_plugin_call_errors_total", "Callbacks that answered a failure", labels,
                 stats.errors.load(std::memory_order_relaxed));
    page.counter("claudemesh_plugin_call_overruns_total", "Callbacks over the budget of 10 ms", labels,
                 stats.overruns.load(std::memory_order_relaxed));
  }
}

void add_instance(MetricsPage& page, const Instance& instance) {
  const std::string labels = plugin_label(instance);
  page.gauge("claudemesh_plugin_state", "1 for the state that the instance is in",
             labels + ",state=\"" + state_name(instance.state()) + "\"", 1);
  page.gauge("claudemesh_plugin_degraded", "1 while the instance blocks its loop, and for 60 s after a misbehaviour",
             labels, instance.degraded() || instance.misbehaving() ? 1 : 0);
  page.counter("claudemesh_plugin_log_lines_dropped_total", "Log lines over lines_per_second", labels,
               instance.log_lines_dropped());
  page.counter("claudemesh_host_misbehaviour_total", "Breaches of the contract by the host, as the plugin says", labels,
               instance.host_misbehaviour_count());
  page.counter("claudemesh_plugin_misbehaviour_total", "Breaches of the plugin contract", labels,
               instance.misbehaviour_count());
  page.counter("claudemesh_plugin_posts_dropped_total", "Posts to the instance after its stop", labels,
               instance.posts_dropped.load(std::memory_order_relaxed));
  page.counter("claudemesh_plugin_events_dropped_total", "Events dropped because too many were waiting", labels,
               instance.events_dropped.load(std::memory_order_relaxed));
  add_calls(page, instance);
  instance.metrics().for_each([&page](const MetricSeries& series) { page.add(series); });
}

void add_isolation(MetricsPage& page, const Instance& instance, const isolation::IsolationStatus& status) {
  const std::string labels = plugin_label(instance);
  page.gauge("claudemesh_isolation_up", "1 while the process of an isolated plugin runs", labels,
             status.phase == isolation::Phase::kRunning ? 1 : 0);
  page.gauge("claudemesh_isolation_files_confined", "1 while the kernel confines an isolated plugin to granted files",
             labels, status.files_confined ? 1 : 0);
  const auto counter = [&](const char* name, const char* help, std::uint64_t value) {
    page.counter(name, help, labels, value);
  };
  counter("claudemesh_isolation_restarts_total", "Processes started after a failure", status.restarts);
  counter("claudemesh_isolation_crashes_total", "Processes that ended by themselves or by a signal", status.crashes);
  counter("claudemesh_isolation_hangs_total", "Processes ended because they gave no sign of life", status.hangs);
  counter("claudemesh_isolation_overuses_total", "Processes ended because of memory or processor time",
          status.overuses);
  counter("claudemesh_isolation_garbage_total", "Processes ended because of what they sent", status.garbage);
  counter("claudemesh_isolation_quarantines_total", "Times that a plugin failed too often", status.quarantines);
  counter("claudemesh_isolation_throttled_total", "Times that a flood of a process was held back", status.throttled);
  counter("claudemesh_isolation_log_lines_dropped_total", "Log lines dropped because a process wrote too many",
          status.log_lines_dropped);
}

void add_services(MetricsPage& page, const Services& services) {
  const HostCounters& counters = services.counters;
  const auto counter = [&page](const char* name, const char* help, const std::atomic<std::uint64_t>& value) {
    page.counter(name, help, "", value.load(std::memory_order_relaxed));
  };
  counter("claudemesh_watchdog_hits_total", "Calls that the watchdog found blocking a loop", counters.watchdog_hits);
  counter("claudemesh_call_overruns_total", "Callbacks over the budget of 10 ms", counters.call_overruns);
  counter("claudemesh_permission_denials_total", "Uses of a host table that is not granted",
          counters.permission_denials);
  counter("claudemesh_wrong_thread_calls_total", "Loop functions called on another thread",
          counters.wrong_thread_calls);
  counter("claudemesh_http_unanswered_total", "HTTP requests that a plugin left unanswered for too long",
          counters.unanswered_requests);
  counter("claudemesh_process_limit_kills_total", "Child programs ended because of a limit of time or output",
          counters.process_limit_kills);
  counter("claudemesh_reloads_total", "Reloads asked for", counters.reloads);
  counter("claudemesh_reload_failures_total", "Reloads refused or rolled back", counters.reload_failures);
  counter("claudemesh_reload_rollbacks_total", "Reloads that stopped something and brought it back",
          counters.reload_rollbacks);
  counter("claudemesh_late_steps_total", "Steps of the life cycle that were given up because a loop did not answer",
          counters.late_steps);
  counter("claudemesh_upgrades_total", "Upgrades of the process asked for", counters.upgrades);
  counter("claudemesh_upgrade_failures_total", "Upgrades that did not take place", counters.upgrade_failures);
  page.gauge("claudemesh_listening_sockets", "Sockets that listen", "",
             static_cast<std::int64_t>(services.listening_sockets.size()));
  page.counter("claudemesh_log_lines_total", "Log lines written", "", services.log.written());
  page.counter("claudemesh_log_lines_dropped_total", "Log lines dropped because the output is too slow", "",
               services.log.dropped());
  page.counter("claudemesh_events_published_total", "Events published on the bus", "", services.events.published());
  page.gauge("claudemesh_buffers", "Buffers alive", "", services.buffers.alive());
  page.counter("claudemesh_buffers_refused_total", "Buffers refused because of a limit", "",
               services.buffers.refused());
  page.gauge("claudemesh_worker_jobs_waiting", "Jobs waiting for the worker pool", "",
             static_cast<std::int64_t>(services.workers.waiting()));
  page.counter("claudemesh_worker_jobs_total", "Jobs finished by the worker pool", "", services.workers.finished());
  page.counter("claudemesh_processes_started_total", "Child programs started", "", services.spawner->started());
  page.counter("claudemesh_processes_failed_total", "Child programs that could not be started", "",
               services.spawner->failed());
  page.counter("claudemesh_worker_jobs_refused_total", "Jobs refused because the worker pool was full", "",
               services.workers.refused());
  services.net_counters->for_each([&page](std::string_view name, std::string_view help, std::uint64_t value) {
    const std::string full = "claudemesh_net_" + std::string(name);
    if (name.ends_with("_open")) {
      page.gauge(full, help, "", static_cast<std::int64_t>(value));
    } else {
      page.counter(full + "_total", help, "", value);
    }
  });
}

std::string json_text(std::string_view text) {
  // Names are [a-z0-9_.-]; anything else is a defect elsewhere and is made harmless here.
  std::string result = "\"";
  for (const char c : text) {
    result += (static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\') ? '?' : c;
  }
  return result + "\"";
}

}  // namespace

std::string Host::metrics_text() const {
  MetricsPage page;
  {
    const std::lock_guard lock(units_mutex_);
    for (const auto& unit : units_) {
      add_instance(page, unit->instance());
      if (unit->isolated() != nullptr) {
        add_isolation(page, unit->instance(), unit->isolated()->status());
      }
    }
  }
  add_services(page, services_);
  return page.text();
}

namespace {

std::string isolation_json(const isolation::IsolationStatus& status) {
  const auto number = [](const char* name, std::uint64_t value) {
    return std::string(",\"") + name + "\":" + std::to_string(value);
  };
  return std::string(",\"phase\":\"") + isolation::phase_name(status.phase) + "\",\"files\":\"" +
         (status.files_confined ? "confined" : "open") + "\"" + number("pid", static_cast<std::uint64_t>(status.pid)) +
         number("restarts", status.restarts) + number("crashes", status.crashes) + number("hangs", status.hangs) +
         number("overuses", status.overuses) + number("garbage", status.garbage) +
         number("quarantines", status.quarantines) + number("throttled", status.throttled) +
         number("log_lines_dropped", status.log_lines_dropped) +
         ",\"last_failure\":" + options::json_quote(status.last_failure);
}

}  // namespace

std::string Host::plugins_json() const {
  std::string json = "{\"plugins\":[";
  bool first = true;
  for (const InstanceStatus& instance : instances()) {
    json += first ? "" : ",";
    first = false;
    json += "{\"name\":" + json_text(instance.name) + ",\"plugin\":" + json_text(instance.plugin_id) + ",\"state\":\"" +
            state_name(instance.state) + "\",\"degraded\":" + (instance.degraded ? "true" : "false") +
            ",\"misbehaviour\":" + std::to_string(instance.misbehaviour) + ",\"isolation\":\"" +
            (instance.isolation.has_value() ? "process" : "none") + "\"";
    json += (instance.isolation.has_value() ? isolation_json(*instance.isolation) : "") + "}";
  }
  return json + "]}\n";
}

std::string Host::readiness_json() const {
  std::string json = std::string("{\"ready\":") + (ready() ? "true" : "false") + ",\"instances\":[";
  bool first = true;
  for (const InstanceStatus& instance : instances()) {
    json += first ? "" : ",";
    first = false;
    json += "{\"name\":" + json_text(instance.name) + ",\"plugin\":" + json_text(instance.plugin_id) + ",\"state\":\"" +
            state_name(instance.state) + "\",\"degraded\":" + (instance.degraded ? "true" : "false") +
            ",\"misbehaving\":" + (instance.misbehaving ? "true" : "false") + "}";
  }
  return json + "]}\n";
}

std::vector<InstanceStatus> Host::instances() const {
  std::vector<InstanceStatus> result;
  const std::lock_guard lock(units_mutex_);
  for (const auto& unit : units_) {
    const Instance& instance = unit->instance();
    InstanceStatus status{instance.name(),     instance.plugin_id(),          instance.state(),
                          instance.degraded(), instance.misbehaviour_count(), std::nullopt};
    status.misbehaving = instance.misbehaving();
    if (unit->isolated() != nullptr) {
      status.isolation = unit->isolated()->status();
      status.degraded = status.degraded || !status.isolation->healthy();
    }
    result.push_back(std::move(status));
  }
  return result;
}

bool Host::ready() const {
  if (!all_started_ || stop_requested_) {
    return false;
  }
  const std::vector<InstanceStatus> all = instances();
  return std::all_of(all.begin(), all.end(), [](const InstanceStatus& instance) {
    return instance.state == InstanceState::kStarted && !instance.degraded;
  });
}

bool Host::healthy() const {
  return who_blocks().empty();
}

std::string Host::who_blocks() const {
  std::string text;
  const std::int64_t now_ns = net::Loop::now_ns();
  std::set<const LoopThread*> seen;
  const std::lock_guard lock(units_mutex_);
  for (const auto& unit : units_) {
    const InstanceState state = unit->instance().state();
    if (state == InstanceState::kDestroyed) {
      continue;
    }
    // Who holds a loop need not be one of these: a reload may just be making it.
    const LoopThread& loop = unit->loop_thread();
    const LoopWatch::Sample sample = loop.watch().sample();
    if (sample.since_ns != 0 && now_ns - sample.since_ns >= kCallStuckNs && seen.insert(&loop).second) {
      text += (text.empty() ? "" : ", ") + sample.instance->name() + " in " + callback_name(sample.kind);
    }
  }
  return text;
}

}  // namespace cm::host
