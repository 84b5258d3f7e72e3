// One instance together with its configuration and code, and the steps of its life. [control] throughout.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>

#include "host/config/host_config.hpp"
#include "host/loader/library.hpp"
#include "host/services/instance.hpp"
#include "host/services/isolated.hpp"
#include "host/services/loop_thread.hpp"
#include "host/services/services.hpp"

namespace cm::host {

using Deadline = std::chrono::steady_clock::time_point;

// Each step runs on the instance's loop while the control thread waits, and asserts the life cycle. An error text
// begins with the instance and the step. After an error only `destroy` may follow.
class Unit {
 public:
  Unit(config::InstanceConfig config, config::LogLevel log_level, Services& services, LoopThread& loop_thread);

  // Of a unit whose instance is destroyed, or never came to be.
  ~Unit();
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;

  const std::string& name() const noexcept { return config_.name; }
  const config::InstanceConfig& config() const noexcept { return config_; }
  // Replaces what is remembered for the next comparison, after a reload.
  void set_config(config::InstanceConfig config) { config_ = std::move(config); }
  Instance& instance() const noexcept { return *instance_; }
  LoopThread& loop_thread() const noexcept { return loop_thread_; }

  // inspected -> loaded -> created
  Status load(loader::PluginLibraries& libraries);
  Status create();
  // Before create: a reload makes it beside the running ones, see Instance::staged. `false`: the reload is committed.
  void set_staged(bool staged);
  // No new connections; those that were accepted may ask once. The future is ready when that is over.
  std::future<void> quiesce(std::uint64_t timeout_ms);
  // created -> configured; publishes the extensions.
  Status configure();
  // configured -> started, at the latest by the deadline; gives up early when `give_up` becomes true.
  Status start(Deadline deadline, const std::atomic<bool>& give_up);
  // started -> draining. A missed deadline is logged, not an error.
  void drain(Deadline deadline, const std::atomic<bool>& give_up);
  // draining -> stopped: nothing of the plugin runs afterwards but jobs and destroy.
  void stop();
  // Waits for the jobs, frees everything and reports what the plugin left behind.
  void destroy();

  // The two phases of a reload. prepare: kUnsupported when the plugin cannot; the caller restarts it then.
  bool can_reload() const noexcept;
  Status reload_prepare(const config::ValidatedOptions& options);
  void reload_finish(bool commit);

  // The plugin's process, of an instance with isolation = "process"; otherwise null.
  isolation::IsolatedPlugin* isolated() const noexcept { return isolated_.get(); }

  // Tells this instance, on its loop, that its references to `provider` end now.
  void tell_going_away(const Instance& provider);

 private:
  Status fail(const char* step, cm_status status, const std::string& text);
  Status check_table() const;
  cm_status call_create(const cm_host* host);
  void publish_extensions();
  void wait_isolated_gone();
  Status refused_options(cm_status status, const std::string& text) const;
  // Closes the instance to the host's functions and ends everything that could call it. On the loop.
  void silence();
  void report_left_behind(std::uint32_t queues_left);

  config::InstanceConfig config_;
  Services& services_;
  LoopThread& loop_thread_;
  Instance* instance_ = nullptr;  // immortal, see InstanceDirectory; null when the directory is full
  std::shared_ptr<const loader::LoadedLibrary> library_;  // null when isolated
  std::unique_ptr<isolation::IsolatedPlugin> isolated_;
};

// "gone", for people.
std::string status_text(cm_status status);

}  // namespace cm::host
