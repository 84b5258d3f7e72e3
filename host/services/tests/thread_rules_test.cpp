// Goal: rule 7 (docs/rules): an instance belongs to one loop and is never entered twice at once, functions of the loop
// are refused elsewhere, [any] functions are not. Method: a plugin that is built into the test lends its cm_host to the
// test, which calls the tables as the plugin would, from the wrong thread and from many.
#include <claudemesh/ext/http.h>
#include <claudemesh/ext/process.h>
#include <claudemesh/ext/websocket.h>
#include <claudemesh/cpp/plugin.hpp>

#include <atomic>
#include <optional>
#include <set>
#include <thread>

#include "host_fixture.hpp"

namespace cm::host {
namespace {

// Who was inside the instance, from which threads, and how many at once.
struct Entered {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, int> calls;
  std::set<std::thread::id> threads;
  std::atomic<int> inside{0};
  int inside_max = 0;

  // Around the body of every callback.
  template <typename Body>
  void in(const std::string& callback, Body&& body) {
    const int depth = ++inside;
    {
      const std::lock_guard lock(mutex);
      inside_max = std::max(inside_max, depth);
      threads.insert(std::this_thread::get_id());
    }
    body();
    --inside;
    const std::lock_guard lock(mutex);
    ++calls[callback];
    changed.notify_all();
  }
  bool wait_for(const std::string& callback, int wanted) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, kTestDeadline, [&] { return calls[callback] >= wanted; });
  }
};

class Member;
Member* member = nullptr;
Entered* entered = nullptr;

class Member final : public PluginInstance {
 public:
  explicit Member(const cm_host* raw) : PluginInstance(raw), ticker_(host()) { member = this; }

  Status configure() override {
    entered->in("configure", [this] { metric_ = host().counter("test_member_total", "", "Calls"); });
    return {};
  }
  void start(Done started) override {
    entered->in("start", [this] {
      const HostApi& api = host();
      ticker_.every_ms(1, [&api] {
        entered->in("timer", [&api] {
          // What the host might carry out at once, and then would enter this instance twice.
          api.post([] { entered->in("post", [] {}); });
          api.events_table()->publish(api.self(), to_pview("rules.own"), to_pview("{}"));
        });
      });
      cm_handle handle = CM_NO_HANDLE;
      api.events_table()->subscribe(api.self(), to_pview("rules.*"), &Member::event, nullptr, &handle);
    });
    started({});
  }
  void drain(std::uint64_t, Done drained) override {
    entered->in("drain", [] {});
    drained({});
  }
  void stop() override {
    entered->in("stop", [this] { ticker_.cancel(); });
  }
  static void event(void*, cm_text_hview, cm_text_hview) noexcept {
    entered->in("event", [] {});
  }

  Metric metric_;

 private:
  Timer ticker_;
};

constexpr const char* kManifest = R"({
  "id": "org.claudemesh.test.member", "name": "test_member", "version": "1.0.0", "abi": {"min": "1.0", "built": "1.0"},
  "requires": ["cm.buffer/1", "cm.log/1", "cm.loop/1", "cm.timer/1", "cm.clock/1", "cm.random/1", "cm.metrics/1",
               "cm.events/1", "cm.worker/1", "cm.config/1", "cm.registry/1", "cm.http.server/1", "cm.http.client/1",
               "cm.websocket/1", "cm.process/1"], "options": []})";

class ThreadRulesTest : public HostFixture {
 protected:
  ThreadRulesTest() {
    static const Status registered = loader::register_builtin(&detail::kPluginEntry<Member>, kManifest);
    EXPECT_TRUE(registered.ok());
    entered = &entered_;
    start_host("[host]\nthreads = 3\n" + echo() + "[plugins.member]\nuse = \"test_member\"\n");
  }

  // Before `entered_` goes: the stop of the instance is counted too.
  ~ThreadRulesTest() override { host_.reset(); }

  // The value of a series; `series` ends with a space.
  std::uint64_t value_of(const std::string& series) const {
    const std::string metrics = host_->metrics_text();
    const std::size_t at = metrics.find("\n" + series);
    return at == std::string::npos ? 0 : std::stoull(metrics.substr(at + 1 + series.size(), 20));
  }
  std::uint64_t refusals() const { return host_->services().counters.wrong_thread_calls.load(); }

  Entered entered_;
};

