// The life of the children of one isolated plugin: made, watched, ended, made again.
#include <sodium.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <claudemesh/cpp/text.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "host/isolation/child.hpp"
#include "host/isolation/isolated_plugin.hpp"
#include "host/isolation/options_codec.hpp"
#include "sdk/tools/options.hpp"

namespace cm::isolation {

namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kCpuWindowNs = 60 * kNsPerSecond;
constexpr std::string_view kClosed = "it closed its connection to the host";

// Memory of its own: what is resident and not shared with others. 0 when it cannot be read.
std::uint64_t private_memory_bytes(pid_t pid) {
  const std::string name = "/proc/" + std::to_string(pid) + "/statm";
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(name.c_str(), "re"), &std::fclose);
  unsigned long total = 0;
  unsigned long resident = 0;
  unsigned long shared = 0;
  if (file == nullptr || std::fscanf(file.get(), "%lu %lu %lu", &total, &resident, &shared) != 3) {
    return 0;
  }
  return static_cast<std::uint64_t>(resident > shared ? resident - shared : 0) *
         static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::int64_t cpu_time_ns(pid_t pid) {
  clockid_t clock = 0;
  timespec used{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &used) != 0) {
    return 0;
  }
  return static_cast<std::int64_t>(used.tv_sec) * kNsPerSecond + used.tv_nsec;
}

// Between three quarters and five quarters, so that several plugins that failed together do not come back together.
std::uint64_t with_jitter(std::uint64_t delay_ms) {
  return delay_ms * 3 / 4 + randombytes_uniform(static_cast<std::uint32_t>(delay_ms / 2 + 1));
}

}  // namespace

// --- made ------------------------------------------------------------------------------------------------------------

Status IsolatedPlugin::make_child() {
  Result<SharedMemory> memory = SharedMemory::make();
  if (!memory) {
    return std::move(memory).error();
  }
  int sockets[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    return make_error(ErrorCode::kIo, std::string("no socket pair for a plugin's process: ") + std::strerror(errno));
  }
  Descriptor of_child(sockets[1]);
  auto channel = std::make_unique<Channel>(Descriptor(sockets[0]), std::move(memory).value(), Side::kHost);
  Session::Handlers handlers;
  handlers.on_frame = [this](Frame& frame) { on_frame(frame); };
  handlers.on_broken = [this](std::string reason) {
    if (reason == kClosed) {
      // It is about to end, or pretends to be: its exit status tells.
      Spawner::instance().kill(child_->process);
      return;
    }
    end_child("it sent " + reason, counters_.garbage);
  };
  handlers.on_throttled = [this] { counters_.throttled.fetch_add(1, std::memory_order_relaxed); };
  auto child = std::make_unique<Child>(*this, ++generation_, std::move(channel), std::move(handlers));
  if (Status opened = child->session.open(); !opened) {
    return std::move(opened).error();
  }
  child_ = std::move(child);
  request_spawn(std::move(of_child));
  return {};
}

void IsolatedPlugin::request_spawn(Descriptor socket) {
  SpawnRequest request;
  request.name = options_.name;
  request.socket = std::move(socket);
  request.memory_fd = child_->session.memory().fd();
  const std::uint64_t generation = child_->generation;
  // Both come on the spawner's thread; the plugin may be gone by then.
  request.spawned = [anchor = anchor_, generation](Result<pid_t> pid) {
    const std::lock_guard lock(anchor->mutex);
    if (IsolatedPlugin* plugin = anchor->plugin; plugin != nullptr) {
      plugin->run_on_loop([plugin, generation, pid] { plugin->on_spawned(generation, pid); });
    }
  };
  request.exited = [anchor = anchor_, generation](ExitStatus exit) {
    const std::lock_guard lock(anchor->mutex);
    if (IsolatedPlugin* plugin = anchor->plugin; plugin != nullptr) {
      plugin->run_on_loop([plugin, generation, exit] { plugin->on_exited(generation, exit); });
    }
  };
  child_->process = Spawner::instance().spawn(std::move(request));
}

// Once for each instance, with its first child: what a later one may open is the same.
void IsolatedPlugin::tell_confinement() {
  const std::vector<config::FileGrant>& files = options_.settings.files;
  if (landlock_version_ == kLandlockNone) {
    host_side_->log(CM_LOG_WARN,
                    "its process may open every file that the user of the host may: this kernel offers no Landlock; "
                    "expected Linux 5.13 or later with \"landlock\" in /sys/kernel/security/lsm");
    return;
  }
  for (const config::FileGrant& grant : files) {
    if (std::error_code ignored; !std::filesystem::exists(grant.path, ignored)) {
      host_side_->log(CM_LOG_WARN,
                      grant.key + ": found no " + grant.path.string() +
                          ", so its process may not make it; expected an existing file or folder; make it, "
                          "or list its folder in isolation_write, and restart");
    }
  }
}

