// One instance together with its configuration and code, and the steps of its life. [control] throughout.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "host/config/host_config.hpp"
#include "host/loader/library.hpp"
#include "host/services/instance.hpp"
#include "host/services/isolated.hpp"
#include "host/services/loop_thread.hpp"
#include "host/services/services.hpp"

namespace cm::host {

// Each step runs on the instance's loop while the control thread waits, and asserts the life cycle. An error text
// begins with the instance and the step. After an error only `destroy` may follow.
//
// A step with a deadline is given up (kBusy, with the name of who holds the loop) when the loop has not ended it by
// then, or when `give_up` becomes true. One that had not begun never begins; one that ends late is undone on the loop.
// Until the loop answers again, `stop` and `destroy` would wait for it: see `answers`.
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
  Status create(Deadline deadline, const std::atomic<bool>& give_up);
  // Before create: a reload makes it beside the running ones, see Instance::staged.
  void set_staged();
  // The reload is committed. A loop that does not answer by the deadline accepts connections when it does.
  void unstage(Deadline deadline);
  // No new connections; those that were accepted may ask once. The future is ready when that is over.
  std::future<void> quiesce(std::uint64_t timeout_ms);
  // created -> configured; publishes the extensions.
  Status configure(Deadline deadline, const std::atomic<bool>& give_up);
  // configured -> started, at the latest by the deadline; gives up early when `give_up` becomes true.
  Status start(Deadline deadline, const std::atomic<bool>& give_up);
  // started -> draining. A missed deadline is logged, not an error; a loop that is held drains when it answers again.
  void drain(Deadline deadline, const std::atomic<bool>& give_up);
  // draining -> stopped: nothing of the plugin runs afterwards but jobs and destroy.
  void stop();
  // Waits for the jobs, frees everything and reports what the plugin left behind.
  void destroy();

  // The two phases of a reload. prepare: kUnsupported when the plugin cannot; the caller restarts it then.
  bool can_reload() const noexcept;
  // A loop that answers late forgets the new options.
  Status reload_prepare(const config::ValidatedOptions& options, Deadline deadline, const std::atomic<bool>& give_up);
  // Nothing, unless a prepare was answered. A loop that does not answer by the deadline does it when it answers again.
  void reload_finish(bool commit, Deadline deadline);

  // Whether the loop runs what it is given, by the deadline. Whatever it was given before has run then.
  Status answers(Deadline deadline, const std::atomic<bool>& give_up);

  // The plugin's process, of an instance with isolation = "process"; otherwise null.
  isolation::IsolatedPlugin* isolated() const noexcept { return isolated_.get(); }

  // Tells this instance, on its loop, that its references to `provider` end now.
  void tell_going_away(const Instance& provider);

 private:
  // What the loop is to do.
  struct Step {
    std::function<cm_status()> run;
    std::function<void()> undo;  // after `run` ended too late; may be empty
    bool even_late = false;      // begins even when nobody waits any more
  };
  // The answer of `run` with the text that the plugin left; nothing when it was given up.
  std::optional<TicketBook::Answer> run_step(Step step, Deadline deadline, const std::atomic<bool>& give_up);
  // The same for what must be done, however late: it is logged when it is late.
  void run_surely(const char* what, std::function<void()> run, Deadline deadline);
  // Why a step was given up: `limit` is the option that sets its deadline.
  std::string late_text(const char* limit, const std::atomic<bool>& give_up) const;
  // A deadline that has passed, or is close, leaves a loop that is not stuck the time to answer.
  Deadline with_grace(Deadline deadline) const;
  cm_status create_on_loop();
  cm_status configure_on_loop();
  void finish_on_loop(bool commit);
  Status fail(const char* step, cm_status status, const std::string& text);
  bool table_complete() const;
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
  bool prepared_ = false;  // a prepare was answered, and its finish is due
};

// "gone", for people.
std::string status_text(cm_status status);

}  // namespace cm::host
