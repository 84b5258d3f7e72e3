#include "host/services/host.hpp"

#include <pthread.h>
#include <sodium.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "host/services/crash.hpp"
#include "host/services/ops.hpp"

namespace cm::host {

namespace {

std::unique_ptr<LogSink> sink_of(const config::HostConfig& config, HostOptions& options) {
  return options.log_sink != nullptr ? std::move(options.log_sink) : make_log_sink(config.log.file.string());
}

Services& make_services(const config::HostConfig& config, HostOptions& options) {
  if (sodium_init() < 0) {
    throw std::runtime_error("libsodium cannot be initialised: the system gives no random bytes");
  }
  install_crash_handlers();
  static std::mutex mutex;
  // Never destroyed: instances, which are immortal, refer to their services.
  static auto& all = *std::make_unique<std::vector<std::unique_ptr<Services>>>().release();
  auto services = std::make_unique<Services>(sink_of(config, options), static_cast<LogFormat>(config.log.format),
                                             static_cast<LogLevel>(config.log.level_of("host")), config.host.workers);
  const std::lock_guard lock(mutex);
  all.push_back(std::move(services));
  return *all.back();
}

}  // namespace

std::map<std::string, std::uint32_t> plan_loops(const config::HostConfig& config,
                                                const std::map<std::string, std::uint32_t>& pinned) {
  const std::uint32_t loops = std::max<std::uint32_t>(1, config.host.threads);
  std::map<std::size_t, std::uint32_t> loop_of_group;
  std::vector<std::size_t> load(loops, 0);
  for (const config::InstanceConfig& instance : config.instances) {
    const auto fixed = pinned.find(instance.name);
    if (fixed != pinned.end()) {
      loop_of_group[instance.loop_group] = fixed->second;
      ++load[fixed->second];
    }
  }
  for (const config::InstanceConfig& instance : config.instances) {
    if (instance.loop.has_value()) {
      loop_of_group.emplace(instance.loop_group, *instance.loop % loops);
    }
  }
  std::map<std::string, std::uint32_t> plan = pinned;
  for (const config::InstanceConfig& instance : config.instances) {
    if (plan.contains(instance.name)) {
      continue;
    }
    const auto least = static_cast<std::uint32_t>(std::min_element(load.begin(), load.end()) - load.begin());
    const std::uint32_t loop = loop_of_group.emplace(instance.loop_group, least).first->second;
    plan[instance.name] = loop;
    ++load[loop];
  }
  return plan;
}

Host::Host(config::HostConfig config, HostOptions options)
    : options_(std::move(options)),
      config_(std::move(config)),
      services_(make_services(config_, options_)),
      libraries_(options_.unload),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      control_thread_([this] { control_main(); }) {}

Host::~Host() {
  request_stop();
  join();
}

// --- requests --------------------------------------------------------------------------------------------------------

std::future<Status> Host::enqueue(Command command) {
  Request request{command, {}};
  std::future<Status> done = request.done.get_future();
  {
    const std::lock_guard lock(control_mutex_);
    if (ended_) {
      request.done.set_value(make_error(ErrorCode::kGone, "the host has stopped; make a new one"));
      return done;
    }
    requests_.push_back(std::move(request));
  }
  control_changed_.notify_all();
  return done;
}

Status Host::start() {
  return enqueue(Command::kStart).get();
}
void Host::request_start() {
  enqueue(Command::kStart);
}
Status Host::reload() {
  return enqueue(Command::kReload).get();
}
void Host::request_reload() {
  enqueue(Command::kReload);
}

Status Host::upgrade() {
  return enqueue(Command::kUpgrade).get();
}
void Host::request_upgrade() {
  enqueue(Command::kUpgrade);
}

std::string Host::start_error() const {
  const std::lock_guard lock(control_mutex_);
  return start_error_;
}

std::string Host::reload_error() const {
  const std::lock_guard lock(control_mutex_);
  return reload_error_;
}

std::string Host::ops_address() const {
  const std::lock_guard lock(control_mutex_);
  return ops_address_;
}

void Host::request_stop() {
  {
    const std::lock_guard lock(control_mutex_);
    stop_requested_ = true;
  }
  control_changed_.notify_all();
  services_.tickets.wake();
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake_fd_.get(), &one, sizeof one));  // it can only fail because it is readable already
}

void Host::request_immediate_stop() {
  immediate_ = true;
  request_stop();
}

void Host::join() {
  if (control_thread_.joinable()) {
    control_thread_.join();
  }
}

// --- the control thread ----------------------------------------------------------------------------------------------

void Host::tell(HostEvent event) const {
  if (options_.on_event) {
    options_.on_event(event);
  }
}

std::optional<Host::Request> Host::next_request() {
  std::unique_lock lock(control_mutex_);
  control_changed_.wait(lock, [this] { return stop_requested_ || !requests_.empty(); });
  if (stop_requested_) {
    return std::nullopt;
  }
  Request request = std::move(requests_.front());
  requests_.erase(requests_.begin());
  return request;
}

