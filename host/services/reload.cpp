// Reload: read the configuration again, compare, and change only what differs, all of it or nothing.
//
// 1. check: what can be known without touching anything (file, libraries, loops).
// 2. prepare: every instance whose reloadable options changed says whether it could use them.
// 3. stage: added and restarted instances are created and configured beside the running ones; added ones that depend on
//    nothing that restarts are started as well. They take no connections yet. Until here a failure has changed nothing.
// 4. switch: what was removed or restarts is drained and stopped, then its successors are started. A plugin may hold
//    things that exist once (a database lock), so old and new never run at the same time; listening sockets stay open
//    meanwhile. When a start fails, what is new is taken down and the former instances are started again.
// 5. commit: prepared options are used, new instances accept, and the new configuration is what runs.
#include <algorithm>
#include <iterator>
#include <set>

#include "host/services/host.hpp"

namespace cm::host {

namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "" : ", ") + name;
  }
  return text.empty() ? "none" : text;
}

}  // namespace

// What one reload is about to do. [control]
struct ReloadPlan {
  Deadline deadline;  // of everything that is asked before the switch; a start has its own
  config::HostConfig next;
  config::ConfigDiff diff;
  std::vector<Unit*> ending;                  // removed or restarted, in start order
  std::vector<Unit*> prepared;                // reconfigured
  std::vector<std::unique_ptr<Unit>> staged;  // added or restarted, in start order

  std::vector<Unit*> staged_units() const {
    std::vector<Unit*> units;
    for (const auto& unit : staged) {
      units.push_back(unit.get());
    }
    return units;
  }
};

std::map<std::string, std::uint32_t> Host::running_loops(const std::vector<Unit*>& without) const {
  std::map<std::string, std::uint32_t> result;
  for (const auto& unit : units_) {
    const bool stays = std::find(without.begin(), without.end(), unit.get()) == without.end();
    if (stays && unit->instance().state() == InstanceState::kStarted) {
      result[unit->name()] = unit->loop_thread().index();
    }
  }
  return result;
}

Status Host::do_reload() {
  services_.counters.reloads.fetch_add(1, std::memory_order_relaxed);
  const auto refuse_reload = [this](Error error) -> Status {
    services_.counters.reload_failures.fetch_add(1, std::memory_order_relaxed);
    services_.log.host(LogLevel::kError, "reload refused, nothing has changed: " + error.message);
    return error;
  };
  if (!all_started_ || !options_.read_config) {
    return refuse_reload(make_error(ErrorCode::kInvalid, "the host is not running from a configuration file"));
  }
  Result<config::HostConfig> next = options_.read_config();
  if (!next) {
    return refuse_reload(std::move(next).error());
  }
  const Deadline deadline = reload_deadline();
  if (Status tidied = tidy(deadline); !tidied) {
    return refuse_reload(std::move(tidied).error());
  }
  ReloadPlan plan;
  plan.deadline = deadline;
  plan.diff = config::diff_configs(config_, *next);
  plan.next = std::move(next).value();
  widen_restarts(plan.next, plan.diff);
  if (Status good = check_reload(plan.next, plan.diff); !good) {
    return refuse_reload(std::move(good).error());
  }
  Status ready = prepare_all(plan);
  if (ready) {
    ready = stage(plan);
  }
  if (ready) {
    ready = start_independent(plan);
  }
  if (ready) {
    ready = await_ending_loops(plan);
  }
  if (!ready) {
    abort_reload(plan);
    return refuse_reload(std::move(ready).error());
  }
  return switch_over(plan);
}

