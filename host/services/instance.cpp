#include "host/services/instance.hpp"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "host/services/config_access.hpp"
#include "host/services/events.hpp"
#include "host/services/host_view.hpp"
#include "host/services/http_calls.hpp"
#include "host/services/http_listeners.hpp"
#include "host/services/processes.hpp"
#include "host/services/registry.hpp"
#include "host/services/services.hpp"
#include "host/services/timers.hpp"
#include "host/services/websockets.hpp"
#include "host/services/workers.hpp"

namespace cm::host {

namespace {

constexpr const char* kTableIds[kHostTables] = {
    "cm.buffer/1",   "cm.log/1",         "cm.loop/1",        "cm.timer/1",     "cm.clock/1",
    "cm.random/1",   "cm.metrics/1",     "cm.events/1",      "cm.worker/1",    "cm.config/1",
    "cm.registry/1", "cm.http.server/1", "cm.http.client/1", "cm.websocket/1", "cm.process/1",
};

constexpr const char* kStateNames[] = {"inspected", "loaded",  "created",   "configured", "started",
                                       "draining",  "stopped", "destroyed", "failed"};

constexpr std::uint32_t kFirstInstanceGeneration = 0x10000;

}  // namespace

const char* host_table_id(HostTable table) noexcept {
  const auto index = static_cast<std::size_t>(table);
  return index < kHostTables ? kTableIds[index] : "unknown";
}

HostTable host_table_by_id(std::string_view id) noexcept {
  for (std::size_t index = 0; index < kHostTables; ++index) {
    if (id == kTableIds[index]) {
      return static_cast<HostTable>(index);
    }
  }
  return HostTable::kCount;
}

std::vector<std::string_view> host_table_ids() {
  return {std::begin(kTableIds), std::end(kTableIds)};
}

const char* state_name(InstanceState state) noexcept {
  return kStateNames[static_cast<std::size_t>(state)];
}

bool may_follow(InstanceState from, InstanceState to) noexcept {
  using enum InstanceState;
  switch (to) {
    case kInspected:
      return false;
    case kLoaded:
      return from == kInspected;
    case kCreated:
      return from == kLoaded;
    case kConfigured:
      return from == kCreated;
    case kStarted:
      return from == kConfigured;
    case kDraining:
      return from == kStarted;
    case kStopped:
      return from == kDraining;
    case kFailed:
      return from == kInspected || from == kLoaded || from == kCreated || from == kConfigured;
    case kDestroyed:
      return from == kStopped || from == kFailed || from == kConfigured || from == kCreated;
  }
  return false;
}

namespace {

// Figures by instance name. Any thread.
class FiguresPool {
 public:
  static FiguresPool& of_process() {
    // Never destroyed, like the instances that refer to it.
    static auto& pool = *std::make_unique<FiguresPool>().release();
    return pool;
  }

  InstanceFigures& take(const std::string& name) {
    const std::lock_guard lock(mutex_);
    std::vector<std::unique_ptr<InstanceFigures>>& free = free_[name];
    if (free.empty()) {
      return *std::make_unique<InstanceFigures>(name).release();
    }
    InstanceFigures& figures = *free.back().release();
    free.pop_back();
    return figures;
  }
  void give_back(const std::string& name, InstanceFigures& figures) {
    const std::lock_guard lock(mutex_);
    for (CallStats& stats : figures.stats) {
      stats.reset();
    }
    figures.metrics.reset();
    free_[name].emplace_back(&figures);
  }
  // Where late threads of retired instances count.
  InstanceFigures& nobody() { return nobody_; }

