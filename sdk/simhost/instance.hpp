// One plugin instance on a simulated node: its host tables, timers, posts, jobs, listeners and sockets. Everything dies
// with the node's crash: from then on host functions do nothing and answer CM_GONE, and no callback reaches the plugin.
#pragma once

#include <claudemesh/ext/host.h>
#include <claudemesh/ext/http.h>
#include <claudemesh/ext/websocket.h>
#include <claudemesh/plugin.h>

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/net/router.hpp"
#include "sdk/simhost/network.hpp"
#include "sdk/simhost/probe.hpp"
#include "sdk/simhost/processes.hpp"
#include "sdk/simhost/scheduler.hpp"

namespace cm::config {
class ValidatedOptions;
struct InstanceConfig;
}  // namespace cm::config

namespace cm::sim {

class Node;
class Instance;

// An HTTP exchange that waits for the instance's answer.
struct PendingRequest {
  cm_handle handle = CM_NO_HANDLE;
  HttpExchange exchange;
  std::string path;
  std::string query;
  std::string remote;
  std::vector<net::RouteParameter> parameters;
  std::map<std::string, std::string> decoded_query;
  std::map<std::string, std::string> lower_headers;
  std::function<void(HttpAnswer)> answer;
  std::shared_ptr<Connection> upgrade;
  bool streaming = false;
  std::string streamed;
  cm_http_stream_callback stream_callback = nullptr;
  void* stream_user = nullptr;
};

class Listener final : public ListenerEnd {
 public:
  Listener(Instance& instance, cm_handle handle) : instance_(instance), handle_(handle) {}
  void deliver_request(HttpExchange exchange, const NodeName& from, std::function<void(HttpAnswer)> answer,
                       std::shared_ptr<Connection> upgrade) override;

  struct Route {
    cm_http_handler handler = nullptr;
    void* user = nullptr;
  };
  net::Router router;
  std::map<net::RouteId, Route> routes;
  Route fallback;
  std::string address;

 private:
  Instance& instance_;
  cm_handle handle_;
};

class Socket final : public SocketEnd {
 public:
  Socket(Instance& instance, cm_handle handle, const cm_websocket_callbacks& callbacks, void* user)
      : instance_(instance), handle_(handle), callbacks_(callbacks), user_(user) {}
  void deliver_open() override;
  void deliver_messages(std::vector<std::pair<std::uint32_t, std::string>> messages) override;
  void deliver_pong() override;
  void deliver_closed(std::uint32_t code, const std::string& reason, bool clean) override;

  // Gives up on a peer that stays silent, as the real host does: 1006 with this reason, unless already closed.
  void give_up(const std::string& reason);

  std::shared_ptr<Connection> connection;
  int side = 0;
  bool opened = false;
  std::uint64_t close_timeout_ms = 0;
  std::uint64_t message_bytes_max = 0;

 private:
  Instance& instance_;
  cm_handle handle_;
  cm_websocket_callbacks callbacks_;
  void* user_;
};

// Where an instance stands in its life.
enum class Phase : std::uint8_t { kMade, kCreated, kConfigured, kStarted, kDraining, kStopped, kDestroyed };

// What an instance holds of the host. After stop and destroy all of it must be 0: a real host names the rest as
// misbehaviour.
struct Holdings {
  std::size_t timers = 0;
  std::size_t posts = 0;
  std::size_t jobs = 0;
  std::size_t queues = 0;
  std::size_t listeners = 0;
  std::size_t requests = 0;  // taken and not answered
  std::size_t sockets = 0;
  std::size_t calls = 0;  // of cm.http.client/1
  std::size_t subscriptions = 0;
  std::size_t references = 0;
  std::size_t buffers = 0;
  std::size_t processes = 0;  // that run, or ran at the end of stop and nobody had asked to end

  std::size_t total() const noexcept {
    return timers + posts + jobs + queues + listeners + requests + sockets + calls + subscriptions + references +
           buffers + processes;
  }
  std::string text() const;  // "2 timers, 1 listener"; empty when there is nothing
};

class Instance {
 public:
  // `wanted` must outlive the instance.
  Instance(Node& node, const config::InstanceConfig& wanted, const cm_factory_v1& factory, cm_handle self);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  // --- life cycle, driven by Node ---
  // Node::boot calls the first three. A test of its own makes the steps itself after World::prepare, in any order: the
  // instance is not protected from a wrong one.
  cm_status create();
  cm_status configure();
  // `done` when the instance has answered, now or later; never if it is stopped or crashes before.
  using StepDone = std::function<void(cm_status, std::string)>;
  void start(StepDone done);
  void drain(std::uint64_t deadline_ms, StepDone done);
  // Gives up waiting for the step: a late answer is no breach, and goes nowhere.
  void abandon_step() {
    step_done_ = nullptr;
    step_abandoned_ = true;
  }
  void stop();
  // What a host does after stop: no post, timer or event reaches the instance any more, waiting posts are dropped,
  // waiting jobs run, and host functions answer CM_GONE, but for those that give something back.
  void silence();
  void destroy();
  const void* extension(const char* id) const;
  // The two phases of a reload. CM_UNSUPPORTED: the plugin has no reload functions.
  cm_status reload_prepare(config::ValidatedOptions candidate);
  void reload_finish(bool commit);
  // A crash: nothing more goes in or out. `silent` decides what the other ends of its connections see.
  void cut_off(Random& random, double half_open);