void IsolatedPlugin::spawn() {
  if (generation_ == 0) {
    tell_confinement();
  }
  if (Status made = make_child(); !made) {
    set_phase(Phase::kConfiguring);
    fail_steps(made.error().message);
    return;
  }
  child_->ready_by_ns = net::Loop::now_ns() + static_cast<std::int64_t>(kReadyTimeoutMs) * kNsPerMs;
  set_phase(Phase::kConfiguring);
  send_create();
}

void IsolatedPlugin::send_create() {
  const config::Manifest& manifest = *options_.manifest;
  const config::IsolationSettings& settings = options_.settings;
  std::vector<config::FileGrant> files = base_grants(manifest.file, settings.network);
  files.insert(files.end(), settings.files.begin(), settings.files.end());
  child_->session.send(Method::kCreate, 0, [&](FrameWriter& writer) {
    writer.text(options_.name);
    writer.u64(host_->self);
    writer.u32(static_cast<std::uint32_t>(::getpid()));
    writer.u32(options_.log_level);
    writer.bytes(manifest.file.string());
    writer.text(manifest.id);
    writer.text(options_.sha256);
    writer.u64(settings.memory_bytes_max);
    writer.u64(settings.file_bytes_max);
    writer.u32(settings.descriptors_max);
    writer.boolean(settings.network);
    writer.u32(static_cast<std::uint32_t>(landlock_version_));
    writer.u32(static_cast<std::uint32_t>(files.size()));
    for (const config::FileGrant& grant : files) {
      writer.bytes(grant.path.string());
      writer.boolean(grant.write);
    }
    for (const auto& ids : {options_.tables, manifest.provides}) {
      writer.u32(static_cast<std::uint32_t>(ids.size()));
      for (const std::string& id : ids) {
        writer.text(id);
      }
    }
    write_options(writer, *active_);
  });
}

void IsolatedPlugin::on_spawned(std::uint64_t generation, Result<pid_t> pid) {
  if (child_ == nullptr || child_->generation != generation) {
    return;
  }
  if (!pid) {
    child_->ended_because = pid.error().message;
    child_gone(nullptr);
    return;
  }
  child_->pid = *pid;
  child_->session.memory().close_fd();
  child_->cpu_window_ns = net::Loop::now_ns();
  set_phase(phase_);
}

// --- what it says of its life ----------------------------------------------------------------------------------------

void IsolatedPlugin::on_frame(Frame& frame) {
  switch (frame.method) {
    case Method::kReady:
    case Method::kPong:
      child_->answers_pings = true;
      child_->last_pong_ns = net::Loop::now_ns();
      return;
    case Method::kCreated:
      on_created(frame);
      return;
    case Method::kStepDone:
      on_step_done(frame);
      return;
    case Method::kHookDone:
      hook_.on_done(frame);
      return;
    case Method::kMisbehaved: {
      FrameReader reader(frame);
      const std::string_view text = reader.text();
      host_side_->misbehaved(reader.done() ? text : "it reports a breach of the contract that cannot be read");
      return;
    }
    default:
      break;
  }
  Child& child = *child_;
  if (!child.basic.handle(frame) && !child.http.handle(frame) && !child.sockets.handle(frame) &&
      !child.registry.handle(frame) && !transport_.handle(frame) && !bridge_.handle(frame, child.session)) {
    child.session.garbage("a frame that only the host may send");
  }
}

void IsolatedPlugin::on_created(const Frame& frame) {
  FrameReader reader(frame);
  const cm_status status = reader.u32();
  const std::string text(reader.text());
  const bool can_reload = reader.boolean();
  const bool hook = reader.boolean();
  const std::uint32_t kind = reader.u32();
  const auto order = static_cast<std::int32_t>(reader.u32());
  const std::uint32_t timeout_ms = reader.u32();
  const bool transport = reader.boolean();
  const std::string_view transport_name = reader.text();
  const bool bridge = reader.boolean();
  const std::string_view network = reader.text();
  if (!reader.done() || phase_ != Phase::kConfiguring) {
    child_->session.garbage("facts about itself that cannot be read");
    return;
  }
  if (status != CM_OK) {
    // Its end follows, and then the reason is told.
    end_child(text.empty() ? "create or configure failed and gave no reason" : text, counters_.crashes);
    return;
  }
  if (!was_running_) {
    // Those who use it have seen the facts of the first child; a later one cannot change them.
    provides_hook_ = hook;
    hook_.set_facts(kind, order, timeout_ms);
    provides_transport_ = transport;
    transport_.set_facts(transport_name);
    provides_bridge_ = bridge;
    bridge_.set_facts(network);
    const std::lock_guard lock(mutex_);
    can_reload_ = can_reload;
  }
  set_phase(Phase::kConfigured);
  give_answer(CM_OK, {});
  if (was_running_) {
    child_->session.send(Method::kStart);
    set_phase(Phase::kStarting);
  } else {
    child_->ready_by_ns = 0;
  }
}