TEST_F(ThreadRulesTest, AnInstanceIsEnteredOnOneThreadAndNeverTwiceAtOnce) {
  std::vector<std::thread> others;
  for (int thread = 0; thread < 3; ++thread) {
    others.emplace_back([] {
      const HostApi& api = member->host();
      for (int i = 0; i < 200; ++i) {
        api.post([] { entered->in("foreign_post", [] {}); });
        api.events_table()->publish(api.self(), to_pview("rules.foreign"), to_pview("{}"));
      }
    });
  }
  for (std::thread& other : others) {
    other.join();
  }
  EXPECT_TRUE(entered_.wait_for("foreign_post", 600));
  EXPECT_TRUE(entered_.wait_for("event", 600));
  EXPECT_TRUE(entered_.wait_for("timer", 3));
  EXPECT_TRUE(entered_.wait_for("post", 3));
  stop_host();
  EXPECT_EQ(entered_.calls["configure"], 1);
  EXPECT_EQ(entered_.calls["start"], 1);
  EXPECT_EQ(entered_.calls["drain"], 1);
  EXPECT_EQ(entered_.calls["stop"], 1);
  EXPECT_EQ(entered_.threads.size(), 1u) << "all callbacks and steps come on the loop of the instance";
  EXPECT_EQ(entered_.threads.count(std::this_thread::get_id()), 0u);
  EXPECT_EQ(entered_.inside_max, 1);
}

TEST_F(ThreadRulesTest, AJobRunsOnAnotherThread) {
  std::atomic<bool> on_loop{true};
  std::atomic<bool> done{false};
  std::thread::id worker;
  ASSERT_TRUE(run_on_worker(
      member->host(), CM_WORKER_POOL,
      [&] {
        worker = std::this_thread::get_id();
        on_loop = member->host().on_loop();
      },
      [&] { entered->in("back", [&] { done = member->host().on_loop(); }); }));
  ASSERT_TRUE(entered_.wait_for("back", 1));
  EXPECT_FALSE(on_loop);
  EXPECT_TRUE(done);
  EXPECT_EQ(entered_.threads.count(worker), 0u);
}

// One function of a table; what it answers if it answers a status.
struct Function {
  const char* name;
  std::function<std::optional<cm_status>()> call;
};
template <typename Table>
struct Functions {
  const char* id;
  std::size_t any;  // how many of the table are [any]
  std::vector<Function> loop;
};
constexpr cm_handle kUntouched = 77;

class WrongThread {
 public:
  WrongThread() : self_(member->host().self()) {}

  // Every function that the table has must be known here: a new one is not forgotten.
  template <typename Table>
  void check(const Functions<Table>& functions, const std::function<std::uint64_t()>& refusals) {
    SCOPED_TRACE(functions.id);
    constexpr std::size_t kHead = 2 * sizeof(std::uint32_t);
    EXPECT_EQ(functions.any + functions.loop.size(), (sizeof(Table) - kHead) / sizeof(void*));
    for (const Function& function : functions.loop) {
      SCOPED_TRACE(function.name);
      const std::uint64_t before = refusals();
      const std::optional<cm_status> status = function.call();
      EXPECT_EQ(refusals(), before + 1) << "not refused and counted";
      EXPECT_EQ(status.value_or(CM_INVALID), CM_INVALID);
      EXPECT_EQ(out_, kUntouched);
    }
  }
  template <typename Table>
  const Table& table(const char* id) const {
    return *member->host().find<Table>(id);
  }

  void timers_and_metrics(const std::function<std::uint64_t()>& refusals);
  void events_and_workers(const std::function<std::uint64_t()>& refusals);
  void config_and_registry(const std::function<std::uint64_t()>& refusals);
  void http(const std::function<std::uint64_t()>& refusals);
  void websocket(const std::function<std::uint64_t()>& refusals);
  void process(const std::function<std::uint64_t()>& refusals);

 private:
  static void nothing(void*) noexcept {}

  cm_handle self_;
  cm_handle out_ = kUntouched;
  cm_text_pview text_ = to_pview("x");
};

