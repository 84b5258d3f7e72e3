#include "host/services/unit.hpp"

#include <stdexcept>
#include <thread>

#include "host/services/config_access.hpp"
#include "host/services/events.hpp"
#include "host/services/http_calls.hpp"
#include "host/services/http_listeners.hpp"
#include "host/services/processes.hpp"
#include "host/services/registry.hpp"
#include "host/services/timers.hpp"
#include "host/services/websockets.hpp"
#include "host/services/workers.hpp"

namespace cm::host {

namespace {

InstanceOptions options_of(const config::InstanceConfig& config, config::LogLevel log_level) {
  InstanceOptions options;
  options.name = config.name;
  options.plugin_id = config.manifest->id;
  options.provides = config.manifest->provides;
  options.log_level = static_cast<LogLevel>(log_level);
  for (const std::string& id : config.manifest->host_tables) {
    const HostTable table = host_table_by_id(id);
    // A table is a permission: the plugin asked for it and the configuration granted it (anchors: rule 6).
    if (table != HostTable::kCount && config.granted(id)) {
      options.granted.set(static_cast<std::size_t>(table));
    }
  }
  return options;
}

std::int64_t ms_until(Deadline deadline) {
  const auto left = deadline - std::chrono::steady_clock::now();
  return std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::milliseconds>(left).count());
}

const std::atomic<bool> kNeverGiveUp{false};

}  // namespace

std::string status_text(cm_status status) {
  constexpr const char* kNames[] = {"ok",   "invalid", "unsupported", "denied", "busy",
                                    "gone", "io",      "internal",    "defer"};
  return status <= CM_DEFER ? kNames[status] : "unknown status " + std::to_string(status);
}

Unit::Unit(config::InstanceConfig config, config::LogLevel log_level, Services& services, LoopThread& loop_thread)
    : config_(std::move(config)),
      services_(services),
      loop_thread_(loop_thread),
      instance_(InstanceDirectory::create(options_of(config_, log_level), services, loop_thread)) {
  if (instance_ == nullptr) {
    throw std::runtime_error("this process has made " + std::to_string(cm::host::kInstancesMax) +
                             " instances, which is the limit; start it again");
  }
  if (config_.isolation.process) {
    isolated_ = make_isolated(config_, log_level, *instance_);
  }
}

Unit::~Unit() {
  instance_->retire();
}

std::optional<TicketBook::Answer> Unit::run_step(Step step, Deadline deadline, const std::atomic<bool>& give_up) {
  TicketBook& tickets = services_.tickets;
  const cm_handle ticket = tickets.issue(*instance_);
  loop_thread_.loop().post([this, ticket, &tickets, step = std::move(step)] {
    if (!step.even_late && !tickets.pending(ticket)) {
      return;
    }
    const cm_status status = step.run();
    if (tickets.answer(*instance_, ticket, status, instance_->take_error()) != CM_OK && step.undo) {
      step.undo();
    }
  });
  auto answer = tickets.wait(ticket, deadline, give_up);
  if (!answer.has_value()) {
    services_.counters.late_steps.fetch_add(1, std::memory_order_relaxed);
  }
  return answer;
}

void Unit::run_surely(const char* what, std::function<void()> run, Deadline deadline) {
  const auto step = [run = std::move(run)] {
    run();
    return cm_status{CM_OK};
  };
  if (!run_step({step, {}, true}, with_grace(deadline), kNeverGiveUp).has_value()) {
    services_.log.host(LogLevel::kWarn, "instance \"" + name() + "\" " + what +
                                            " as soon as its loop answers: " + loop_thread_.who_holds());
  }
}

std::string Unit::late_text(const char* limit, const std::atomic<bool>& give_up) const {
  if (give_up) {
    return "the host was told to stop meanwhile";
  }
  return "its loop did not answer within [host] " + std::string(limit) + ": " + loop_thread_.who_holds() +
         "; mend that plugin, or give it a loop of its own ([host] threads, and `loop` in its table)";
}

