// A host for the tests of one plugin: virtual time, posts and timers in one queue, options from a map, extensions from
// a registry, HTTP requests and WebSockets that the test drives by hand. Single-threaded; nothing is random unless
// seeded.
#pragma once

#include <claudemesh/ext/http.h>
#include <claudemesh/ext/websocket.h>
#include <claudemesh/cpp/plugin.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace cm::testing {

using OptionValue = std::variant<bool, std::int64_t, std::string, std::vector<std::string>>;

// An answer of an HTTP handler, filled when it comes.
struct FakeAnswer {
  bool done = false;  // respond or stream_end was called
  bool streaming = false;
  bool blocked = false;  // the test's reader takes nothing: stream_write answers CM_BUSY
  std::uint32_t status = 0;
  std::string body;  // of respond, or everything streamed
  cm_http_stream_callback stream_callback = nullptr;
  void* stream_user = nullptr;
  cm_handle handle = CM_NO_HANDLE;
};

struct FakeRequest {
  std::string method;
  std::string target;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool unix_socket = true;
  // filled by the host
  std::string path;
  std::string query;
  std::map<std::string, std::string> parameters;
  std::map<std::string, std::string> query_values;
  std::shared_ptr<FakeAnswer> answer;
};

// A WebSocket that a plugin opened; the test is the other end.
struct FakeSocket {
  cm_handle handle = CM_NO_HANDLE;
  std::string url;
  cm_websocket_callbacks callbacks = {};
  void* user = nullptr;
  bool alive = true;  // neither closed nor terminated
  bool terminated = false;
  std::uint32_t close_code = 0;  // asked for by the plugin
  std::string close_reason;
  std::vector<std::string> sent;
  int pings = 0;

  void open() { callbacks.opened(user, handle); }
  void pong() { callbacks.pong(user, handle); }
  void deliver(const std::vector<std::string>& texts);
  void close(std::uint32_t code, std::string_view reason);
};

class FakeHost;

// The functions of cm_host.
const void* fake_table_get(cm_handle self, const char* id) noexcept;
void fake_set_error(cm_handle self, cm_text_pview message) noexcept;
cm_status fake_complete(cm_handle self, cm_handle ticket, cm_status status, cm_text_pview message) noexcept;

// One plugin instance.
class FakeInstance {
 public:
  FakeInstance(FakeHost& host, std::string name, std::map<std::string, OptionValue> options);
  FakeInstance(const FakeInstance&) = delete;
  FakeInstance& operator=(const FakeInstance&) = delete;
  ~FakeInstance() { destroy(); }

  template <typename Plugin>
  cm_status create() {
    return detail::kFactory<Plugin>.create(&raw_, &instance_, &table_);
  }
  cm_status configure() { return table_->configure(instance_); }
  // CM_DEFER while it runs; then start_status.
  cm_status start();
  void stop();
  void destroy();

  cm_status start_status = CM_DEFER;
  cm_status drain_status = CM_DEFER;
  cm_status drain(std::uint64_t deadline_ms);
  std::string error;
  std::map<std::string, OptionValue> options;
  std::map<std::string, std::int64_t> metrics;

  cm_handle self() const noexcept { return raw_.self; }
  cm_instance* instance() const noexcept { return instance_; }
  const cm_instance_table_v1* table() const noexcept { return table_; }
  const std::string& name() const noexcept { return name_; }
  FakeHost& host() noexcept { return host_; }
  bool stopped() const noexcept { return stopped_; }

 private:
  friend class FakeHost;
  friend struct FakeTables;
  FakeHost& host_;
  std::string name_;
  cm_host raw_ = {};
  cm_instance* instance_ = nullptr;
  const cm_instance_table_v1* table_ = nullptr;
  bool stopped_ = false;
  std::vector<std::string> metric_names_;
};

class FakeHost {
 public:
  FakeHost();
  ~FakeHost();
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  static inline FakeHost* current = nullptr;  // one at a time: the tables get nothing but a handle

  // --- time ---
  void run_for_ms(std::uint64_t duration_ms);
  // Runs until `condition` holds; false when it does not within `limit_ms` of virtual time.
  bool run_until(const std::function<bool()>& condition, std::uint64_t limit_ms = 600'000);
  // Runs what is due now.
  void settle() { run_for_ms(0); }
  std::uint64_t now_us = 1'000'000;
  std::int64_t unix_ms_at_zero = 1'750'000'000'000;
  std::int64_t unix_ms() const noexcept { return unix_ms_at_zero + static_cast<std::int64_t>(now_us / 1'000); }

  cm_handle schedule(std::uint64_t delay_us, std::function<void()> function);
  bool cancel(cm_handle event);

  // --- workers ---
  struct Job {
    cm_handle self;
    std::function<void()> function;
  };
  bool hold_jobs = false;  // a slow worker: jobs wait for run_job
  std::deque<Job> jobs;    // not begun
  // Runs the oldest job that waits, if there is one.
  void run_job();

  // --- extensions ---
  void provide(const std::string& name, const std::string& id, void* instance, const void* table);

  // --- HTTP: the test is the client ---
  std::shared_ptr<FakeAnswer> http(const std::string& address, FakeRequest request);
  void disconnect(const std::shared_ptr<FakeAnswer>& answer);
  void drained(const std::shared_ptr<FakeAnswer>& answer);
  bool is_listening(const std::string& address) const;

  // --- WebSockets: the test is the server ---
  std::vector<std::shared_ptr<FakeSocket>> sockets;
  cm_status connect_status = CM_OK;

  std::vector<std::string> log;

 private:
  friend class FakeInstance;
  friend struct FakeTables;
  struct Route {
    std::string method;
    std::string pattern;
    cm_http_handler handler;
    void* user;
  };
  struct Listener {
    std::string address;
    std::vector<Route> routes;
    Route fallback{};
  };
  struct Extension {
    void* instance;
    const void* table;
  };
  struct PendingEvent {
    std::uint64_t time_us;
    std::function<void()> function;
  };

  void finish_jobs(cm_handle self);

  cm_handle next_handle_ = 1;
  std::map<std::pair<std::uint64_t, cm_handle>, std::function<void()>> events_;
  std::map<cm_handle, std::uint64_t> event_times_;
  struct TimerState {
    cm_handle event;
    std::uint64_t period_us;
    cm_callback function;
    void* user;
  };
  std::map<cm_handle, TimerState> timers_;
  std::map<cm_handle, FakeInstance*> instances_;
  std::map<std::pair<std::string, std::string>, Extension> extensions_;
  std::map<cm_handle, Listener> listeners_;
  std::map<cm_handle, FakeRequest> requests_;
  std::uint64_t random_ = 0x9e3779b97f4a7c15ULL;
};

}  // namespace cm::testing
