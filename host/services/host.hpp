// The host: everything between a checked configuration and running plugins. `run_host` is `claudemesh run`; tests use
// `Host` in process.
#pragma once

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "host/config/host_config.hpp"
#include "host/loader/library.hpp"
#include "host/services/loop_thread.hpp"
#include "host/services/services.hpp"
#include "host/services/successor.hpp"
#include "host/services/unit.hpp"
#include "host/services/watchdog.hpp"

namespace cm::host {

class OpsServer;
struct ReloadPlan;

// Which loop each instance gets: explicit indexes first, then group by group on the loop with the fewest instances.
// `pinned` are loops of running instances, which cannot move. Pure.
std::map<std::string, std::uint32_t> plan_loops(const config::HostConfig& config,
                                                const std::map<std::string, std::uint32_t>& pinned);

// How long a connection that was accepted just before its instance ends may take to ask.
inline constexpr std::uint64_t kQuiesceMs = 250;

// A loop that is at work has to take part in a change within this time, and one that is stuck is not waited for longer.
inline constexpr std::chrono::seconds kLoopAnswerTime{1};

enum class HostEvent {
  kStarted,
  kStartFailed,
  kReloaded,
  kReloadFailed,
  kHandedOver,  // an upgrade took place; kStopping and kStopped follow
  kUpgradeFailed,
  kStopping,
  kStopped,
};

struct HostOptions {
  // Reads the configuration again for a reload, on the control thread. Null: reloads are refused.
  std::function<Result<config::HostConfig>()> read_config;
  // Told on the control thread after each step. Must not call back into the host, except request_*.
  std::function<void(HostEvent)> on_event;
  // Instead of what [log] says; for tests.
  std::unique_ptr<LogSink> log_sink;
  loader::UnloadMode unload = loader::UnloadMode::kKeep;
  // Starts the program again, for an upgrade. Null: upgrades are refused. [control]
  std::function<Result<std::unique_ptr<Successor>>(std::vector<HandedSocket>)> spawn_successor;
  // Listening sockets from the process before this one, or from the service manager.
  std::vector<HandedSocket> inherited;
  // Called when everything is configured and nothing has started; an error ends the start. `wake_fd` becomes readable
  // when the host is told to stop. [control]
  std::function<Status(int wake_fd)> before_start;
  // "starting" with the instance whose turn it is, "running", "handing over", "stopping". [control]
  std::function<void(std::string_view phase, std::string_view instance)> on_phase;
};

struct InstanceStatus {
  std::string name;
  std::string plugin_id;
  InstanceState state = InstanceState::kInspected;
  bool degraded = false;
  std::uint64_t misbehaviour = 0;
  std::optional<isolation::IsolationStatus> isolation;  // of an instance in a process of its own
  bool misbehaving = false;                             // see Instance::misbehaving
};

// One running configuration. Steps happen on a control thread of its own; every function here is [any] unless it says
// otherwise. Destroying a running host stops it first.
class Host {
 public:
  explicit Host(config::HostConfig config, HostOptions options = {});
  ~Host();
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // Loads, creates, configures and starts everything, in dependency order. Waits for the end. On failure everything
  // that was started has been drained, stopped and destroyed, and the error names instance, step and reason. Once.
  Status start();
  // The same without waiting; HostEvent tells the end and start_error the reason.
  void request_start();
  std::string start_error() const;
  // Reads the configuration again and changes what differs. A configuration that cannot be used changes nothing.
  void request_reload();
  // Waits for the reload. kBusy when a loop or a plugin did not answer within [host] reload_timeout; the text names it.
  Status reload();
  // Why the last reload was refused or rolled back; empty when it was not.
  std::string reload_error() const;
  // Starts the program again and lets it take over; see upgrade.cpp. A successor that fails changes nothing.
  void request_upgrade();
  // Waits for the end; on success the host has stopped.
  Status upgrade();
  // Of the process that took over; 0 before.
  pid_t successor_pid() const noexcept { return successor_pid_; }
  // Drains and stops, in reverse order. Also ends a start that is under way.
  void request_stop();
  // The same without time to drain.
  void request_immediate_stop();
  // Waits until the host has stopped. Call request_stop first, or elsewhere.
  void join();

  std::vector<InstanceStatus> instances() const;
  // All configured instances are started and none is degraded; false while starting, reloading or stopping.
  bool ready() const;
  // /healthz: no loop is stuck inside a plugin.
  bool healthy() const;
  std::string metrics_text() const;
  std::string readiness_json() const;
  // /plugins: every instance with its state, and that of its process if it has one.
  std::string plugins_json() const;
  // The monitoring listener's bound address, "127.0.0.1:9100", or empty.
  std::string ops_address() const;
  Services& services() const noexcept { return services_; }
  // The loops and what they are in, for a last line before an unclean end.
  std::string who_blocks() const;

