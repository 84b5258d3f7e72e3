// One configured use of a plugin: its identity, state, permissions and everything the host holds on its behalf.
#pragma once

#include <claudemesh/plugin.h>

#include <atomic>
#include <bitset>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "host/services/calls.hpp"
#include "host/services/handle_table.hpp"
#include "host/services/log.hpp"
#include "host/services/log_limiter.hpp"
#include "host/services/loop_thread.hpp"
#include "host/services/metrics.hpp"

namespace cm::host {

class ConfigAccess;
class EventSubscriptions;
class HttpCalls;
class HttpListeners;
class Processes;
class RegistryReferences;
class Timers;
class WebSockets;
class WorkerQueues;
struct Services;

// Instances ever created by this process; each keeps a small shell until the process ends (see InstanceDirectory).
inline constexpr std::uint32_t kInstancesMax = 65'536;

// How long an instance is marked after it misbehaved.
inline constexpr std::int64_t kMisbehavingMs = 60'000;
// Lines of one instance about its own misbehaviour; the counter shows the rest.
inline constexpr std::uint32_t kMisbehaviourLinesPerSecond = 10;
// How many seconds' worth of lines may come at once.
inline constexpr std::int64_t kLogBurstSeconds = 2;

// The tables of the host, in the order of the headers.
enum class HostTable : std::uint32_t {
  kBuffer,
  kLog,
  kLoop,
  kTimer,
  kClock,
  kRandom,
  kMetrics,
  kEvents,
  kWorker,
  kConfig,
  kRegistry,
  kHttpServer,
  kHttpClient,
  kWebSocket,
  kProcess,
  kCount,
};
inline constexpr std::size_t kHostTables = static_cast<std::size_t>(HostTable::kCount);
using TableSet = std::bitset<kHostTables>;

// "cm.timer/1"; zero-terminated.
const char* host_table_id(HostTable table) noexcept;
// kCount for an unknown id.
HostTable host_table_by_id(std::string_view id) noexcept;
// The ids that this host offers, in order.
std::vector<std::string_view> host_table_ids();

// The steps of an instance's life. kFailed: a step failed; only destroy follows.
enum class InstanceState : std::uint32_t {
  kInspected,
  kLoaded,
  kCreated,
  kConfigured,
  kStarted,
  kDraining,
  kStopped,
  kDestroyed,
  kFailed,
};
const char* state_name(InstanceState state) noexcept;
// Whether the life cycle allows the step. Pure.
bool may_follow(InstanceState from, InstanceState to) noexcept;

struct InstanceOptions {
  std::string name;       // NAME of [plugins.NAME]
  std::string plugin_id;  // reverse domain
  std::vector<std::string> provides;
  TableSet granted;
  LogLevel log_level = LogLevel::kInfo;
};

// What is counted about one instance. Never freed, like the instances; used again when an instance is retired.
struct InstanceFigures {
  explicit InstanceFigures(const std::string& instance_name) : metrics(instance_name) {}

  std::array<CallStats, kCallbackKinds> stats;
  InstanceMetrics metrics;
};

// Made by the control thread in state kInspected, bound to one loop for life. Fields are [any] unless said otherwise.
// An instance object is never freed: handles and pointers to it stay safe to look at for ever.
class Instance {
 public:
  Instance(InstanceOptions options, Services& services, LoopThread& loop_thread);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  const std::string& name() const noexcept { return options_.name; }
  const std::string& plugin_id() const noexcept { return options_.plugin_id; }
  const std::vector<std::string>& provides() const noexcept { return options_.provides; }
  cm_handle self() const noexcept { return self_; }
  std::uint32_t number() const noexcept { return handle_index(self_); }
  Services& services() const noexcept { return services_; }
  // Valid while the instance is open or inside a gate.
  LoopThread& loop_thread() const noexcept { return loop_thread_; }
  bool granted(HostTable table) const noexcept { return options_.granted[static_cast<std::size_t>(table)]; }

  InstanceState state() const noexcept { return state_.load(std::memory_order_acquire); }
  // [control, loop] A forbidden transition is a defect of the host and ends the process.
  void set_state(InstanceState state) noexcept;
  // From create until stop has returned (or the instance failed): host functions work.
  bool open() const noexcept { return open_.load(std::memory_order_acquire); }
  bool configuring() const noexcept { return state() == InstanceState::kCreated; }

