#include "host/isolation/isolated_plugin.hpp"

#include <claudemesh/cpp/text.hpp>

#include <cstring>

#include "host/isolation/child.hpp"
#include "host/isolation/options_codec.hpp"

namespace cm::isolation {

namespace {

constexpr const char* kPhaseNames[] = {"idle",     "configuring", "configured", "starting",    "running",
                                       "draining", "stopping",    "restarting", "quarantined", "gone"};

IsolatedPlugin* of(cm_instance* instance) {
  return reinterpret_cast<IsolatedPlugin*>(instance);
}

// The life of the plugin's own object is the child's; the host's Unit owns the IsolatedPlugin, so destroy does nothing.
// Configure and the reload steps wait for the child, which only the control thread may do: they are no part of this.
constexpr cm_instance_table_v1 kTable = {
    sizeof(cm_instance_table_v1),
    0,
    nullptr,
    [](cm_instance* self, cm_handle ticket) noexcept { return of(self)->start(ticket); },
    [](cm_instance* self, cm_handle ticket, std::uint64_t deadline_ms) noexcept {
      return of(self)->drain(ticket, deadline_ms);
    },
    [](cm_instance* self) noexcept { of(self)->stop(); },
    [](cm_instance*) noexcept {},
    [](cm_instance* self, const char* id) noexcept { return of(self)->extension(id); },
    nullptr,
    nullptr};

}  // namespace

const char* phase_name(Phase phase) noexcept {
  return kPhaseNames[static_cast<std::size_t>(phase)];
}

IsolatedPlugin::IsolatedPlugin(IsolatedPluginOptions options, std::unique_ptr<HostSide> host_side)
    : options_(std::move(options)), host_side_(std::move(host_side)), bridge_(*host_side_) {
  anchor_->plugin = this;
}

IsolatedPlugin::~IsolatedPlugin() {
  const std::lock_guard lock(anchor_->mutex);
  anchor_->plugin = nullptr;
}

void IsolatedPlugin::set_phase(Phase phase) {
  phase_ = phase;
  const std::lock_guard lock(mutex_);
  shown_phase_ = phase;
  shown_pid_ = child_ == nullptr ? 0 : child_->pid;
  changed_.notify_all();
}

IsolationStatus IsolatedPlugin::status() const {
  IsolationStatus status;
  const auto read = [](const std::atomic<std::uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
  status.restarts = read(counters_.restarts);
  status.crashes = read(counters_.crashes);
  status.hangs = read(counters_.hangs);
  status.overuses = read(counters_.overuses);
  status.garbage = read(counters_.garbage);
  status.quarantines = read(counters_.quarantines);
  status.throttled = read(counters_.throttled);
  status.log_lines_dropped = read(counters_.log_lines_dropped);
  status.files_confined = landlock_version_ != kLandlockNone;
  const std::lock_guard lock(mutex_);
  status.phase = shown_phase_;
  status.pid = shown_pid_;
  status.last_failure = last_failure_;
  return status;
}

// --- the control thread waits ----------------------------------------------------------------------------------------

std::optional<IsolatedPlugin::Answer> IsolatedPlugin::wait_answer(Deadline deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this] { return answer_.has_value(); });
  answer_wanted_ = false;
  return std::exchange(answer_, std::nullopt);
}

void IsolatedPlugin::give_answer(cm_status status, std::string text) {
  const std::lock_guard lock(mutex_);
  if (std::exchange(answer_wanted_, false)) {
    answer_ = Answer{status, std::move(text)};
    changed_.notify_all();
  }
}

void IsolatedPlugin::run_on_loop(std::function<void()> function) {
  host_side_->loop().post([function = std::move(function)] { function(); });
}

void IsolatedPlugin::create(const cm_host* host, cm_instance** out_object, const cm_instance_table_v1** out_table) {
  host_ = host;
  *out_object = reinterpret_cast<cm_instance*>(this);
  *out_table = &kTable;
}

namespace {

Status status_of(cm_status status, std::string text) {
  return status == CM_OK ? Status() : Status(error_from_status(status, std::move(text)));
}

}  // namespace

Status IsolatedPlugin::configure(const config::ValidatedOptions& options, Deadline deadline) {
  {
    const std::lock_guard lock(mutex_);
    answer_wanted_ = true;
  }
  run_on_loop([this, options] {
    active_ = options;
    spawn();
    arm_heartbeat();
  });
  std::optional<Answer> answer = wait_answer(deadline);
  if (!answer.has_value()) {
    return make_error(ErrorCode::kBusy, "its process was not ready in time; see its log lines");
  }
  return status_of(answer->status, std::move(answer->text));
}

