// A simulated world: nodes that run real plugins on virtual time, a network and disks with seeded faults. The same seed
// gives the same run, event by event. One world per thread at a time.
//
//   World world({.seed = 7});
//   Node& broker = world.add_node("broker", toml_text);
//   world.boot(broker);
//   world.run_for_ms(10'000);
//   world.crash(broker);
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "host/config/host_config.hpp"
#include "host/loader/discovery.hpp"
#include "host/loader/library.hpp"
#include "sdk/simhost/disk.hpp"
#include "sdk/simhost/instance.hpp"
#include "sdk/simhost/network.hpp"
#include "sdk/simhost/programs.hpp"
#include "sdk/simhost/scheduler.hpp"

namespace cm::sim {

class World;

// A machine with one claudemesh process. Crash and boot as often as you like; the disk stays.
class Node {
 public:
  Node(World& world, NodeName name, std::string toml) : world_(world), name_(std::move(name)), toml_(std::move(toml)) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const NodeName& name() const noexcept { return name_; }
  World& world() noexcept { return world_; }
  bool alive() const noexcept { return alive_ && !doomed_; }
  bool running() const noexcept { return alive() && ready_; }  // every instance has started
  std::uint32_t incarnation() const noexcept { return incarnation_; }
  SimDisk& disk() noexcept { return disk_; }
  std::int64_t unix_ms() const noexcept;
  std::int64_t clock_skew_ms = 0;
  std::string last_error;  // of a failed boot

  std::vector<Instance*> instances();
  Instance* find(std::string_view instance_name);

  // What cm.process/1 starts for this absolute path from now on; a second one replaces the first. [programs.hpp]
  void add_program(std::string path, Program program) { programs_[std::move(path)] = std::move(program); }
  void remove_program(const std::string& path) { programs_.erase(path); }
  const Program* find_program(const std::string& path) const;  // null: there is none

  // The node dies in the middle of what it is doing, after this many more steps (host calls and disk operations): what
  // was written to disk or network before counts, what comes later never happened.
  void crash_after_steps(std::uint64_t steps) { steps_left_ = steps; }
  void count_step();

  // Events that are dropped when the node has crashed meanwhile.
  EventId schedule_at(std::uint64_t time_us, std::function<void()> function);
  EventId schedule_after(std::uint64_t delay_us, std::function<void()> function);

  void trace(std::string_view text);
  void log(std::uint32_t level, std::string_view line);

 private:
  friend class World;
  bool prepare();
  bool boot();
  void start_from(std::size_t index);
  bool restart(std::string_view instance_name, bool orderly);
  void tear_down();
  void vanish();

  World& world_;
  NodeName name_;
  std::string toml_;
  SimDisk disk_;
  bool alive_ = false;
  bool doomed_ = false;
  bool ready_ = false;
  std::uint32_t incarnation_ = 0;
  std::uint64_t steps_left_ = 0;             // 0: no crash is planned
  std::map<std::string, Program> programs_;  // on the disk, as it were: they stay over a crash
  config::HostConfig config_;
  std::vector<std::shared_ptr<const loader::LoadedLibrary>> libraries_;
  std::vector<std::unique_ptr<Instance>> instances_;
  std::vector<std::unique_ptr<Instance>> ended_;  // by `restart`; events that wait still name them
};

struct WorldOptions {
  std::uint64_t seed = 1;
  std::int64_t unix_ms_at_start = 1'750'000'000'000;
  std::uint32_t log_level = CM_LOG_WARN;        // what plugins may log; printed only with a trace
  std::function<void(std::string_view)> trace;  // one line per notable event; null: silent
};

class World final : public DiskProvider {
 public:
  explicit World(WorldOptions options);
  ~World() override;
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // `toml` is a configuration as `claudemesh run` takes it; storage paths are below /cmsim/<name>/ with vfs = "cmsim".
  Node& add_node(NodeName name, std::string toml);
  // Starts all instances of the node in dependency order. False: refused at once (Node::last_error); a failure of a
  // deferred start shows later, as a node that is not running.
  bool boot(Node& node);
  void crash(Node& node);
  // Loads the configuration and the code and makes the instances, without a call to a plugin but its `init`: for tests
  // that take the steps of the life cycle themselves, or set up a probe first. False: refused (Node::last_error).
  bool prepare(Node& node);
  // The orderly end, in reverse order: stop, silence and destroy of whatever has not had it yet. Nothing is lost on the
  // disk. What the instances left behind is in Instance::holdings until `leave` (may be null) returns.
  void shut_down(Node& node, const std::function<void()>& leave = {});
  // Ends one instance of a running node and starts another in its place, as a reload does with options that cannot
  // change in place: same name and options, new `self`. Not `orderly`: the old one goes without a call of its `stop`.
  // The node is not `running` until the new one has started. False: there is no such instance, or the new one was
  // refused; then what `find` gives does nothing (Node::last_error).
  bool restart(Node& node, std::string_view instance_name, bool orderly = true);
  // The machine sleeps: the clocks go on, nothing runs, and then everything that is due runs at once.
  void sleep_for_ms(std::uint64_t duration_ms) { scheduler_.jump_by_us(duration_ms * 1000); }