  // A thread inside the gate may use the loop; close_gate refuses newcomers. The control thread waits for gate_empty
  // before a loop goes away.
  bool enter_gate() noexcept;
  void leave_gate() noexcept { inside_gate_.fetch_sub(1, std::memory_order_release); }
  void close() noexcept { open_.store(false, std::memory_order_seq_cst); }
  bool gate_empty() const noexcept { return inside_gate_.load(std::memory_order_seq_cst) == 0; }

  // Made by a reload that is not committed yet: it takes no connections and sees other staged instances only, in place
  // of those that they replace.
  bool staged() const noexcept { return staged_.load(std::memory_order_relaxed); }
  void set_staged(bool staged) noexcept { staged_.store(staged, std::memory_order_relaxed); }
  // Ends with the reload that is under way: staged instances do not find its extensions.
  bool ending() const noexcept { return ending_.load(std::memory_order_relaxed); }
  void set_ending(bool ending) noexcept { ending_.store(ending, std::memory_order_relaxed); }

  bool degraded() const noexcept { return degraded_.load(std::memory_order_relaxed); }
  void set_degraded(bool degraded) noexcept { degraded_.store(degraded, std::memory_order_relaxed); }

  LogLevel log_level() const noexcept { return log_level_.load(std::memory_order_relaxed); }
  void set_log_level(LogLevel level) noexcept { log_level_.store(level, std::memory_order_relaxed); }
  // A line in the name of the instance, if its level allows.
  void log(LogLevel level, std::string_view message, std::span<const LogField> fields = {}) const;
  // The contract was broken by this instance: logged as plugin-misbehaving, counted, and the instance is marked for
  // kMisbehavingMs.
  void misbehaved(std::string_view what) noexcept;
  // The instance says that the host broke the contract: logged as host-misbehaving, counted, and marked likewise.
  void accuse_host(std::string_view what, std::span<const LogField> fields) noexcept;
  std::uint64_t host_misbehaviour_count() const noexcept { return host_misbehaviour_.load(std::memory_order_relaxed); }
  // Misbehaviour in either direction was seen within kMisbehavingMs. Shown, but no reason to take no work.
  bool misbehaving() const noexcept;
  // Lines that were left out, because the instance wrote more than [log] lines_per_second.
  std::uint64_t log_lines_dropped() const noexcept { return log_limiter_.dropped() + misbehaviour_limiter_.dropped(); }
  // Writes how many lines were left out since the last time. [control]
  void tell_dropped_lines() const;
  std::uint64_t misbehaviour_count() const noexcept { return misbehaviour_.load(std::memory_order_relaxed); }

  // The text behind the status that the running callback will return. A later text replaces an earlier one.
  void set_error(std::string_view text);
  std::string take_error();
  bool note_refused(HostTable table) noexcept;  // true the first time for this table

  CallStats& stats(CallbackKind kind) noexcept { return figures().stats[static_cast<std::size_t>(kind)]; }
  const CallStats& stats(CallbackKind kind) const noexcept { return figures().stats[static_cast<std::size_t>(kind)]; }
  InstanceMetrics& metrics() noexcept { return figures().metrics; }
  const InstanceMetrics& metrics() const noexcept { return figures().metrics; }
  // After destroy: the figures go to the next instance of this name, so that a restart costs a few hundred bytes only.
  // [control]
  void retire();

  // Jobs accepted by the workers and not yet finished.
  std::atomic<std::uint64_t> jobs_outstanding{0};
  std::atomic<std::uint64_t> events_waiting{0};
  std::atomic<std::uint64_t> posts_dropped{0};
  std::atomic<std::uint64_t> events_dropped{0};

  // What the plugin gave. [loop]
  cm_instance* plugin_object = nullptr;
  const cm_instance_table_v1* plugin_table = nullptr;
  // What `create` is given; `abi_version` is the one that the plugin's init picked. [control]
  const cm_host* make_host_view(std::uint32_t abi_version) noexcept;

  // What the host holds for the plugin. Made before create and freed after destroy. [loop]
  struct Holdings {
    std::unique_ptr<Timers> timers;
    std::unique_ptr<EventSubscriptions> subscriptions;
    std::unique_ptr<WorkerQueues> queues;
    std::unique_ptr<RegistryReferences> references;
    std::unique_ptr<ConfigAccess> config;
    std::unique_ptr<HttpListeners> http;
    std::unique_ptr<HttpCalls> calls;
    std::unique_ptr<WebSockets> sockets;
    std::unique_ptr<Processes> processes;
    Holdings();
    ~Holdings();
  };
  std::unique_ptr<Holdings> holdings;