bool IsolatedPlugin::can_reload() const {
  const std::lock_guard lock(mutex_);
  return can_reload_;
}

Status IsolatedPlugin::reload_prepare(const config::ValidatedOptions& options, Deadline deadline) {
  {
    const std::lock_guard lock(mutex_);
    answer_wanted_ = true;
  }
  run_on_loop([this, options] {
    candidate_ = options;
    if (phase_ != Phase::kRunning) {
      // Between two children the new options need no consent: the next child gets them, or refuses to start.
      give_answer(CM_OK, {});
      return;
    }
    prepare_call_ = child_->session.next_call();
    child_->session.send(Method::kReloadPrepare, prepare_call_,
                         [&](FrameWriter& writer) { write_options(writer, *candidate_); });
  });
  std::optional<Answer> answer = wait_answer(deadline);
  if (!answer.has_value()) {
    return make_error(ErrorCode::kBusy, "its process did not answer in time");
  }
  return status_of(answer->status, std::move(answer->text));
}

void IsolatedPlugin::wait_gone(Deadline deadline) {
  run_on_loop([this] {
    host_side_->loop().cancel_timer(restart_timer_);
    host_side_->loop().cancel_timer(heartbeat_timer_);
    if (child_ == nullptr) {
      set_phase(Phase::kGone);
    } else if (phase_ != Phase::kStopping) {
      set_phase(Phase::kStopping);
      Spawner::instance().kill(child_->process);  // it failed before it was started: there is nothing to stop
    }
  });
  std::unique_lock lock(mutex_);
  const auto gone = [this] { return shown_phase_ == Phase::kGone; };
  if (changed_.wait_until(lock, deadline, gone)) {
    return;
  }
  lock.unlock();
  run_on_loop([this] {
    if (child_ != nullptr) {
      Spawner::instance().kill(child_->process);
    }
  });
  lock.lock();
  // Only a process that hangs in the kernel is not gone at once; the anchor keeps its end from reaching this object.
  changed_.wait_for(lock, std::chrono::milliseconds(kStopTimeoutMs), gone);
}

void IsolatedPlugin::release_quarantine() {
  run_on_loop([this] {
    if (phase_ == Phase::kQuarantined) {
      failures_ns_.clear();
      counters_.restarts.fetch_add(1, std::memory_order_relaxed);
      spawn();
    }
  });
}

// --- the tables ------------------------------------------------------------------------------------------------------

cm_status IsolatedPlugin::start(cm_handle ticket) {
  if (phase_ != Phase::kConfigured) {
    const std::string text = "its process has ended before the start: " + status().last_failure;
    host_->set_error(host_->self, to_pview(text));
    return CM_IO;
  }
  step_ticket_ = ticket;
  child_->session.send(Method::kStart);
  set_phase(Phase::kStarting);
  return CM_DEFER;
}

cm_status IsolatedPlugin::drain(cm_handle ticket, std::uint64_t deadline_ms) {
  if (phase_ != Phase::kRunning) {
    return CM_OK;  // nothing is in flight between two children
  }
  step_ticket_ = ticket;
  child_->session.send(Method::kDrain, 0, [deadline_ms](FrameWriter& writer) { writer.u64(deadline_ms); });
  set_phase(Phase::kDraining);
  return CM_DEFER;
}

void IsolatedPlugin::stop() {
  host_side_->loop().cancel_timer(restart_timer_);
  host_side_->loop().cancel_timer(heartbeat_timer_);
  if (child_ == nullptr) {
    set_phase(Phase::kGone);
    return;
  }
  set_phase(Phase::kStopping);
  child_->session.send(Method::kStop);
  Spawner::instance().kill_at(child_->process,
                              std::chrono::steady_clock::now() + std::chrono::milliseconds(kStopTimeoutMs));
}

void IsolatedPlugin::reload_finish(bool commit) {
  if (commit && candidate_.has_value()) {
    active_ = std::move(candidate_);
  }
  candidate_.reset();
  if (phase_ == Phase::kRunning) {
    child_->session.send(Method::kReloadFinish, 0, [commit](FrameWriter& writer) { writer.boolean(commit); });
  }
}

const void* IsolatedPlugin::extension(std::string_view id) const {
  if (id == CM_HOOK_ID && provides_hook_) {
    return hook_.table();
  }
  if (id == CM_TRANSPORT_ID && provides_transport_) {
    return transport_.table();
  }
  return id == CM_BRIDGE_ID && provides_bridge_ ? bridge_.table() : nullptr;
}

}  // namespace cm::isolation
