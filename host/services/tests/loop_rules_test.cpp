// Goal: rule 9 (nothing blocks a loop) and rule 11 (memory of the caller is read during the call only), docs/rules.
// Method: a plugin that is built into the test starts, on the only loop, whatever can take long, with a peer that never
// answers; then the loop must answer. And it overwrites what it passed as soon as each call has returned.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/plugin.hpp>
#include <claudemesh/cpp/process.hpp>
#include <claudemesh/cpp/websocket.hpp>

#include <future>

#include "host_fixture.hpp"

namespace cm::host {
namespace {

class Member;
Member* member = nullptr;

class Member final : public PluginInstance, public WebSocketOwner {
 public:
  explicit Member(const cm_host* raw) : PluginInstance(raw), timer_(host()) { member = this; }

  Status configure() override { return {}; }
  void start(Done started) override {
    cm_http_listen_options options = {};
    const std::string listen = host().option_text("listen");
    options.address = to_pview(listen);
    const Status status = listener_.listen(host(), options);
    listener_.route("POST", "/echo", [](const HttpRequest& request) {
      request.respond(200, {}, std::string(request.header("x-word")) + " " + std::string(request.body()));
    });
    listener_.route("GET", "/views", [this](const HttpRequest& request) { respond_and_overwrite(request); });
    listener_.fallback([](const HttpRequest& request) { request.respond(200, {}, "well"); });
    started(status);
  }
  void stop() override {
    child_.abandon();
    socket_.terminate();
    listener_.close();
    timer_.cancel();
  }

  // Everything that can take long, with a peer that never answers. On the loop.
  void begin_everything(const std::string& mute, std::shared_future<void> released) {
    HttpCall call;
    call.url = "http://" + mute + "/";
    http_send(host(), call, [this](Result<HttpResponse>) { ++ended; });
    EXPECT_EQ(socket_.connect(host(), "ws://" + mute + "/", {}, this), CM_OK);
    child_.on_exit = [this](const ProcessExit&) { ++ended; };
    EXPECT_TRUE(child_.start(host(), {.program = "/bin/sleep", .arguments = {"600"}}));
    EXPECT_TRUE(run_on_worker(
        host(), CM_WORKER_POOL, [released] { static_cast<void>(released.wait_for(kTestDeadline)); },
        [this] { ++ended; }));
    timer_.start_ms(600'000, [this] { ++ended; });
  }
  void on_messages(std::span<const cm_websocket_message>) override {}
  void on_closed(std::uint32_t, std::string_view, bool) override { ++ended; }

  // Spins for longer than the budget of a callback, in a timer.
  void exceed_the_budget() {
    timer_.start_ms(0, [this] {
      const std::uint64_t until_us = host().monotonic_us() + 30'000;
      while (host().monotonic_us() < until_us) {
      }
    });
  }

  // Passes text to one function of each kind and overwrites it at once. On the loop.
  void call_and_overwrite(const std::string& own_address) {
    const HostApi& api = host();
    cm_handle subscription = CM_NO_HANDLE;
    std::string topic = "views.topic";
    api.events_table()->subscribe(api.self(), to_pview(topic), &Member::event, this, &subscription);
    overwrite(topic);
    topic = "views.topic";
    std::string json = "{\"a\":1}";
    api.events_table()->publish(api.self(), to_pview(topic), to_pview(json));
    overwrite(topic);
    overwrite(json);
    std::string line = "a line to keep";
    std::string value = "a value";
    const cm_log_field field = {to_pview("key"), to_pview(value)};
    const auto* log = api.find<cm_log_v1>(CM_LOG_ID);
    log->write(api.self(), CM_LOG_INFO, to_pview(line), &field, 1);
    overwrite(line);
    overwrite(value);
    std::string bytes = "bytes of a buffer";
    api.buffer_table()->create(api.self(), to_bytes_pview(std::string_view(bytes)), &buffer);
    overwrite(bytes);
    send_and_overwrite(own_address);
    spawn_and_overwrite();
  }
  static void overwrite(std::string& text) { text.assign(text.size(), '#'); }

  std::atomic<int> ended{0};
  std::promise<std::string> heard;     // topic and JSON of the event
  std::promise<std::string> answered;  // what the own listener saw of the HTTP call
  std::promise<std::string> printed;   // by the child
  cm_hbuf buffer = {};

 private:
  static void event(void* user, cm_text_hview topic, cm_text_hview json) noexcept {
    static_cast<Member*>(user)->heard.set_value(std::string(to_view(topic)) + " " + std::string(to_view(json)));
  }
  void respond_and_overwrite(const HttpRequest& request) {
    std::string body = "a body to keep";
    std::string name = "x-word";
    std::string value = "kept";
    request.respond(200, {HttpHeader{name, value}}, body);
    overwrite(name);
    overwrite(value);
    overwrite(body);
  }
  void send_and_overwrite(const std::string& own_address) {
    HttpCall call;
    call.method = "POST";
    call.url = "http://" + own_address + "/echo";
    call.body = "a body";
    call.headers = {{"x-word", "a word"}};
    http_send(host(), call, [this](Result<HttpResponse> result) {
      answered.set_value(result.ok() ? result->body : result.error().message);
    });
    overwrite(call.method);
    overwrite(call.url);
    overwrite(call.body);
    overwrite(call.headers[0].second);
  }
  void spawn_and_overwrite() {
    ProcessCommand command = {.program = "/bin/sh", .arguments = {"-c", "cat; echo $WORD"}};
    command.environment = {"WORD=of the environment"};
    command.input = "input ";
    child_.on_output = [this](std::uint32_t, std::string_view text) { out_ += text; };
    child_.on_exit = [this](const ProcessExit&) { printed.set_value(out_); };
    EXPECT_TRUE(child_.start(host(), command));
    overwrite(command.program);
    overwrite(command.arguments[1]);
    overwrite(command.environment[0]);
    overwrite(command.input);
  }

  HttpListener listener_;
  WebSocket socket_;
  Process child_;
  Timer timer_;
  std::string out_;
};

constexpr const char* kManifest = R"({
  "id": "org.claudemesh.test.pending", "name": "test_pending", "version": "1.0.0",
  "abi": {"min": "1.0", "built": "1.0"},
  "requires": ["cm.buffer/1", "cm.log/1", "cm.loop/1", "cm.timer/1", "cm.clock/1", "cm.events/1", "cm.worker/1",
               "cm.config/1", "cm.http.server/1", "cm.http.client/1", "cm.websocket/1", "cm.process/1"],
  "options": [{"name": "listen", "type": "address", "default": "127.0.0.1:0", "doc": "Where it listens."}]})";

// Listens and never answers: connections stand in its queue.
class MuteServer {
 public:
  MuteServer() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(socket_, 16), 0);
    EXPECT_EQ(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  MuteServer(const MuteServer&) = delete;
  MuteServer& operator=(const MuteServer&) = delete;
  ~MuteServer() { ::close(socket_); }
  const std::string& address() const { return address_; }

 private:
  int socket_;
  std::string address_;
};

class LoopRulesTest : public HostFixture {
 protected:
  LoopRulesTest() {
    static const Status registered = loader::register_builtin(&detail::kPluginEntry<Member>, kManifest);
    EXPECT_TRUE(registered.ok());
    start_host("[host]\nthreads = 1\n[plugins.member]\nuse = \"test_pending\"\nlisten = \"unix:" +
               (folder_ / "member.sock").string() + "\"\n");
  }