 private:
  friend class InstanceDirectory;
  InstanceFigures& figures() const noexcept { return *figures_.load(std::memory_order_acquire); }

  const InstanceOptions options_;
  Services& services_;
  LoopThread& loop_thread_;
  cm_handle self_ = CM_NO_HANDLE;
  cm_host host_view_{};
  std::atomic<InstanceState> state_{InstanceState::kInspected};
  std::atomic<bool> open_{false};
  std::atomic<std::uint32_t> inside_gate_{0};
  std::atomic<bool> degraded_{false};
  std::atomic<bool> staged_{false};
  std::atomic<bool> ending_{false};
  std::atomic<LogLevel> log_level_;
  std::atomic<std::uint64_t> misbehaviour_{0};
  std::atomic<std::uint64_t> host_misbehaviour_{0};
  std::atomic<std::int64_t> misbehaved_at_ns_{0};  // 0: never
  mutable LogLimiter log_limiter_{kLogBurstSeconds};
  LogLimiter misbehaviour_limiter_{kLogBurstSeconds};
  std::atomic<std::uint32_t> refused_tables_{0};
  std::mutex error_mutex_;
  std::string error_;                      // guarded by error_mutex_
  std::atomic<InstanceFigures*> figures_;  // immortal, never null
};

// All instances this process ever made. Look-ups are one bounds check, one load and one comparison; entries are never
// removed, which is what makes a look-up with any number from any thread at any time safe.
class InstanceDirectory {
 public:
  // [control] Null when kInstancesMax is reached: restart the process.
  static Instance* create(InstanceOptions options, Services& services, LoopThread& loop_thread);

  static Instance* find(cm_handle self) noexcept {
    const std::uint32_t index = handle_index(self);
    if (index >= kInstancesMax) {
      return nullptr;
    }
    Instance* instance = entries_[index].load(std::memory_order_acquire);
    return instance != nullptr && instance->self_ == self ? instance : nullptr;
  }

 private:
  static std::array<std::atomic<Instance*>, kInstancesMax> entries_;
};

// --- the crossing from a plugin into the host ---------------------------------------------------------------------

// Reports a [loop] function that was called on another thread. Not inline: this path is a defect of the plugin.
void report_wrong_thread(Instance& instance, const char* function) noexcept;
// Counts and logs (once per table) a function whose table was not granted.
void report_not_granted(Instance& instance, HostTable table) noexcept;

// Who may pass: `instance` is null unless the handle is known and the table granted. `status` is CM_OK only for an
// instance that is open; a closed one comes back with CM_GONE so that functions which only give things back can work.
struct Admission {
  Instance* instance = nullptr;
  cm_status status = CM_GONE;
  explicit operator bool() const noexcept { return status == CM_OK; }
};

// [any] functions.
inline Admission admit_any(cm_handle self, HostTable table) noexcept {
  Instance* instance = InstanceDirectory::find(self);
  if (instance == nullptr) {
    return {};
  }
  if (!instance->granted(table)) [[unlikely]] {
    report_not_granted(*instance, table);
    return {nullptr, CM_DENIED};
  }
  return {instance, instance->open() ? CM_OK : CM_GONE};
}

// [loop] functions. The thread is checked in release builds too: it costs one comparison.
inline Admission admit_loop(cm_handle self, HostTable table, const char* function) noexcept {
  Admission admission = admit_any(self, table);
  if (admission.instance == nullptr) {
    return admission;
  }
  if (admission.instance->state() == InstanceState::kDestroyed) {
    return {};
  }
  if (!admission.instance->loop_thread().is_current()) [[unlikely]] {
    report_wrong_thread(*admission.instance, function);
    return {nullptr, CM_INVALID};
  }
  return admission;
}

// The status for the plugin, with the text kept for the callback that is running.
cm_status refuse(Instance& instance, const Error& error);

inline std::string_view text_of(cm_text_pview text) noexcept {
  return text.data == nullptr ? std::string_view() : std::string_view(text.data, text.size);
}
inline cm_text_hview view_of(std::string_view text) noexcept {
  return {text.data(), text.size()};
}

}  // namespace cm::host