Deadline Unit::with_grace(Deadline deadline) const {
  const LoopWatch::Sample sample = loop_thread_.watch().sample();
  const std::int64_t held_ns = sample.since_ns == 0 ? 0 : net::Loop::now_ns() - sample.since_ns;
  return std::max(deadline, std::chrono::steady_clock::now() + std::chrono::nanoseconds(kCallStuckNs - held_ns));
}

Status Unit::answers(Deadline deadline, const std::atomic<bool>& give_up) {
  if (run_step({[] { return cm_status{CM_OK}; }, {}}, deadline, give_up).has_value()) {
    return {};
  }
  return make_error(ErrorCode::kBusy, "instance \"" + name() + "\": " + late_text("reload_timeout", give_up));
}

Status Unit::fail(const char* step, cm_status status, const std::string& text) {
  instance_->set_state(InstanceState::kFailed);
  const auto code =
      status >= CM_INVALID && status <= CM_INTERNAL ? static_cast<ErrorCode>(status) : ErrorCode::kInternal;
  return make_error(code, "instance \"" + name() + "\": " + step + " failed (" + status_text(status) +
                              "): " + (text.empty() ? "the plugin gave no reason" : text));
}

Status Unit::load(loader::PluginLibraries& libraries) {
  if (isolated_ != nullptr) {
    // The code is loaded by its own process, never by this one.
    if (Status good = check_isolated(config_); !good) {
      return fail("load", static_cast<cm_status>(good.error().code), good.error().message);
    }
    instance_->set_state(InstanceState::kLoaded);
    return {};
  }
  auto library = libraries.load(*config_.manifest, config_.sha256);
  if (!library) {
    return fail("load", static_cast<cm_status>(library.error().code), library.error().message);
  }
  library_ = std::move(library).value();
  instance_->set_state(InstanceState::kLoaded);
  return {};
}

bool Unit::table_complete() const {
  const cm_instance_table_v1* table = instance_->plugin_table;
  return instance_->plugin_object != nullptr && CM_HAS_FUNCTION(table, cm_instance_table_v1, destroy) &&
         table->stop != nullptr && table->destroy != nullptr;
}

cm_status Unit::call_create(const cm_host* host) {
  Instance& instance = *instance_;
  if (isolated_ != nullptr) {
    isolated_->create(host, &instance.plugin_object, &instance.plugin_table);
    return CM_OK;
  }
  return enter(instance, CallbackKind::kCreate,
               [&] { return library_->factory().create(host, &instance.plugin_object, &instance.plugin_table); });
}

cm_status Unit::create_on_loop() {
  Instance& instance = *instance_;
  instance.holdings = std::make_unique<Instance::Holdings>();
  Instance::Holdings& holdings = *instance.holdings;
  holdings.timers = std::make_unique<Timers>(instance);
  holdings.subscriptions = std::make_unique<EventSubscriptions>(instance);
  holdings.queues = std::make_unique<WorkerQueues>();
  holdings.references = std::make_unique<RegistryReferences>(instance);
  holdings.config = std::make_unique<ConfigAccess>(config_.options);
  holdings.http = std::make_unique<HttpListeners>(instance);
  holdings.calls = std::make_unique<HttpCalls>(instance);
  holdings.sockets = std::make_unique<WebSockets>(instance);
  holdings.processes = std::make_unique<Processes>(instance);
  cm_status status =
      call_create(instance.make_host_view(isolated_ != nullptr ? CM_ABI_VERSION_CURRENT : library_->abi_version()));
  if (status == CM_OK && !table_complete()) {
    instance.set_error("create answered OK without an object and a table that has at least stop and destroy");
    status = CM_INTERNAL;
  }
  if (status != CM_OK) {
    instance.plugin_object = nullptr;
  }
  return status;
}