void WrongThread::timers_and_metrics(const std::function<std::uint64_t()>& refusals) {
  const auto& timer = table<cm_timer_v1>(CM_TIMER_ID);
  check<cm_timer_v1>({CM_TIMER_ID,
                      0,
                      {{"start", [&] { return timer.start(self_, 1, 0, nothing, nullptr, &out_); }},
                       {"cancel", [&] { return timer.cancel(self_, 1); }}}},
                     refusals);
  const auto& metrics = table<cm_metrics_v1>(CM_METRICS_ID);
  std::uint32_t id = 5;
  check<cm_metrics_v1>(
      {CM_METRICS_ID, 3, {{"define", [&] { return metrics.define(self_, 1, text_, text_, text_, &id); }}}}, refusals);
  EXPECT_EQ(id, 5u);
}
void WrongThread::events_and_workers(const std::function<std::uint64_t()>& refusals) {
  const auto& events = table<cm_events_v1>(CM_EVENTS_ID);
  check<cm_events_v1>({CM_EVENTS_ID,
                       1,
                       {{"subscribe", [&] { return events.subscribe(self_, text_, &Member::event, nullptr, &out_); }},
                        {"unsubscribe", [&] { return events.unsubscribe(self_, 1); }}}},
                      refusals);
  const auto& worker = table<cm_worker_v1>(CM_WORKER_ID);
  check<cm_worker_v1>({CM_WORKER_ID,
                       1,
                       {{"create_queue", [&] { return worker.create_queue(self_, text_, &out_); }},
                        {"close_queue", [&] { return worker.close_queue(self_, 1); }}}},
                      refusals);
}
void WrongThread::config_and_registry(const std::function<std::uint64_t()>& refusals) {
  const auto& config = table<cm_config_v1>(CM_CONFIG_ID);
  bool flag = false;
  std::int64_t integer = 0;
  double real = 0;
  std::uint64_t size = 0;
  cm_text_hview view = {};
  check<cm_config_v1>({CM_CONFIG_ID,
                       0,
                       {{"instance_name", [&] { return config.instance_name(self_), std::nullopt; }},
                        {"get_bool", [&] { return config.get_bool(self_, 0, text_, &flag); }},
                        {"get_int", [&] { return config.get_int(self_, 0, text_, &integer); }},
                        {"get_float", [&] { return config.get_float(self_, 0, text_, &real); }},
                        {"get_text", [&] { return config.get_text(self_, 0, text_, &view); }},
                        {"list_size", [&] { return config.list_size(self_, 0, text_, &size); }},
                        {"list_text", [&] { return config.list_text(self_, 0, text_, 0, &view); }}}},
                      refusals);
  EXPECT_EQ(view.data, nullptr);
  const auto& registry = table<cm_registry_v1>(CM_REGISTRY_ID);
  cm_extension extension = {};
  check<cm_registry_v1>(
      {CM_REGISTRY_ID,
       0,
       {{"acquire", [&] { return registry.acquire(self_, text_, text_, nothing, nullptr, &extension); }},
        {"release", [&] { return registry.release(self_, 1), std::nullopt; }}}},
      refusals);
  EXPECT_EQ(extension.table, nullptr);
}
void WrongThread::http(const std::function<std::uint64_t()>& refusals) {
  const auto& server = table<cm_http_server_v1>(CM_HTTP_SERVER_ID);
  const auto handler = [](void*, cm_handle, const cm_http_request_info*) noexcept {};
  const auto stream = [](void*, cm_handle, std::uint32_t) noexcept {};
  const auto result = [](void*, cm_handle, const cm_http_result*) noexcept {};
  cm_http_listen_options options = {};
  options.size = sizeof(options);
  cm_http_call call = {};
  call.size = sizeof(call);
  cm_text_hview view = {};
  bool present = false;
  check<cm_http_server_v1>(
      {CM_HTTP_SERVER_ID,
       0,
       {{"listen", [&] { return server.listen(self_, &options, &out_); }},
        {"local_address", [&] { return server.local_address(self_, 1, &view); }},
        {"route", [&] { return server.route(self_, 1, text_, text_, handler, nullptr); }},
        {"fallback", [&] { return server.fallback(self_, 1, handler, nullptr); }},
        {"close", [&] { return server.close(self_, 1); }},
        {"header", [&] { return server.header(self_, 1, text_), std::nullopt; }},
        {"path_parameter", [&] { return server.path_parameter(self_, 1, text_), std::nullopt; }},
        {"query_parameter", [&] { return server.query_parameter(self_, 1, text_, &present), std::nullopt; }},
        {"respond", [&] { return server.respond(self_, 1, 200, nullptr, 0, {}); }},
        {"stream_begin", [&] { return server.stream_begin(self_, 1, 200, nullptr, 0, stream, nullptr); }},
        {"stream_write", [&] { return server.stream_write(self_, 1, {}); }},
        {"stream_end", [&] { return server.stream_end(self_, 1); }}}},
      refusals);
  const auto& client = table<cm_http_client_v1>(CM_HTTP_CLIENT_ID);
  check<cm_http_client_v1>({CM_HTTP_CLIENT_ID,
                            0,
                            {{"send", [&] { return client.send(self_, &call, result, nullptr, &out_); }},
                             {"cancel", [&] { return client.cancel(self_, 1); }}}},
                           refusals);
}
void WrongThread::websocket(const std::function<std::uint64_t()>& refusals) {
  const auto& socket = table<cm_websocket_v1>(CM_WEBSOCKET_ID);
  cm_websocket_options options = {};
  options.size = sizeof(options);
  cm_websocket_callbacks callbacks = {};
  callbacks.size = sizeof(callbacks);
  check<cm_websocket_v1>(
      {CM_WEBSOCKET_ID,
       0,
       {{"accept", [&] { return socket.accept(self_, 1, &options, &callbacks, nullptr, &out_); }},
        {"connect", [&] { return socket.connect(self_, text_, &options, &callbacks, nullptr, &out_); }},
        {"send", [&] { return socket.send(self_, 1, CM_WEBSOCKET_TEXT, {}); }},
        {"send_buffer", [&] { return socket.send_buffer(self_, 1, CM_WEBSOCKET_TEXT, 1); }},
        {"ping", [&] { return socket.ping(self_, 1); }},
        {"close", [&] { return socket.close(self_, 1, 1000, text_); }},
        {"terminate", [&] { return socket.terminate(self_, 1); }},
        {"buffered_bytes", [&] { return socket.buffered_bytes(self_, 1), std::nullopt; }},
        {"pause_reading", [&] { return socket.pause_reading(self_, 1); }},
        {"resume_reading", [&] { return socket.resume_reading(self_, 1); }}}},
      refusals);
}
void WrongThread::process(const std::function<std::uint64_t()>& refusals) {
  const auto& process = table<cm_process_v1>(CM_PROCESS_ID);
  cm_process_options options = {};
  options.size = sizeof(options);
  cm_process_callbacks callbacks = {};
  callbacks.size = sizeof(callbacks);
  check<cm_process_v1>({CM_PROCESS_ID,
                        0,
                        {{"spawn", [&] { return process.spawn(self_, &options, &callbacks, nullptr, &out_); }},
                         {"write", [&] { return process.write(self_, 1, {}); }},
                         {"close_input", [&] { return process.close_input(self_, 1); }},
                         {"pause_output", [&] { return process.pause_output(self_, 1, true); }},
                         {"kill", [&] { return process.kill(self_, 1, 0); }},
                         {"abandon", [&] { return process.abandon(self_, 1); }},
                         {"process_id", [&] { return process.process_id(self_, 1), std::nullopt; }}}},
                       refusals);
}