// Whatever can be known before the first change must be refused before the first change.
Status Host::check_reload(const config::HostConfig& next, const config::ConfigDiff& diff) {
  for (const config::InstanceConfig& instance : next.instances) {
    if (instance.loop.has_value() && *instance.loop >= loops_.size()) {
      return make_error(ErrorCode::kInvalid, "instance \"" + instance.name + "\" wants loop " +
                                                 std::to_string(*instance.loop) + ", but this process runs " +
                                                 std::to_string(loops_.size()) + "; restart it to change threads");
    }
    if (contains(diff.added, instance.name) || contains(diff.restarted, instance.name) ||
        contains(diff.reconfigured, instance.name)) {
      // Loading changes nothing that runs, and is remembered for the real start.
      if (instance.isolation.process) {
        if (Status good = check_isolated(instance); !good) {
          return make_error(good.error().code, "instance \"" + instance.name + "\": " + good.error().message);
        }
        continue;
      }
      auto library = libraries_.load(*instance.manifest, instance.sha256);
      if (!library) {
        return make_error(library.error().code, "instance \"" + instance.name + "\": " + library.error().message);
      }
      if ((*library)->manifest().json != instance.manifest->json) {
        return make_error(ErrorCode::kUnsupported,
                          "instance \"" + instance.name + "\": the library " + instance.manifest->file.string() +
                              " has another manifest than the code of it that this process has loaded; upgrade the "
                              "process (SIGUSR2) or restart it");
      }
    }
  }
  return {};
}

// Instances that cannot reload, or are not running, are restarted, and so are those that name them as a dependency.
void Host::widen_restarts(const config::HostConfig& next, config::ConfigDiff& diff) const {
  std::set<std::string> restart(diff.restarted.begin(), diff.restarted.end());
  for (const config::InstanceConfig& instance : next.instances) {
    const Unit* unit = find_unit(instance.name);
    if (unit == nullptr || contains(diff.added, instance.name)) {
      continue;
    }
    const bool running = unit->instance().state() == InstanceState::kStarted;
    bool needed = !running || (contains(diff.reconfigured, instance.name) && !unit->can_reload());
    // Dependencies stand before their users, so one pass sees every chain.
    for (const std::string& dependency : instance.depends_on) {
      needed = needed || restart.contains(dependency);
    }
    if (needed) {
      restart.insert(instance.name);
    }
  }
  diff.restarted.clear();
  for (const config::InstanceConfig& instance : next.instances) {
    if (restart.contains(instance.name)) {
      diff.restarted.push_back(instance.name);
    }
  }
  std::erase_if(diff.reconfigured, [&restart](const std::string& name) { return restart.contains(name); });
}

Status Host::prepare_all(ReloadPlan& plan) {
  for (const std::string& name : plan.diff.reconfigured) {
    Unit* unit = find_unit(name);
    plan.prepared.push_back(unit);
    if (Status prepared = unit->reload_prepare(plan.next.find(name)->options, plan.deadline, stop_requested_);
        !prepared) {
      return prepared;
    }
  }
  return {};
}

Status Host::stage(ReloadPlan& plan) {
  std::set<std::string> ending;
  for (const auto& unit : units_) {
    if (contains(plan.diff.removed, unit->name()) || contains(plan.diff.restarted, unit->name())) {
      plan.ending.push_back(unit.get());
      unit->instance().set_ending(true);
      ending.insert(unit->name());
    }
  }
  services_.listening_sockets.begin_change(std::move(ending));
  // What needs a new process stays as it is; these two are the reloadable keys of [host].
  const std::uint64_t drain_timeout_ms = plan.next.host.drain_timeout_ms;
  const std::uint64_t reload_timeout_ms = plan.next.host.reload_timeout_ms;
  plan.next.host = config_.host;
  plan.next.host.drain_timeout_ms = drain_timeout_ms;
  plan.next.host.reload_timeout_ms = reload_timeout_ms;
  plan.next.ops = config_.ops;
  const auto loops = plan_loops(plan.next, running_loops(plan.ending));
  for (const config::InstanceConfig& instance : plan.next.instances) {
    if (!contains(plan.diff.added, instance.name) && !contains(plan.diff.restarted, instance.name)) {
      continue;
    }
    Result<std::unique_ptr<Unit>> unit = make_unit(instance, plan.next, loops.at(instance.name));
    if (!unit) {
      return std::move(unit).error();
    }
    (*unit)->set_staged();
    plan.staged.push_back(std::move(unit).value());
  }
  return make_ready(plan.staged_units(), plan.deadline);
}