void Host::tell_phase(std::string_view phase, std::string_view instance) const {
  if (options_.on_phase) {
    options_.on_phase(phase, instance);
  }
}

void Host::run_request(Request& request) {
  if (request.command == Command::kReload) {
    Status reloaded = do_reload();
    {
      const std::lock_guard lock(control_mutex_);
      reload_error_ = reloaded ? std::string() : reloaded.error().message;
    }
    tell(reloaded ? HostEvent::kReloaded : HostEvent::kReloadFailed);
    request.done.set_value(std::move(reloaded));
    return;
  }
  if (request.command == Command::kTidy) {
    request.done.set_value(tidy(std::chrono::steady_clock::now() + kLoopAnswerTime));
    return;
  }
  if (request.command == Command::kUpgrade) {
    Status upgraded = do_upgrade();
    tell(upgraded ? HostEvent::kHandedOver : HostEvent::kUpgradeFailed);
    request.done.set_value(std::move(upgraded));
    return;
  }
  Status started = do_start();
  const bool told_to_stop = stop_requested_;
  if (!started) {
    const std::lock_guard lock(control_mutex_);
    start_error_ = started.error().message;
    stop_requested_ = true;  // Nothing is left that could be started again.
  }
  if (started || !told_to_stop) {
    tell(started ? HostEvent::kStarted : HostEvent::kStartFailed);
  }
  request.done.set_value(std::move(started));
}

void Host::control_main() {
  pthread_setname_np(pthread_self(), "control");
  while (std::optional<Request> request = next_request()) {
    run_request(*request);
  }
  tell(HostEvent::kStopping);
  do_stop();
  tell(HostEvent::kStopped);
  const std::lock_guard lock(control_mutex_);
  ended_ = true;
  for (Request& request : requests_) {
    request.done.set_value(make_error(ErrorCode::kGone, "the host has stopped"));
  }
  requests_.clear();
}

// --- start -----------------------------------------------------------------------------------------------------------

Status Host::start_loops() {
  const std::uint32_t count = std::max<std::uint32_t>(1, config_.host.threads);
  std::vector<LoopThread*> watched;
  for (std::uint32_t index = 0; index < count; ++index) {
    loops_.push_back(std::make_unique<LoopThread>(index, "loop-" + std::to_string(index), services_.net_counters));
    loops_.back()->start();
    watched.push_back(loops_.back().get());
  }
  watchdog_ = std::make_unique<Watchdog>(services_, std::move(watched));
  return {};
}

Status Host::start_ops() {
  if (config_.ops.listen.empty()) {
    return {};
  }
  auto ops = OpsServer::listen(*this, config_.ops.listen);
  if (!ops) {
    return make_error(ops.error().code, "[ops] listen: " + ops.error().message);
  }
  ops_ = std::move(ops).value();
  const std::lock_guard lock(control_mutex_);
  ops_address_ = ops_->address();
  return {};
}

Result<std::unique_ptr<Unit>> Host::make_unit(const config::InstanceConfig& config, const config::HostConfig& from,
                                              std::uint32_t loop) {
  try {
    return std::make_unique<Unit>(config, from.log.level_of(config.name), services_, *loops_.at(loop));
  } catch (const std::exception& exception) {
    return make_error(ErrorCode::kBusy, "instance \"" + config.name + "\": " + exception.what());
  }
}

Result<Unit*> Host::add_unit(const config::InstanceConfig& config, const config::HostConfig& from, std::uint32_t loop) {
  Result<std::unique_ptr<Unit>> unit = make_unit(config, from, loop);
  if (!unit) {
    return std::move(unit).error();
  }
  const std::lock_guard lock(units_mutex_);
  units_.push_back(std::move(unit).value());
  return units_.back().get();
}

Status Host::do_start() {
  if (!loops_.empty()) {
    return make_error(ErrorCode::kInvalid, "the host was started already");
  }
  for (const config::Problem& warning : config_.warnings) {
    services_.log.host(LogLevel::kWarn, warning.line());
  }
  apply_log_limit(config_.log);
  for (HandedSocket& socket : options_.inherited) {
    if (Status adopted = services_.listening_sockets.adopt(std::move(socket)); !adopted) {
      services_.log.host(LogLevel::kWarn, adopted.error().message);
    }
  }
  // An heir must not accept for its monitoring before it was told to go.
  const bool heir = options_.before_start != nullptr;
  std::vector<Unit*> units;
  Status started = start_loops();
  if (started && !heir) {
    started = start_ops();
  }
  const auto plan = plan_loops(config_, {});
  for (std::size_t i = 0; started && i < config_.instances.size(); ++i) {
    const config::InstanceConfig& instance = config_.instances[i];
    Result<Unit*> unit = add_unit(instance, config_, plan.at(instance.name));
    if (unit) {
      units.push_back(*unit);
    } else {
      started = std::move(unit).error();
    }
  }
  if (started) {
    started = make_ready(units, kNoDeadline);
  }
  if (started && heir) {
    started = options_.before_start(wake_fd_.get());
    started = started ? start_ops() : std::move(started);
  }
  for (std::size_t i = 0; started && i < units.size(); ++i) {
    started = start_unit(*units[i]);
  }
  if (!started) {
    services_.log.host(stop_requested_ ? LogLevel::kInfo : LogLevel::kError, started.error().message);
    if (heir) {
      services_.listening_sockets.leave_files();  // the process before this one takes them back
    }
    take_down(units);
    return started;
  }
  services_.listening_sockets.end_change();
  tell_phase("running", {});
  all_started_ = true;
  services_.log.host(LogLevel::kInfo, "started with " + std::to_string(units.size()) + " instances on " +
                                          std::to_string(loops_.size()) + " loops");
  return {};
}