  // --- what a test asks ---
  Phase phase() const noexcept { return phase_; }
  const cm_instance_table_v1* table() const noexcept { return table_; }
  const config::InstanceConfig& wanted() const noexcept { return wanted_; }
  const cm_factory_v1& factory() const noexcept { return factory_; }
  HostProbe& probe() noexcept { return probe_; }
  Holdings holdings() const;
  std::string take_error() { return std::exchange(error_, {}); }

  // --- used by the tables ---
  bool alive() const noexcept;
  std::optional<cm_status> enter_call(std::size_t function);
  void check_handle(const HostFunction& function, cm_handle handle);
  Node& node() noexcept { return node_; }
  cm_handle self() const noexcept { return host_.self; }
  const std::string& name() const noexcept { return name_; }
  // `which` as cm.config/1 counts; null when there is no candidate now.
  const config::ValidatedOptions* options(std::uint32_t which);
  cm_instance* raw() const noexcept { return instance_; }
  cm_handle next_handle();
  void set_error(std::string_view text) { error_ = text; }
  cm_status complete(cm_handle ticket, cm_status status, std::string_view text);

  cm_status post(cm_callback function, cm_callback dropped, void* user);
  cm_status start_timer(std::uint64_t delay_us, std::uint64_t period_us, cm_callback function, void* user,
                        cm_handle* out_timer);
  cm_status cancel_timer(cm_handle timer);
  cm_status submit_job(cm_handle queue, cm_callback job, void* user);

  std::map<cm_handle, std::unique_ptr<PendingRequest>> requests;
  std::map<cm_handle, std::unique_ptr<Listener>> listeners;
  std::map<cm_handle, std::unique_ptr<Socket>> sockets;
  std::map<cm_handle, std::pair<cm_http_callback, void*>> calls;
  struct Subscription {
    std::string topic;
    cm_event_callback callback;
    void* user;
  };
  std::map<cm_handle, Subscription> subscriptions;
  std::set<cm_handle> queues;
  std::set<cm_handle> references;
  Processes processes{*this};
  std::map<std::string, std::int64_t> metric_values;  // "name{labels}"
  std::vector<std::string> metric_names;

  // Closes the socket's bookkeeping once no callback can follow; safe inside a callback.
  void retire_socket(cm_handle socket);

 private:
  struct PostedCall {
    cm_callback function;
    cm_callback dropped;
    void* user;
  };
  struct TimerState {
    EventId event;
    std::uint64_t period_us;
    cm_callback function;
    void* user;
  };
  struct Job {
    cm_callback function;
    void* user;
  };
  void arm_timer(cm_handle timer, std::uint64_t delay_us);
  void fire_timer(cm_handle timer);
  void run_next_post();
  void run_next_job(cm_handle queue);
  void run_job(const Job& job);
  // Posts go back to who posted them; jobs run once more, perhaps without any effect outside, because their promise is
  // to run exactly once and they own memory.
  void give_back_posts_and_jobs();

  void begin_step(StepDone done);
  void finish_step(cm_status status);

  Node& node_;
  const config::InstanceConfig& wanted_;
  const cm_factory_v1& factory_;
  std::string name_;
  std::vector<std::unique_ptr<const config::ValidatedOptions>> option_sets_;  // the last is the active one
  std::unique_ptr<const config::ValidatedOptions> candidate_;
  HostProbe probe_;
  std::atomic<Phase> phase_ = Phase::kMade;  // threads of the plugin are judged by it, too
  bool in_destroy_ = false;
  bool silenced_ = false;
  cm_host host_ = {};
  cm_instance* instance_ = nullptr;
  const cm_instance_table_v1* table_ = nullptr;
  bool started_ = false;
  bool cut_off_ = false;
  std::string error_;
  cm_handle step_ticket_ = CM_NO_HANDLE;
  StepDone step_done_;
  bool step_abandoned_ = false;
  std::deque<PostedCall> posts_;
  std::uint64_t last_post_us_ = 0;
  std::map<cm_handle, TimerState> timers_;
  std::map<cm_handle, std::deque<Job>> jobs_;
  std::map<cm_handle, std::uint64_t> last_job_us_;
};

// The tables of the simulated host, by id; null when unknown.
const void* find_table(std::string_view id);
const void* find_http_server_table();
const void* find_http_client_table();
const void* find_websocket_table();

}  // namespace cm::sim