void IsolatedPlugin::on_step_done(const Frame& frame) {
  FrameReader reader(frame);
  const auto step = static_cast<Step>(reader.u32());
  const cm_status status = reader.u32();
  const std::string text(reader.text());
  if (!reader.done() || status >= CM_DEFER) {
    child_->session.garbage("the end of a step that cannot be read");
  } else if (step == Step::kStart && phase_ == Phase::kStarting) {
    on_started(status, text);
  } else if (step == Step::kDrain && phase_ == Phase::kDraining) {
    host_->complete(host_->self, std::exchange(step_ticket_, CM_NO_HANDLE), status, to_pview(text));
  } else if (step == Step::kReloadPrepare && frame.call == prepare_call_) {
    give_answer(status, text);  // one that was not waited for any more says nothing about the next
  }
}

void IsolatedPlugin::on_started(cm_status status, const std::string& text) {
  if (status != CM_OK && was_running_) {
    end_child("its start failed: " + text, counters_.crashes);
    return;
  }
  child_->ready_by_ns = 0;
  if (status == CM_OK) {
    was_running_ = true;
    set_phase(Phase::kRunning);
    host_side_->set_degraded(false);
    hook_.attach(&child_->session);
    transport_.attach(&child_->session);
    bridge_.attach(&child_->session);
  }
  if (step_ticket_ != CM_NO_HANDLE) {
    host_->complete(host_->self, std::exchange(step_ticket_, CM_NO_HANDLE), status, to_pview(text));
  } else {
    host_side_->log(CM_LOG_INFO, "its process " + std::to_string(child_->pid) + " runs");
  }
}

// --- watched ---------------------------------------------------------------------------------------------------------

void IsolatedPlugin::arm_heartbeat() {
  const std::uint64_t period_ms = std::clamp<std::uint64_t>(options_.settings.hang_timeout_ms / 4, 10, kHeartbeatMs);
  heartbeat_timer_ = host_side_->loop().start_timer_after_ms(period_ms, [this] {
    on_heartbeat();
    arm_heartbeat();
  });
}

void IsolatedPlugin::on_heartbeat() {
  hook_.sweep();
  if (child_ == nullptr || !child_->ended_because.empty()) {
    return;
  }
  const std::int64_t now_ns = net::Loop::now_ns();
  if (child_->answers_pings) {
    child_->session.send(Method::kPing);
  }
  if (now_ns - child_->last_second_ns >= kNsPerSecond) {
    child_->last_second_ns = now_ns;
    child_->basic.each_second();
  }
  check_child(now_ns);
}

void IsolatedPlugin::check_child(std::int64_t now_ns) {
  const config::IsolationSettings& settings = options_.settings;
  const auto hang_ns = static_cast<std::int64_t>(settings.hang_timeout_ms) * kNsPerMs;
  if (child_->answers_pings && now_ns - child_->last_pong_ns > hang_ns) {
    end_child("it gave no sign of life for " + std::to_string(settings.hang_timeout_ms) + " ms", counters_.hangs);
    return;
  }
  if (child_->ready_by_ns != 0 && now_ns > child_->ready_by_ns) {
    end_child("it was not ready within " + std::to_string(kReadyTimeoutMs / 1000) + " s", counters_.hangs);
    return;
  }
  if (child_->pid == 0) {
    return;
  }
  const std::uint64_t memory = private_memory_bytes(child_->pid);
  if (memory > settings.memory_bytes_max) {
    end_child("it used " + std::to_string(memory >> 20) + " MiB of memory, more than its isolation_memory_max",
              counters_.overuses);
    return;
  }
  if (settings.cpu_seconds_max == 0) {
    return;
  }
  const std::int64_t used_ns = cpu_time_ns(child_->pid);
  if (used_ns - child_->cpu_used_ns > settings.cpu_seconds_max * kNsPerSecond) {
    end_child("it used more than its " + std::to_string(settings.cpu_seconds_max) + " s of processor time in a minute",
              counters_.overuses);
  } else if (now_ns - child_->cpu_window_ns > kCpuWindowNs) {
    child_->cpu_window_ns = now_ns;
    child_->cpu_used_ns = used_ns;
  }
}

// --- ended -----------------------------------------------------------------------------------------------------------

void IsolatedPlugin::end_child(std::string reason, std::atomic<std::uint64_t>& counter) {
  if (child_->ended_because.empty()) {
    counter.fetch_add(1, std::memory_order_relaxed);
    child_->ended_because = std::move(reason);
    Spawner::instance().kill(child_->process);
  }
}

void IsolatedPlugin::on_exited(std::uint64_t generation, ExitStatus exit) {
  if (child_ != nullptr && child_->generation == generation) {
    child_gone(&exit);
  }
}

