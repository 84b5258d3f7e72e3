// Reload: read the configuration again, compare, and change only what differs.
#include <algorithm>
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

std::map<std::string, std::uint32_t> Host::running_loops() const {
  std::map<std::string, std::uint32_t> result;
  for (const auto& unit : units_) {
    if (unit->instance().state() == InstanceState::kStarted) {
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
  config::ConfigDiff diff = config::diff_configs(config_, *next);
  widen_restarts(*next, diff);
  if (Status good = check_reload(*next, diff); !good) {
    return refuse_reload(std::move(good).error());
  }
  if (Status prepared = prepare_all(*next, diff); !prepared) {
    return refuse_reload(std::move(prepared).error());
  }
  return apply(std::move(next).value(), diff);
}

// Whatever can be known before the first change must be refused before the first change.
Status Host::check_reload(const config::HostConfig& next, const config::ConfigDiff& diff) {
  for (const config::InstanceConfig& instance : next.instances) {
    if (instance.loop.has_value() && *instance.loop >= loops_.size()) {
      return make_error(ErrorCode::kInvalid, "instance \"" + instance.name + "\" wants loop " +
                                                 std::to_string(*instance.loop) + ", but this process runs " +
                                                 std::to_string(loops_.size()) + "; restart it to change threads");
    }
    if (contains(diff.added, instance.name) || contains(diff.restarted, instance.name)) {
      // Loading changes nothing that runs, and is remembered for the real start.
      if (auto library = libraries_.load(*instance.manifest, instance.sha256); !library) {
        return make_error(library.error().code, "instance \"" + instance.name + "\": " + library.error().message);
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

Status Host::prepare_all(const config::HostConfig& next, const config::ConfigDiff& diff) {
  std::vector<Unit*> prepared;
  Status result;
  for (const std::string& name : diff.reconfigured) {
    Unit* unit = find_unit(name);
    prepared.push_back(unit);
    result = unit->reload_prepare(next.find(name)->options);
    if (!result) {
      break;
    }
  }
  for (Unit* unit : prepared) {
    unit->reload_finish(result.ok());
  }
  return result;
}

void Host::apply_log(const config::LogSettings& log) {
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

Status Host::apply(config::HostConfig next, const config::ConfigDiff& diff) {
  for (const std::string& key : diff.host_keys) {
    services_.log.host(LogLevel::kWarn, key + " has changed; restart the process for it to take effect");
  }
  apply_log(next.log);
  std::vector<Unit*> ending;
  for (const auto& unit : units_) {
    if (contains(diff.removed, unit->name()) || contains(diff.restarted, unit->name())) {
      ending.push_back(unit.get());
    } else if (const config::InstanceConfig* kept = next.find(unit->name()); kept != nullptr) {
      unit->set_config(*kept);
    }
  }
  all_started_ = false;
  take_down(ending);
  forget_units(ending);
  // What needs a new process stays as it is; drain_timeout is the one reloadable key of [host].
  const std::uint64_t drain_timeout_ms = next.host.drain_timeout_ms;
  next.host = config_.host;
  next.host.drain_timeout_ms = drain_timeout_ms;
  next.ops = config_.ops;
  const auto plan = plan_loops(next, running_loops());
  Status result;
  for (const config::InstanceConfig& instance : next.instances) {
    if (!contains(diff.added, instance.name) && !contains(diff.restarted, instance.name)) {
      continue;
    }
    Result<Unit*> unit = add_unit(instance, next, plan.at(instance.name));
    Status started = unit ? bring_up({*unit}) : Status(unit.error());
    if (!started) {
      // The others go on: an instance that fails harms itself (and /readyz says so).
      services_.log.host(LogLevel::kError, started.error().message);
      if (unit) {
        take_down({*unit});
      }
      result = std::move(started);
    }
  }
  {
    const std::lock_guard lock(units_mutex_);
    const auto place = [&next](const std::unique_ptr<Unit>& unit) { return next.find(unit->name()); };
    std::sort(units_.begin(), units_.end(), [&place](const auto& a, const auto& b) { return place(a) < place(b); });
  }
  config_ = std::move(next);
  all_started_ = true;
  services_.log.host(LogLevel::kInfo, "reloaded: added " + joined(diff.added) + "; removed " + joined(diff.removed) +
                                          "; restarted " + joined(diff.restarted) + "; reconfigured " +
                                          joined(diff.reconfigured));
  return result;
}

}  // namespace cm::host