Status Host::await_ending_loops(const ReloadPlan& plan) {
  const Deadline deadline = std::max(plan.deadline, std::chrono::steady_clock::now() + kLoopAnswerTime);
  for (Unit* unit : plan.ending) {
    if (Status answered = unit->answers(deadline, stop_requested_); !answered) {
      return answered;
    }
  }
  return {};
}

Deadline Host::reload_deadline() const {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(config_.host.reload_timeout_ms);
}

// An added instance that uses nothing which restarts cannot be in anybody's way: a failure of its start is known before
// anything was stopped.
Status Host::start_independent(ReloadPlan& plan) {
  std::set<std::string> waiting(plan.diff.restarted.begin(), plan.diff.restarted.end());
  for (const auto& unit : plan.staged) {
    const std::vector<std::string>& needs = unit->config().depends_on;
    const bool waits = waiting.contains(unit->name()) || std::any_of(needs.begin(), needs.end(), [&](const auto& name) {
                         return waiting.contains(name);
                       });
    if (waits) {
      waiting.insert(unit->name());
      continue;
    }
    if (Status started = start_unit(*unit); !started) {
      return started;
    }
  }
  return {};
}

void Host::discard(std::vector<std::unique_ptr<Unit>> units) {
  for (auto& unit : units) {
    services_.registry.withdraw(unit->instance());
    discarded_.push_back(std::move(unit));
  }
  if (Status tidied = tidy(std::chrono::steady_clock::now() + kLoopAnswerTime); tidied) {
    return;
  }
  // Each loop asks once more when it answers; the last one finds all of them at work.
  std::set<LoopThread*> loops;
  for (const auto& unit : discarded_) {
    loops.insert(&unit->loop_thread());
  }
  for (LoopThread* loop : loops) {
    loop->loop().post([this] { enqueue(Command::kTidy); });
  }
}

Status Host::tidy(Deadline deadline) {
  std::vector<Unit*> units;
  for (const auto& unit : discarded_) {
    if (Status answered = unit->answers(deadline, stop_requested_); !answered) {
      return make_error(answered.error().code,
                        "what a refused reload made cannot be taken down yet: " + answered.error().message);
    }
    units.push_back(unit.get());
  }
  take_down(units);
  discarded_.clear();
  return {};
}

void Host::abort_reload(ReloadPlan& plan) {
  discard(std::move(plan.staged));
  const Deadline deadline = std::chrono::steady_clock::now();
  for (Unit* unit : plan.prepared) {
    unit->reload_finish(false, deadline);
  }
  for (Unit* unit : plan.ending) {
    unit->instance().set_ending(false);
  }
  tell_phase("running", {});
  services_.listening_sockets.end_change();
}

Status Host::switch_over(ReloadPlan& plan) {
  all_started_ = plan.ending.empty();
  quiesce(plan.ending);
  take_down(plan.ending);
  for (const auto& unit : plan.staged) {
    if (unit->instance().state() == InstanceState::kStarted) {
      continue;
    }
    if (Status started = start_unit(*unit); !started) {
      services_.counters.reload_failures.fetch_add(1, std::memory_order_relaxed);
      roll_back(plan, started.error());
      return started;
    }
  }
  commit(plan);
  return {};
}

void Host::roll_back(ReloadPlan& plan, const Error& reason) {
  services_.counters.reload_rollbacks.fetch_add(1, std::memory_order_relaxed);
  take_down(plan.staged_units());
  const Deadline deadline = reload_deadline();
  for (Unit* unit : plan.prepared) {
    unit->reload_finish(false, deadline);
  }
  std::vector<std::string> names;
  for (const Unit* unit : plan.ending) {
    names.push_back(unit->name());
  }
  forget_units(plan.ending);
  const std::string failed = restart_former(names);
  services_.listening_sockets.end_change();
  all_started_ = true;
  tell_phase("running", {});
  if (failed.empty()) {
    services_.log.host(LogLevel::kError, "reload failed, the former configuration runs again: " + reason.message);
    return;
  }
  services_.log.host(LogLevel::kError, "reload failed: " + reason.message + "; of the former configuration, " + failed +
                                           " did not start again; correct the file and reload");
}