  void on_loop(const std::function<void()>& function) const {
    InstanceDirectory::find(member->host().self())->loop_thread().run_sync(function);
  }
  std::string get(const std::string& path) { return request(url(path, "member")).body; }
  template <typename Value>
  static Value wait_for(std::promise<Value>& promise) {
    auto future = promise.get_future();
    return future.wait_for(kTestDeadline) == std::future_status::ready ? future.get() : Value();
  }
};

TEST_F(LoopRulesTest, NothingThatIsPendingHoldsUpTheLoop) {
  const MuteServer mute;
  std::promise<void> release;
  on_loop([&] { member->begin_everything(mute.address(), release.get_future().share()); });
  // The only loop serves requests while everything is under way.
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(get("/"), "well");
  }
  EXPECT_EQ(member->ended, 0) << "it was not under way any more";
  release.set_value();
  stop_host();
}

TEST_F(LoopRulesTest, ACallbackOverItsBudgetIsCountedAndLoggedAJobIsNot) {
  std::promise<void> back;
  EXPECT_TRUE(run_on_worker(
      member->host(), CM_WORKER_POOL,
      [] {
        const std::uint64_t until_us = member->host().monotonic_us() + 30'000;
        while (member->host().monotonic_us() < until_us) {
        }
      },
      [&back] { back.set_value(); }));
  on_loop([] { member->exceed_the_budget(); });
  EXPECT_TRUE(log_->wait_for("plugin-misbehaving [member]", "the callback timer held its loop for"));
  EXPECT_EQ(back.get_future().wait_for(kTestDeadline), std::future_status::ready);
  on_loop([] {});  // a callback is counted when it has returned, so before the next one
  const std::string metrics = host_->metrics_text();
  const std::string overruns = "claudemesh_plugin_call_overruns_total{plugin=\"member\",callback=";
  EXPECT_NE(metrics.find(overruns + "\"timer\"} 1\n"), std::string::npos);
  EXPECT_NE(metrics.find(overruns + "\"job\"} 0\n"), std::string::npos);
  // Each kind of callback is timed.
  for (const std::string callback : {"configure", "start", "timer", "job", "post"}) {
    const std::string count = "claudemesh_plugin_call_seconds_count{plugin=\"member\",callback=\"" + callback + "\"} ";
    EXPECT_NE(metrics.find(count), std::string::npos) << callback;
    EXPECT_EQ(metrics.find(count + "0\n"), std::string::npos) << callback;
  }
}

TEST_F(LoopRulesTest, MemoryOfTheCallerIsReadDuringTheCallOnly) {
  // A second listener, because the HTTP client of the member speaks TCP to it.
  HttpListener echo;
  std::string address;
  on_loop([&] {
    cm_http_listen_options options = {};
    options.address = to_pview("127.0.0.1:0");
    EXPECT_TRUE(echo.listen(member->host(), options));
    echo.fallback([](const HttpRequest& request) {
      request.respond(200, {}, std::string(request.header("x-word")) + ", " + std::string(request.body()));
    });
    address = echo.local_address();
    member->call_and_overwrite(address);
  });
  EXPECT_EQ(wait_for(member->heard), "views.topic {\"a\":1}");
  EXPECT_EQ(wait_for(member->answered), "a word, a body");
  EXPECT_EQ(wait_for(member->printed), "input of the environment\n");
  EXPECT_TRUE(log_->wait_for("a line to keep", "a value"));
  EXPECT_EQ(get("/views"), "a body to keep");
  const cm_hbuf& buffer = member->buffer;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(buffer.data), buffer.size), "bytes of a buffer");
  on_loop([&] {
    echo.close();
    member->host().buffer_table()->release(member->host().self(), buffer.handle);
  });
  stop_host();
}

}  // namespace
}  // namespace cm::host