Status Unit::create(Deadline deadline, const std::atomic<bool>& give_up) {
  const auto answer = run_step({[this] { return create_on_loop(); }, {}}, deadline, give_up);
  if (!answer.has_value()) {
    return fail("create", CM_BUSY, late_text("reload_timeout", give_up));
  }
  if (answer->status != CM_OK) {
    return fail("create", answer->status, answer->text);
  }
  instance_->set_state(InstanceState::kCreated);
  return {};
}

void Unit::set_staged() {
  instance_->set_staged(true);
}

void Unit::unstage(Deadline deadline) {
  instance_->set_staged(false);
  const auto accept = [this] {
    if (instance_->holdings != nullptr) {
      instance_->holdings->http->begin_accepting();
    }
  };
  run_surely("accepts connections", accept, deadline);
}

std::future<void> Unit::quiesce(std::uint64_t timeout_ms) {
  const auto quiet = std::make_shared<std::promise<void>>();
  loop_thread_.loop().post([this, timeout_ms, quiet] {
    if (instance_->holdings == nullptr) {
      quiet->set_value();
      return;
    }
    instance_->holdings->http->quiesce(timeout_ms, [quiet] { quiet->set_value(); });
  });
  return quiet->get_future();
}

cm_status Unit::configure_on_loop() {
  const cm_instance_table_v1* table = instance_->plugin_table;
  cm_status status = CM_OK;
  if (table->configure != nullptr) {
    status = enter(*instance_, CallbackKind::kConfigure, [&] { return table->configure(instance_->plugin_object); });
  }
  if (status == CM_OK) {
    publish_extensions();
  }
  return status;
}