  // The outside world speaks HTTP to a listener, for example to a node's local socket "unix:/...".
  void http(const std::string& address, HttpExchange exchange, std::function<void(HttpAnswer)> answer);

  // Runs events for a span of virtual time; stops early when `until` (may be empty) becomes true, and says whether it
  // did.
  bool run_for_ms(std::uint64_t duration_ms, const std::function<bool()>& until = {});
  bool step();

  Scheduler& scheduler() noexcept { return scheduler_; }
  Random& random() noexcept { return random_; }
  Random& fault_random() noexcept { return fault_random_; }  // for the scenario: independent of the plugins' use
  Network& network() noexcept { return network_; }
  const WorldOptions& options() const noexcept { return options_; }
  const std::vector<std::unique_ptr<Node>>& nodes() const noexcept { return nodes_; }
  std::int64_t unix_ms() const noexcept;
  std::int64_t user_id() const noexcept { return user_id_; }
  std::string clock_text() const;

  // --- for the tables ---
  static World* current() noexcept;
  static Instance* instance_of(cm_handle self) noexcept;
  cm_handle next_handle() noexcept { return ++last_handle_; }
  bool was_given(cm_handle handle) const noexcept { return handle <= last_handle_; }
  void register_instance(cm_handle self, Instance* instance);
  void forget_instance(cm_handle self);
  cm_status create_buffer(cm_handle owner, cm_bytes_pview bytes, cm_hbuf* out);
  void retain_buffer(cm_handle buffer);
  bool release_buffer(cm_handle buffer);  // false: there is no such buffer
  std::size_t buffers_of(cm_handle owner) const;
  bool in_job() const noexcept { return jobs_running_ != 0; }
  std::uint64_t jobs_begun() const noexcept { return jobs_begun_; }
  // Marks that what runs now would run on a worker's thread.
  class JobScope {
   public:
    explicit JobScope(World& world) : world_(world) {
      ++world_.jobs_running_;
      ++world_.jobs_begun_;
    }
    ~JobScope() { --world_.jobs_running_; }
    JobScope(const JobScope&) = delete;
    JobScope& operator=(const JobScope&) = delete;

   private:
    World& world_;
  };

  // --- for threads of plugins, on which no world is current. They reach the world that was made last [any] ---
  static void note_foreign_call(cm_handle self, const HostFunction& function);
  static cm_status foreign_post(cm_handle target, cm_callback function, cm_callback dropped, void* user);
  static std::uint64_t foreign_now_us();
  const std::string* find_buffer(cm_handle buffer) const;
  template <typename T>
  void bury(std::unique_ptr<T> object) {
    graveyard_.push_back(std::shared_ptr<void>(std::move(object)));
  }

  // --- DiskProvider ---
  SimDisk* disk_of(std::string_view path) override;
  Random& disk_random() override { return random_; }
  std::int64_t disk_unix_ms() override { return unix_ms(); }

 private:
  friend class Node;
  void reap();
  void take_foreign_posts();

  WorldOptions options_;
  Scheduler scheduler_;
  Random random_;
  Random fault_random_;
  Network network_;
  std::int64_t user_id_;
  cm_handle last_handle_ = 0;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::unordered_map<cm_handle, Instance*> instances_;
  struct Buffer {
    std::string bytes;
    std::uint64_t references;
    cm_handle owner;
  };
  std::uint32_t jobs_running_ = 0;
  std::uint64_t jobs_begun_ = 0;
  std::unordered_map<cm_handle, Buffer> buffers_;
  std::vector<std::shared_ptr<void>> graveyard_;  // freed after the running event
};

}  // namespace cm::sim