void IsolatedPlugin::child_gone(const ExitStatus* exit) {
  child_->session.drain();
  const bool ended_by_host = !child_->ended_because.empty();
  std::string reason = ended_by_host ? child_->ended_because : exit->text();
  const auto callback = static_cast<Callback>(child_->session.memory().callback().load(std::memory_order_relaxed));
  const std::string callback_text = callback_name(callback);
  const pid_t pid = child_->pid;
  const Phase phase = phase_;
  host_side_->enter([this] {
    phase_ = phase_ == Phase::kStopping ? phase_ : Phase::kDown;  // others who are told now may ask back at once
    hook_.detach();
    transport_.detach();
    bridge_.detach();
    child_->basic.release_all();
    child_->http.release_all();
    child_->sockets.release_all();
    child_->registry.release_all();
  });
  child_.reset();
  if (phase == Phase::kStopping) {
    if (ended_by_host || exit->signalled || exit->value != 0) {
      host_side_->log(CM_LOG_WARN, "its process " + std::to_string(pid) + " did not end in order: " + reason);
    }
    set_phase(Phase::kGone);
    return;
  }
  if (!ended_by_host) {
    counters_.crashes.fetch_add(1, std::memory_order_relaxed);
    reason = "its process " + std::to_string(pid) + " ended with " + reason;
  }
  if (callback != Callback::kNone) {
    reason += ", in the callback " + callback_text;
  }
  phase_ = phase;
  if (was_running_ && phase != Phase::kDraining) {
    plan_restart(reason, callback_text);
  } else {
    fail_steps(reason);
  }
}

// A first child that fails is a step of the host that fails, as in process.
void IsolatedPlugin::fail_steps(const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    last_failure_ = reason;
  }
  if (was_running_ && phase_ != Phase::kDraining) {
    plan_restart(reason, callback_name(Callback::kNone));
    return;
  }
  set_phase(Phase::kGone);
  if (step_ticket_ != CM_NO_HANDLE) {
    host_->complete(host_->self, std::exchange(step_ticket_, CM_NO_HANDLE), CM_IO, to_pview(reason));
  }
  give_answer(CM_IO, reason);
}

std::string IsolatedPlugin::failure_json(const std::string& reason, const std::string& callback) const {
  return "{\"instance\":" + options::json_quote(options_.name) +
         ",\"plugin\":" + options::json_quote(options_.manifest->id) + ",\"reason\":" + options::json_quote(reason) +
         ",\"callback\":" + options::json_quote(callback) +
         ",\"restarts\":" + std::to_string(counters_.restarts.load(std::memory_order_relaxed)) + "}";
}

void IsolatedPlugin::plan_restart(const std::string& reason, const std::string& callback) {
  {
    const std::lock_guard lock(mutex_);
    last_failure_ = reason;
  }
  give_answer(CM_IO, reason);  // of a reload that was being prepared
  host_side_->set_degraded(true);
  host_side_->publish("plugin.crashed", failure_json(reason, callback));
  const std::int64_t now_ns = net::Loop::now_ns();
  const config::IsolationSettings& settings = options_.settings;
  failures_ns_.push_back(now_ns);
  const auto window_ns = static_cast<std::int64_t>(settings.failure_window_ms) * kNsPerMs;
  while (now_ns - failures_ns_.front() > window_ns) {
    failures_ns_.pop_front();
  }
  if (failures_ns_.size() >= settings.failures_max) {
    quarantine(reason);
    return;
  }
  const std::size_t doublings = std::min<std::size_t>(failures_ns_.size() - 1, 16);
  const std::uint64_t delay_ms = with_jitter(std::min(settings.restart_delay_ms << doublings, kRestartDelayMaxMs));
  host_side_->log(CM_LOG_ERROR, reason + "; it is started again in " + std::to_string(delay_ms) + " ms (failure " +
                                    std::to_string(failures_ns_.size()) + ", quarantine after " +
                                    std::to_string(settings.failures_max) + ")");
  set_phase(Phase::kDown);
  restart_timer_ = host_side_->loop().start_timer_after_ms(delay_ms, [this] {
    restart_timer_ = net::TimerId::kNone;
    counters_.restarts.fetch_add(1, std::memory_order_relaxed);
    spawn();
  });
}

void IsolatedPlugin::quarantine(const std::string& reason) {
  counters_.quarantines.fetch_add(1, std::memory_order_relaxed);
  host_side_->log(CM_LOG_ERROR, reason + "; that was failure " + std::to_string(failures_ns_.size()) +
                                    ", so it is in quarantine: correct the cause and reload the host");
  set_phase(Phase::kQuarantined);
  host_side_->publish("plugin.quarantined", failure_json(reason, {}));
}

}  // namespace cm::isolation