std::string Host::restart_former(const std::vector<std::string>& names) {
  std::string failed;
  if (stop_requested_) {
    return failed;
  }
  const auto loops = plan_loops(config_, running_loops({}));
  for (const config::InstanceConfig& instance : config_.instances) {
    if (!contains(names, instance.name)) {
      continue;
    }
    Result<Unit*> unit = add_unit(instance, config_, loops.at(instance.name));
    Status started = unit ? bring_up({*unit}) : Status(unit.error());
    if (!started) {
      // The others go on: an instance that cannot be brought back harms itself (and /readyz says so).
      services_.log.host(LogLevel::kError, started.error().message);
      failed += (failed.empty() ? "" : ", ") + instance.name;
      if (unit) {
        take_down({*unit});
      }
    }
  }
  sort_units(config_);
  return failed;
}

void Host::apply_log_limit(const config::LogSettings& log) {
  if (const auto lines = log.options.get_int("lines_per_second")) {
    services_.log_lines_per_second.store(static_cast<std::uint32_t>(*lines), std::memory_order_relaxed);
  }
}

void Host::apply_log(const config::LogSettings& log) {
  apply_log_limit(log);
  services_.log.set_level(static_cast<LogLevel>(log.level_of("host")));
  services_.log.set_format(static_cast<LogFormat>(log.format));
  for (const auto& unit : units_) {
    unit->instance().set_log_level(static_cast<LogLevel>(log.level_of(unit->name())));
  }
  try {
    // Opened again even when the name is the same, so that a rotated file is let go.
    if (!log.file.empty() || !config_.log.file.empty()) {
      services_.log.set_sink(make_log_sink(log.file.string()));
    }
  } catch (const std::exception& exception) {
    services_.log.host(LogLevel::kError, std::string(exception.what()) + "; the log stays where it was");
  }
}

void Host::forget_units(const std::vector<Unit*>& gone) {
  const std::lock_guard lock(units_mutex_);
  std::erase_if(units_, [&gone](const std::unique_ptr<Unit>& unit) {
    return std::find(gone.begin(), gone.end(), unit.get()) != gone.end();
  });
}

void Host::sort_units(const config::HostConfig& by) {
  const std::lock_guard lock(units_mutex_);
  const auto place = [&by](const std::unique_ptr<Unit>& unit) { return by.find(unit->name()); };
  std::sort(units_.begin(), units_.end(), [&place](const auto& a, const auto& b) { return place(a) < place(b); });
}

// What the file says and this process cannot do.
void Host::report_kept(const ReloadPlan& plan) {
  for (const std::string& key : plan.diff.host_keys) {
    services_.log.host(LogLevel::kWarn,
                       key +
                           " has changed; it takes effect in a new process: upgrade this one (SIGUSR2) "
                           "or restart it");
  }
  for (const std::string& file : libraries_.changed_files()) {
    services_.log.host(LogLevel::kWarn, "the library " + file +
                                            " has changed; this process goes on with the code that it "
                                            "loaded; upgrade it (SIGUSR2) or restart it to use the new one");
  }
}

void Host::commit(ReloadPlan& plan) {
  const Deadline deadline = reload_deadline();
  for (Unit* unit : plan.prepared) {
    unit->reload_finish(true, deadline);
  }
  for (const auto& unit : plan.staged) {
    unit->unstage(deadline);
  }
  forget_units(plan.ending);
  {
    const std::lock_guard lock(units_mutex_);
    std::move(plan.staged.begin(), plan.staged.end(), std::back_inserter(units_));
  }
  sort_units(plan.next);
  services_.listening_sockets.end_change();
  for (const auto& unit : units_) {
    if (unit->isolated() != nullptr) {
      unit->isolated()->release_quarantine();
    }
    unit->set_config(*plan.next.find(unit->name()));
  }
  apply_log(plan.next.log);
  report_kept(plan);
  config_ = std::move(plan.next);
  all_started_ = true;
  tell_phase("running", {});
  services_.log.host(LogLevel::kInfo, "reloaded: added " + joined(plan.diff.added) + "; removed " +
                                          joined(plan.diff.removed) + "; restarted " + joined(plan.diff.restarted) +
                                          "; reconfigured " + joined(plan.diff.reconfigured));
}

}  // namespace cm::host