TEST_F(ThreadRulesTest, EveryLoopFunctionOfEveryTableIsRefusedOnAnotherThread) {
  const auto count = [this] { return refusals(); };
  WrongThread wrong;
  wrong.timers_and_metrics(count);
  wrong.events_and_workers(count);
  wrong.config_and_registry(count);
  wrong.http(count);
  wrong.websocket(count);
  wrong.process(count);
  EXPECT_TRUE(log_->wait_for("plugin-misbehaving [member]", "was called outside the instance's loop and refused"));
  EXPECT_GE(value_of("claudemesh_plugin_misbehaviour_total{plugin=\"member\"} "), refusals());
}

TEST_F(ThreadRulesTest, AnyFunctionsWorkOnManyThreadsAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kTimes = 100;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([] {
      const HostApi& api = member->host();
      const cm_buffer_v1& buffers = *api.buffer_table();
      for (int i = 0; i < kTimes; ++i) {
        std::uint8_t bytes[8];
        api.fill_random(bytes, sizeof(bytes));
        cm_hbuf buffer = {};
        EXPECT_EQ(buffers.create(api.self(), to_bytes_pview("bytes"), &buffer), CM_OK);
        buffers.retain(api.self(), buffer.handle);
        buffers.release(api.self(), buffer.handle);
        buffers.release(api.self(), buffer.handle);
        member->metric_.add();
        EXPECT_GT(api.monotonic_us(), 0u);
        EXPECT_GT(api.unix_ms(), 0);
        EXPECT_FALSE(api.on_loop());
        api.log(cm::LogLevel::kDebug, "from a thread of the plugin");
        api.set_error("x");
        EXPECT_TRUE(run_on_worker(api, CM_WORKER_POOL, [] {}, [] { entered->in("back", [] {}); }));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_TRUE(entered_.wait_for("back", kThreads * kTimes));
  EXPECT_EQ(refusals(), 0u);
  EXPECT_EQ(value_of("test_member_total{plugin=\"member\"} "), static_cast<std::uint64_t>(kThreads * kTimes));
}

}  // namespace
}  // namespace cm::host