 private:
  std::mutex mutex_;
  std::map<std::string, std::vector<std::unique_ptr<InstanceFigures>>> free_;  // guarded by mutex_
  InstanceFigures nobody_{""};
};

}  // namespace

Instance::Holdings::Holdings() = default;
Instance::Holdings::~Holdings() = default;

Instance::Instance(InstanceOptions options, Services& services, LoopThread& loop_thread)
    : options_(std::move(options)),
      services_(services),
      loop_thread_(loop_thread),
      log_level_(options_.log_level),
      figures_(&FiguresPool::of_process().take(options_.name)) {}

// Only instances of tests end; those of the directory are immortal.
Instance::~Instance() {
  retire();
}

void Instance::retire() {
  FiguresPool& pool = FiguresPool::of_process();
  InstanceFigures* figures = figures_.exchange(&pool.nobody());
  if (figures != &pool.nobody()) {
    pool.give_back(name(), *figures);
  }
}

const cm_host* Instance::make_host_view(std::uint32_t abi_version) noexcept {
  host_view_ = host_view_of(self_, abi_version);
  open_.store(true, std::memory_order_seq_cst);
  return &host_view_;
}

void Instance::set_state(InstanceState state) noexcept {
  const InstanceState from = this->state();
  if (!may_follow(from, state)) {
    std::fprintf(stderr, "claudemesh: defect: instance %s cannot go from %s to %s\n", name().c_str(), state_name(from),
                 state_name(state));
    std::abort();
  }
  state_.store(state, std::memory_order_release);
}

bool Instance::enter_gate() noexcept {
  // Both sides use sequential consistency: either close() sees this thread inside, or this thread sees it closed.
  inside_gate_.fetch_add(1, std::memory_order_seq_cst);
  if (open_.load(std::memory_order_seq_cst)) {
    return true;
  }
  leave_gate();
  return false;
}

void Instance::log(LogLevel level, std::string_view message, std::span<const LogField> fields) const {
  if (level < log_level()) {
    return;
  }
  const std::uint32_t lines_per_second = services_.log_lines_per_second.load(std::memory_order_relaxed);
  if (log_limiter_.admit(net::Loop::now_ns(), lines_per_second)) {
    tell_dropped_lines();
    services_.log.write(level, name(), message, fields);
  }
}

void Instance::tell_dropped_lines() const {
  if (const std::uint64_t dropped = log_limiter_.take_untold(); dropped != 0) {
    services_.log.write(LogLevel::kWarn, name(),
                        "dropped " + std::to_string(dropped) +
                            " lines of this instance, which writes more than [log] lines_per_second");
  }
}

void Instance::misbehaved(std::string_view what) noexcept {
  misbehaviour_.fetch_add(1, std::memory_order_relaxed);
  const std::int64_t now_ns = net::Loop::now_ns();
  misbehaved_at_ns_.store(now_ns, std::memory_order_relaxed);
  if (misbehaviour_limiter_.admit(now_ns, kMisbehaviourLinesPerSecond)) {
    services_.log.write(LogLevel::kPluginMisbehaving, name(), what);
  }
}

void Instance::accuse_host(std::string_view what, std::span<const LogField> fields) noexcept {
  host_misbehaviour_.fetch_add(1, std::memory_order_relaxed);
  const std::int64_t now_ns = net::Loop::now_ns();
  misbehaved_at_ns_.store(now_ns, std::memory_order_relaxed);
  if (misbehaviour_limiter_.admit(now_ns, kMisbehaviourLinesPerSecond)) {
    services_.log.write(LogLevel::kHostMisbehaving, name(), what, fields);
  }
}

bool Instance::misbehaving() const noexcept {
  const std::int64_t at_ns = misbehaved_at_ns_.load(std::memory_order_relaxed);
  return at_ns != 0 && net::Loop::now_ns() - at_ns < kMisbehavingMs * 1'000'000;
}

void Instance::set_error(std::string_view text) {
  const std::lock_guard lock(error_mutex_);
  error_ = std::string(text.substr(0, kLogTextBytesMax));
}

std::string Instance::take_error() {
  const std::lock_guard lock(error_mutex_);
  return std::exchange(error_, std::string());
}

bool Instance::note_refused(HostTable table) noexcept {
  const std::uint32_t bit = 1u << static_cast<std::uint32_t>(table);
  return (refused_tables_.fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
}

std::array<std::atomic<Instance*>, kInstancesMax> InstanceDirectory::entries_{};

Instance* InstanceDirectory::create(InstanceOptions options, Services& services, LoopThread& loop_thread) {
  static std::mutex mutex;
  // Never destroyed: a plugin's own thread may still ask for an instance while the process ends.
  static auto& shells = *std::make_unique<std::vector<std::unique_ptr<Instance>>>().release();
  const std::lock_guard lock(mutex);
  if (shells.size() + 1 >= kInstancesMax) {
    return nullptr;
  }
  const auto index = static_cast<std::uint32_t>(shells.size() + 1);
  shells.push_back(std::make_unique<Instance>(std::move(options), services, loop_thread));
  Instance* instance = shells.back().get();
  instance->self_ = make_handle(kFirstInstanceGeneration + index, index);
  entries_[index].store(instance, std::memory_order_release);
  return instance;
}

void report_wrong_thread(Instance& instance, const char* function) noexcept {
  instance.services().counters.wrong_thread_calls.fetch_add(1, std::memory_order_relaxed);
  instance.misbehaved(std::string(function) +
                      " was called outside the instance's loop and refused; use cm.loop/1 post to get there");
}

void report_not_granted(Instance& instance, HostTable table) noexcept {
  instance.services().counters.permission_denials.fetch_add(1, std::memory_order_relaxed);
  if (instance.note_refused(table)) {
    instance.log(LogLevel::kDebug,
                 std::string("the table ") + host_table_id(table) +
                     " is not granted; name it in the manifest's `requires` and in `permissions` of the instance");
  }
}

cm_status refuse(Instance& instance, const Error& error) {
  instance.set_error(error.message);
  return static_cast<cm_status>(error.code);
}

}  // namespace cm::host