 private:
  enum class Command { kStart, kReload, kUpgrade, kTidy };
  struct Request {
    Command command;
    std::promise<Status> done;
  };

  void control_main();
  std::future<Status> enqueue(Command command);
  std::optional<Request> next_request();
  void run_request(Request& request);
  void tell(HostEvent event) const;
  void tell_phase(std::string_view phase, std::string_view instance) const;

  Status do_start();
  Status start_loops();
  Status start_ops();
  Status bring_up(std::vector<Unit*> units);
  // The steps until configured, and the last one. [control]
  Status make_ready(const std::vector<Unit*>& units, Deadline deadline);
  Status start_unit(Unit& unit);
  void do_stop();
  // Lets accepted connections ask once while new ones wait in the kernel's queue.
  void quiesce(const std::vector<Unit*>& units);
  void take_down(const std::vector<Unit*>& units_in_start_order);
  void finish_services();

  Status do_upgrade();
  Status hand_over(Successor& successor);
  void take_back(const std::vector<Unit*>& former, Successor& successor, const Error& reason);

  Status do_reload();
  Status check_reload(const config::HostConfig& next, const config::ConfigDiff& diff);
  void widen_restarts(const config::HostConfig& next, config::ConfigDiff& diff) const;
  Status prepare_all(ReloadPlan& plan);
  Status stage(ReloadPlan& plan);
  // Once something ends, nobody gives up any more: so the loops are asked before.
  Status await_ending_loops(const ReloadPlan& plan);
  Status start_independent(ReloadPlan& plan);
  Status switch_over(ReloadPlan& plan);
  void abort_reload(ReloadPlan& plan);
  void roll_back(ReloadPlan& plan, const Error& reason);
  void commit(ReloadPlan& plan);
  Deadline reload_deadline() const;
  // Takes units down that were made for nothing: at once, or as soon as the loops that they are on answer.
  void discard(std::vector<std::unique_ptr<Unit>> units);
  // Takes down what was discarded. An error names the loop that still does not answer.
  Status tidy(Deadline deadline);
  void report_kept(const ReloadPlan& plan);
  // Starts these instances of the running configuration again, each for itself. The names of those that failed.
  std::string restart_former(const std::vector<std::string>& names);
  void apply_log(const config::LogSettings& log);
  void apply_log_limit(const config::LogSettings& log);

  Unit* find_unit(const std::string& name) const;
  Result<std::unique_ptr<Unit>> make_unit(const config::InstanceConfig& config, const config::HostConfig& from,
                                          std::uint32_t loop);
  Result<Unit*> add_unit(const config::InstanceConfig& config, const config::HostConfig& from, std::uint32_t loop);
  void forget_units(const std::vector<Unit*>& gone);
  void sort_units(const config::HostConfig& by);
  // Loops of running instances that stay.
  std::map<std::string, std::uint32_t> running_loops(const std::vector<Unit*>& without) const;

  HostOptions options_;
  config::HostConfig config_;  // control thread, after construction
  Services& services_;         // immortal: instances refer to it
  loader::PluginLibraries libraries_;
  std::vector<std::unique_ptr<LoopThread>> loops_;
  std::unique_ptr<Watchdog> watchdog_;
  std::unique_ptr<OpsServer> ops_;

  mutable std::mutex units_mutex_;
  std::vector<std::unique_ptr<Unit>> units_;      // start order; changed by the control thread under units_mutex_
  std::vector<std::unique_ptr<Unit>> discarded_;  // start order; [control]
  std::atomic<bool> all_started_{false};

  mutable std::mutex control_mutex_;
  std::condition_variable control_changed_;
  std::vector<Request> requests_;  // guarded by control_mutex_
  std::string start_error_;        // guarded by control_mutex_
  std::string reload_error_;       // guarded by control_mutex_
  std::string ops_address_;        // guarded by control_mutex_
  bool ended_ = false;             // guarded by control_mutex_: nobody answers requests any more
  std::atomic<bool> stop_requested_{false};
  std::atomic<bool> immediate_{false};
  std::atomic<pid_t> successor_pid_{0};
  const Descriptor wake_fd_;  // readable when a stop was requested
  std::thread control_thread_;
};

// --- claudemesh run --------------------------------------------------------------------------------------------------

enum class ExitCode : int { kClean = 0, kStartFailed = 1, kConfigError = 2 };

struct RunOptions {
  std::filesystem::path file;
  bool safe_mode = false;
};

// Runs a configuration file until SIGTERM or SIGINT; SIGHUP reloads; a second SIGTERM stops at once. Call it from main
// before any other thread exists: it blocks these signals for the whole process. Problems go to standard error.
int run_host(const RunOptions& options);

}  // namespace cm::host
