// One plugin instance on a simulated node: its host tables, timers, posts, jobs, listeners and sockets. Everything dies
// with the node's crash: from then on host functions do nothing and answer CM_GONE, and no callback reaches the plugin.
#pragma once

#include <claudemesh/ext/host.h>
#include <claudemesh/ext/http.h>
#include <claudemesh/ext/websocket.h>
#include <claudemesh/plugin.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "host/net/router.hpp"
#include "sdk/simhost/network.hpp"
#include "sdk/simhost/scheduler.hpp"

namespace cm::config {
class ValidatedOptions;
}

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

class Instance {
 public:
  Instance(Node& node, std::string name, std::string plugin, cm_handle self, const config::ValidatedOptions& options);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  // --- life cycle, driven by Node ---
  bool create(const cm_factory_v1* factory);
  cm_status configure();
  // `done` when the instance has answered, now or later.
  void start(std::function<void(cm_status, std::string)> done);
  void stop();
  void destroy();
  const void* extension(const char* id) const;
  // A crash: nothing more goes in or out. `silent` decides what the other ends of its connections see.
  void cut_off(Random& random, double half_open);

  // --- used by the tables ---
  bool alive() const noexcept;
  Node& node() noexcept { return node_; }
  cm_handle self() const noexcept { return host_.self; }
  const std::string& name() const noexcept { return name_; }
  const config::ValidatedOptions& options() const noexcept { return options_; }
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

  Node& node_;
  std::string name_;
  std::string plugin_;
  const config::ValidatedOptions& options_;
  cm_host host_ = {};
  cm_instance* instance_ = nullptr;
  const cm_instance_table_v1* table_ = nullptr;
  bool started_ = false;
  bool cut_off_ = false;
  std::string error_;
  cm_handle start_ticket_ = CM_NO_HANDLE;
  std::function<void(cm_status, std::string)> start_done_;
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
