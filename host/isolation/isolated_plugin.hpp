// One instance whose plugin runs in a runner child: what the host sees of it, and the life of its children.
#pragma once

#include <claudemesh/plugin.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "host/config/host_config.hpp"
#include "host/isolation/confinement.hpp"
#include "host/isolation/extensions/bridge_proxy.hpp"
#include "host/isolation/extensions/hook_proxy.hpp"
#include "host/isolation/extensions/transport_proxy.hpp"
#include "host/isolation/forward.hpp"
#include "host/isolation/host_side.hpp"
#include "host/isolation/spawner.hpp"

namespace cm::isolation {

inline constexpr std::uint64_t kStopTimeoutMs = 5'000;    // for stop and destroy in the child; then it is killed
inline constexpr std::uint64_t kReadyTimeoutMs = 30'000;  // from the spawn until configured, and for a later start
inline constexpr std::uint64_t kRestartDelayMaxMs = 30'000;
inline constexpr std::uint64_t kHeartbeatMs = 1'000;

enum class Phase : std::uint32_t {
  kIdle,         // no child was made yet
  kConfiguring,  // spawned; loads, creates, configures
  kConfigured,
  kStarting,
  kRunning,
  kDraining,
  kStopping,
  kDown,         // ended; the next child waits for its time
  kQuarantined,  // failed too often; a reload starts it again
  kGone,         // no child, and none will be made
};
const char* phase_name(Phase phase) noexcept;

// What the outside may know. Any thread.
struct IsolationStatus {
  Phase phase = Phase::kIdle;
  pid_t pid = 0;  // 0: none
  std::string last_failure;
  std::uint64_t restarts = 0;
  std::uint64_t crashes = 0;
  std::uint64_t hangs = 0;
  std::uint64_t overuses = 0;
  std::uint64_t garbage = 0;
  std::uint64_t quarantines = 0;
  std::uint64_t throttled = 0;
  std::uint64_t log_lines_dropped = 0;
  bool files_confined = false;  // false: this kernel has no Landlock, and the process may open what its user may

  bool healthy() const noexcept { return phase != Phase::kDown && phase != Phase::kQuarantined; }
};

struct IsolatedPluginOptions {
  std::string name;
  std::string sha256;
  std::shared_ptr<const config::Manifest> manifest;
  std::vector<std::string> tables;  // host tables granted, by id
  std::uint32_t log_level = 0;
  config::IsolationSettings settings;
};

// Made by the control thread, lives on one loop. The functions of the instance table and of the extension tables come
// here; `this` is the plugin object that the host holds.
class IsolatedPlugin {
 public:
  IsolatedPlugin(IsolatedPluginOptions options, std::unique_ptr<HostSide> host_side);
  ~IsolatedPlugin();
  IsolatedPlugin(const IsolatedPlugin&) = delete;
  IsolatedPlugin& operator=(const IsolatedPlugin&) = delete;

  using Deadline = std::chrono::steady_clock::time_point;

  // --- [control]; those with a deadline wait for the loop, so never call them there ---
  // The counterpart of the factory's create; no child is made yet.
  void create(const cm_host* host, cm_instance** out_object, const cm_instance_table_v1** out_table);
  // Makes the first child, which loads, creates and configures. The text of an error is the plugin's.
  Status configure(const config::ValidatedOptions& options, Deadline deadline);
  bool can_reload() const;
  Status reload_prepare(const config::ValidatedOptions& options, Deadline deadline);
  // Waits until the child is gone; kills it at the deadline. Idempotent; also without a stop before.
  void wait_gone(Deadline deadline);

  // --- [any] ---
  IsolationStatus status() const;
  const IsolationCounters& counters() const noexcept { return counters_; }
  // Ends a quarantine: the next child is made at once.
  void release_quarantine();
  const config::IsolationSettings& settings() const noexcept { return options_.settings; }

  // --- [loop]; for the tables ---
  cm_status start(cm_handle ticket);
  cm_status drain(cm_handle ticket, std::uint64_t deadline_ms);
  void stop();
  void reload_finish(bool commit);
  const void* extension(std::string_view id) const;
  HookProxy& hook() noexcept { return hook_; }
  TransportProxy& transport() noexcept { return transport_; }
  BridgeProxy& bridge() noexcept { return bridge_; }

 private:
  struct Child;
  // What the control thread waits for.
  struct Answer {
    cm_status status = CM_OK;
    std::string text;
  };
  // Reaches the plugin from the spawner's thread while it lives.
  struct Anchor {
    std::mutex mutex;
    IsolatedPlugin* plugin = nullptr;  // guarded by mutex
  };

  std::optional<Answer> wait_answer(Deadline deadline);
  void give_answer(cm_status status, std::string text);
  void run_on_loop(std::function<void()> function);

  // --- life of the children; [loop] ---
  void spawn();
  Status make_child();
  void request_spawn(Descriptor socket);
  void send_create();
  void tell_confinement();
  void on_spawned(std::uint64_t generation, Result<pid_t> pid);
  void on_exited(std::uint64_t generation, ExitStatus exit);
  void on_frame(Frame& frame);
  void on_created(const Frame& frame);
  void on_step_done(const Frame& frame);
  void on_started(cm_status status, const std::string& text);
  void on_heartbeat();
  void check_child(std::int64_t now_ns);
  void end_child(std::string reason, std::atomic<std::uint64_t>& counter);
  void child_gone(const ExitStatus* exit);
  void fail_steps(const std::string& reason);
  void plan_restart(const std::string& reason, const std::string& callback);
  void quarantine(const std::string& reason);
  void set_phase(Phase phase);
  void arm_heartbeat();
  std::string failure_json(const std::string& reason, const std::string& callback) const;

  const IsolatedPluginOptions options_;
  const std::unique_ptr<HostSide> host_side_;
  const std::shared_ptr<Anchor> anchor_ = std::make_shared<Anchor>();
  const cm_host* host_ = nullptr;
  const int landlock_version_ = landlock_version();

  // [loop]
  Phase phase_ = Phase::kIdle;
  std::unique_ptr<Child> child_;
  std::uint64_t generation_ = 0;
  bool was_running_ = false;  // a child has started once: a failure from now on leads to a restart
  cm_handle step_ticket_ = CM_NO_HANDLE;
  std::optional<config::ValidatedOptions> active_;
  std::optional<config::ValidatedOptions> candidate_;
  std::deque<std::int64_t> failures_ns_;
  net::TimerId restart_timer_ = net::TimerId::kNone;
  net::TimerId heartbeat_timer_ = net::TimerId::kNone;
  MetricMemory metrics_;
  StreamRelay streams_;
  HookProxy hook_;
  TransportProxy transport_;
  BridgeProxy bridge_;
  std::uint64_t prepare_call_ = 0;  // of the last reload_prepare that the child was asked
  bool provides_hook_ = false;
  bool provides_transport_ = false;
  bool provides_bridge_ = false;
  IsolationCounters counters_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Phase shown_phase_ = Phase::kIdle;  // guarded by mutex_
  pid_t shown_pid_ = 0;               // guarded by mutex_
  std::string last_failure_;          // guarded by mutex_
  bool can_reload_ = false;           // guarded by mutex_
  bool answer_wanted_ = false;        // guarded by mutex_
  std::optional<Answer> answer_;      // guarded by mutex_
};

}  // namespace cm::isolation