Status Unit::configure(Deadline deadline, const std::atomic<bool>& give_up) {
  if (isolated_ != nullptr) {
    const Deadline ready =
        std::chrono::steady_clock::now() + std::chrono::milliseconds(isolation::kReadyTimeoutMs + 1'000);
    if (Status good = isolated_->configure(config_.options, std::min(ready, deadline)); !good) {
      return fail("configure", static_cast<cm_status>(good.error().code), good.error().message);
    }
  }
  const auto withdraw = [this] { services_.registry.withdraw(*instance_); };
  const auto answer = run_step({[this] { return configure_on_loop(); }, withdraw}, deadline, give_up);
  if (!answer.has_value()) {
    return fail("configure", CM_BUSY, late_text("reload_timeout", give_up));
  }
  if (answer->status != CM_OK) {
    return fail("configure", answer->status, answer->text);
  }
  instance_->set_state(InstanceState::kConfigured);
  return {};
}

void Unit::publish_extensions() {
  const cm_instance_table_v1* table = instance_->plugin_table;
  for (const std::string& id : instance_->provides()) {
    const void* extension = nullptr;
    if (CM_HAS_FUNCTION(table, cm_instance_table_v1, get_extension) && table->get_extension != nullptr) {
      extension = enter(*instance_, CallbackKind::kGetExtension,
                        [&] { return table->get_extension(instance_->plugin_object, id.c_str()); });
    }
    if (extension == nullptr) {
      instance_->misbehaved("its manifest promises the extension " + id + ", but get_extension answers null");
      continue;
    }
    services_.registry.publish(*instance_, id, instance_->plugin_object, extension);
  }
}

Status Unit::start(Deadline deadline, const std::atomic<bool>& give_up) {
  const cm_handle ticket = services_.tickets.issue(*instance_);
  const auto run = [this, ticket] {
    const cm_instance_table_v1* table = instance_->plugin_table;
    return table->start == nullptr ? CM_OK : enter(*instance_, CallbackKind::kStart, [&] {
      return table->start(instance_->plugin_object, ticket);
    });
  };
  auto answer = run_step({run, {}}, deadline, give_up);
  if (!answer.has_value()) {
    services_.tickets.withdraw(ticket);
    return fail("start", CM_BUSY, late_text("start_timeout", give_up));
  }
  if (answer->status == CM_DEFER) {
    answer = services_.tickets.wait(ticket, deadline, give_up);
    if (!answer.has_value()) {
      return fail("start", CM_BUSY,
                  give_up ? "the host was told to stop meanwhile"
                          : "it was not complete within [host] start_timeout; see what the plugin waits for in its log "
                            "lines, or raise the time-out");
    }
    answer->text = answer->text.empty() ? instance_->take_error() : std::move(answer->text);
  } else {
    services_.tickets.withdraw(ticket);
  }
  if (answer->status != CM_OK) {
    return fail("start", answer->status, answer->text);
  }
  instance_->set_state(InstanceState::kStarted);
  return {};
}

void Unit::drain(Deadline deadline, const std::atomic<bool>& give_up) {
  instance_->set_state(InstanceState::kDraining);
  const cm_handle ticket = services_.tickets.issue(*instance_);
  const auto run = [this, ticket, deadline] {
    const cm_instance_table_v1* table = instance_->plugin_table;
    return table->drain == nullptr ? CM_OK : enter(*instance_, CallbackKind::kDrain, [&] {
      return table->drain(instance_->plugin_object, ticket, static_cast<std::uint64_t>(ms_until(deadline)));
    });
  };
  // Without time to drain, the call itself is waited for all the same.
  auto answer = run_step({run, {}, true}, with_grace(deadline), give_up ? kNeverGiveUp : give_up);
  if (!answer.has_value()) {
    answer = {CM_BUSY, late_text("drain_timeout", kNeverGiveUp)};
  } else if (answer->status == CM_DEFER) {
    answer = services_.tickets.wait(ticket, deadline, give_up);
    if (!answer.has_value()) {
      answer = {CM_BUSY, "not finished within the drain time-out; what was in flight is cut off"};
    } else {
      instance_->set_error(answer->text);
    }
  }
  services_.tickets.withdraw(ticket);
  if (answer->status != CM_OK) {
    services_.log.host(LogLevel::kWarn, "instance \"" + name() + "\": drain failed (" + status_text(answer->status) +
                                            "): " + answer->text);
  }
}

void Unit::silence() {
  instance_->close();
  if (instance_->holdings == nullptr) {
    return;
  }
  Instance::Holdings& holdings = *instance_->holdings;
  holdings.timers->silence();
  holdings.subscriptions->silence();
  holdings.calls->silence();
  holdings.sockets->silence();
  holdings.processes->silence();
  holdings.http->silence();
}

void Unit::stop() {
  services_.registry.withdraw(*instance_);
  loop_thread_.run_sync([this] {
    enter(*instance_, CallbackKind::kStop, [this] { instance_->plugin_table->stop(instance_->plugin_object); });
    if (isolated_ == nullptr) {
      silence();
    }
  });
  if (isolated_ != nullptr) {
    // While its process stops, it may still give back and close what it holds.
    wait_isolated_gone();
    loop_thread_.run_sync([this] { silence(); });
  }
  instance_->set_state(InstanceState::kStopped);
}

void Unit::wait_isolated_gone() {
  if (isolated_ != nullptr && instance_->plugin_object != nullptr) {
    isolated_->wait_gone(std::chrono::steady_clock::now() + std::chrono::milliseconds(isolation::kStopTimeoutMs + 500));
  }
}

void Unit::destroy() {
  services_.registry.withdraw(*instance_);
  wait_isolated_gone();
  loop_thread_.run_sync([this] { silence(); });
  loop_thread_.settle();
  // A thread that was let in before the instance closed needs some nanoseconds to leave.
  while (!instance_->gate_empty()) {
    std::this_thread::yield();
  }
  std::uint32_t queues_left = 0;
  if (instance_->holdings != nullptr) {
    queues_left = instance_->holdings->queues->finish();
  }
  wait_for_jobs(*instance_);
  loop_thread_.run_sync([this, queues_left] {
    if (instance_->plugin_object != nullptr) {
      enter(*instance_, CallbackKind::kDestroy, [this] { instance_->plugin_table->destroy(instance_->plugin_object); });
      instance_->plugin_object = nullptr;
    }
    report_left_behind(queues_left);
    instance_->holdings.reset();
  });
  instance_->set_state(InstanceState::kDestroyed);
}

void Unit::report_left_behind(std::uint32_t queues_left) {
  instance_->tell_dropped_lines();
  std::string text;
  const auto add = [&text](std::uint32_t count, const char* what) {
    if (count != 0) {
      text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + what;
    }
  };
  if (instance_->holdings != nullptr) {
    const Instance::Holdings& holdings = *instance_->holdings;
    add(holdings.timers->size(), "timers");
    add(holdings.sockets->left_open(), "sockets");
    add(holdings.http->size(), "listeners");
    add(holdings.calls->size(), "HTTP calls");
    add(holdings.processes->left_alive(), "child processes");
    add(holdings.subscriptions->size(), "subscriptions");
    add(holdings.references->size(), "registry references");
  }
  add(queues_left, "worker queues");
  add(services_.buffers.free_owned_by(instance_->number()), "buffers");
  if (!text.empty()) {
    instance_->misbehaved("left behind at destroy and freed by the host: " + text +
                          "; release them in stop or destroy");
  }
}

bool Unit::can_reload() const noexcept {
  if (isolated_ != nullptr) {
    return isolated_->can_reload();
  }
  const cm_instance_table_v1* table = instance_->plugin_table;
  return CM_HAS_FUNCTION(table, cm_instance_table_v1, reload_finish) && table->reload_prepare != nullptr &&
         table->reload_finish != nullptr;
}

Status Unit::reload_prepare(const config::ValidatedOptions& options, Deadline deadline,
                            const std::atomic<bool>& give_up) {
  if (isolated_ != nullptr) {
    if (Status held = answers(deadline, give_up); !held) {
      return held;
    }
    const Deadline ready = std::chrono::steady_clock::now() + std::chrono::milliseconds(isolation::kReadyTimeoutMs);
    prepared_ = true;  // even without an answer: its process must forget them
    Status good = isolated_->reload_prepare(options, std::min(ready, deadline));
    return good ? good : refused_options(static_cast<cm_status>(good.error().code), good.error().message);
  }
  const auto run = [this, options] {
    instance_->holdings->config->set_candidate(options);
    return enter(*instance_, CallbackKind::kReloadPrepare,
                 [this] { return instance_->plugin_table->reload_prepare(instance_->plugin_object); });
  };
  const auto answer = run_step({run, [this] { finish_on_loop(false); }}, deadline, give_up);
  if (!answer.has_value()) {
    return make_error(ErrorCode::kBusy, "instance \"" + name() + "\" was asked about its new options, and " +
                                            late_text("reload_timeout", give_up));
  }
  prepared_ = true;
  return answer->status == CM_OK ? Status() : refused_options(answer->status, answer->text);
}

Status Unit::refused_options(cm_status status, const std::string& text) const {
  const auto code = status <= CM_INTERNAL ? static_cast<ErrorCode>(status) : ErrorCode::kInternal;
  return make_error(code, "instance \"" + name() + "\" refuses the new options (" + status_text(status) + "): " + text);
}

void Unit::finish_on_loop(bool commit) {
  if (isolated_ != nullptr) {
    isolated_->reload_finish(commit);
    return;
  }
  enter(*instance_, CallbackKind::kReloadFinish,
        [this, commit] { instance_->plugin_table->reload_finish(instance_->plugin_object, commit); });
  instance_->holdings->config->finish(commit);
}

void Unit::reload_finish(bool commit, Deadline deadline) {
  if (std::exchange(prepared_, false)) {
    run_surely(
        commit ? "uses its new options" : "forgets the new options", [this, commit] { finish_on_loop(commit); },
        deadline);
  }
}

void Unit::tell_going_away(const Instance& provider) {
  loop_thread_.run_sync([this, &provider] {
    if (instance_->holdings != nullptr && instance_->open()) {
      instance_->holdings->references->provider_going_away(provider);
    }
  });
}

}  // namespace cm::host