Status Host::make_ready(const std::vector<Unit*>& units, Deadline deadline) {
  for (Unit* unit : units) {
    tell_phase("starting", unit->name());
    if (Status loaded = unit->load(libraries_); !loaded) {
      return loaded;
    }
  }
  for (Unit* unit : units) {
    tell_phase("starting", unit->name());
    Status ready = unit->create(deadline, stop_requested_);
    if (ready) {
      ready = unit->configure(deadline, stop_requested_);
    }
    if (!ready) {
      return ready;
    }
  }
  return {};
}

Status Host::start_unit(Unit& unit) {
  if (stop_requested_) {
    return make_error(ErrorCode::kGone, "the host was told to stop before everything was started");
  }
  tell_phase("starting", unit.name());
  const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(config_.host.start_timeout_ms);
  Status started = unit.start(deadline, stop_requested_);
  if (started) {
    const LogField field{"loop", unit.loop_thread().loop().name()};
    services_.log.host(LogLevel::kDebug, "instance \"" + unit.name() + "\" started", {&field, 1});
  }
  return started;
}

Status Host::bring_up(std::vector<Unit*> units) {
  Status result = make_ready(units, kNoDeadline);
  for (std::size_t i = 0; result && i < units.size(); ++i) {
    result = start_unit(*units[i]);
  }
  return result;
}

// --- stop ------------------------------------------------------------------------------------------------------------

void Host::quiesce(const std::vector<Unit*>& units) {
  std::vector<std::future<void>> quiet;
  for (Unit* unit : units) {
    quiet.push_back(unit->quiesce(kQuiesceMs));
  }
  const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kQuiesceMs) + kLoopAnswerTime;
  for (const std::future<void>& each : quiet) {
    each.wait_until(deadline);
  }
}

void Host::take_down(const std::vector<Unit*>& units_in_start_order) {
  std::vector<Unit*> units(units_in_start_order.rbegin(), units_in_start_order.rend());
  std::erase_if(units, [](const Unit* unit) { return unit->instance().state() == InstanceState::kDestroyed; });
  const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(config_.host.drain_timeout_ms);
  for (Unit* unit : units) {
    if (unit->instance().state() == InstanceState::kStarted) {
      unit->drain(immediate_ ? Deadline() : deadline, immediate_);
    }
  }
  for (Unit* unit : units) {
    services_.registry.withdraw(unit->instance());
    // Only those who still hold a reference without having named the provider: the others stop before it.
    for (const auto& other : units_) {
      if (other.get() != unit && services_.registry.references_to(unit->instance()) != 0) {
        other->tell_going_away(unit->instance());
      }
    }
    if (unit->instance().state() == InstanceState::kDraining) {
      unit->stop();
    }
  }
  for (Unit* unit : units) {
    const InstanceState state = unit->instance().state();
    if (state == InstanceState::kInspected || state == InstanceState::kLoaded) {
      unit->instance().set_state(InstanceState::kFailed);
    }
    unit->destroy();
    services_.log.host(LogLevel::kDebug, "instance \"" + unit->name() + "\" destroyed");
  }
}

void Host::do_stop() {
  if (successor_pid_ == 0) {
    tell_phase("stopping", {});
  }
  services_.log.host(LogLevel::kInfo, "stopping");
  std::vector<Unit*> units;
  for (const auto& unit : units_) {
    units.push_back(unit.get());
  }
  for (const auto& unit : discarded_) {
    units.push_back(unit.get());
  }
  take_down(units);
  finish_services();
}

void Host::finish_services() {
  ops_.reset();
  watchdog_.reset();
  services_.workers.close();
  for (const auto& loop : loops_) {
    loop->stop();
  }
  // Before deinit: what is still posted is dropped here, and telling so is code of the plugins.
  loops_.clear();
  services_.spawner->close();
  libraries_.deinit_all();
  services_.log.host(LogLevel::kInfo, "stopped");
  services_.log.close();
}

Unit* Host::find_unit(const std::string& name) const {
  for (const auto& unit : units_) {
    if (unit->name() == name) {
      return unit.get();
    }
  }
  return nullptr;
}

}  // namespace cm::host
