// Goal: an exception of an author's function stops at the boundary of each header of the C++ layer: it is named with
// the callback, nothing of the caller is unwound, and whoever waits for an answer gets one. Method: the test plays the
// host and the provider of each table, and calls what the layer gave it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <claudemesh/cpp/bridge.hpp>
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/plugin.hpp>
#include <claudemesh/cpp/process.hpp>
#include <claudemesh/cpp/signaling.hpp>
#include <claudemesh/cpp/websocket.hpp>

#include <memory>
#include <stdexcept>
#include <string>

#include "sdk/tests/played_host.hpp"

namespace cm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

[[noreturn]] void fail() {
  throw std::runtime_error("on purpose");
}
std::string accusation(const std::string& callback) {
  return "an exception left the callback " + callback + ": on purpose";
}

// What a provider was given for its callbacks.
template <typename Callbacks>
struct Given {
  Callbacks callbacks = {};
  void* user = nullptr;
  std::uint32_t answered = 0;  // the status of an HTTP answer
};

class BoundaryTest : public ::testing::Test {
 protected:
  testing::PlayedHost played;
  HostApi host{played.raw()};
};

// --- tasks ---------------------------------------------------------------------------------------------------------

Task<int> throw_later(OneShot<int>& shot) {
  const int value = co_await shot;
  if (value != 0) {
    fail();
  }
  co_return value;
}
Task<void> await_both(OneShot<int>& shot, bool* caught) {
  try {
    co_await throw_later(shot);
  } catch (const std::runtime_error&) {
    *caught = true;
  }
}
Task<void> await_only(OneShot<int>& shot) {
  co_await throw_later(shot);
}

TEST_F(BoundaryTest, WhatATaskThrowsIsThrownWhereItIsAwaited) {
  OneShot<int> shot;
  bool caught = false;
  spawn(await_both(shot, &caught));
  EXPECT_TRUE(host.guarded("timer", [&] { shot.set(1); }));
  EXPECT_TRUE(caught);
  EXPECT_THAT(played.take_accusations(), IsEmpty());
}

TEST_F(BoundaryTest, WhatLeavesASpawnedTaskIsNamedByTheCallbackThatResumedIt) {
  OneShot<int> shot;
  bool finished = false;
  bool behind = false;
  spawn(await_only(shot), [&] { finished = true; });
  EXPECT_FALSE(host.guarded("timer", [&] {
    shot.set(1);
    behind = true;
  }));
  EXPECT_TRUE(behind) << "the frame that resumed it is not unwound";
  EXPECT_FALSE(finished);
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("timer")));
}

TEST_F(BoundaryTest, TheEndOfAGateMayThrow) {
  Gate gate;
  auto pass = gate.enter();
  gate.close([] { fail(); });
  EXPECT_FALSE(host.guarded("post", [&] { pass = Gate::Pass(); }));
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("post")));
}

TEST_F(BoundaryTest, OutsideOfACallbackATaskThatThrowsEndsTheProcess) {
  OneShot<int> shot;
  spawn(await_only(shot));
  EXPECT_DEATH(shot.set(1), "");
  shot.set(0);
}

// --- the life cycle --------------------------------------------------------------------------------------------------

struct NoException {};

class Odd final : public PluginInstance {
 public:
  using PluginInstance::PluginInstance;
  Status configure() override { throw NoException(); }
  void start(Done started) override { started({}); }
};
class OddFromTheBeginning final : public PluginInstance {
 public:
  explicit OddFromTheBeginning(const cm_host* raw) : PluginInstance(raw) { throw NoException(); }
  Status configure() override { return {}; }
  void start(Done started) override { started({}); }
};
class StartsATaskThatThrows final : public PluginInstance {
 public:
  using PluginInstance::PluginInstance;
  Status configure() override { return {}; }
  void start(Done) override { spawn(throw_now()); }
  static Task<void> throw_now() {
    fail();
    co_return;
  }
};

TEST_F(BoundaryTest, ConstructorAndConfigureMayThrowAnything) {
  cm_instance* instance = nullptr;
  const cm_instance_table_v1* table = nullptr;
  EXPECT_EQ(detail::create_instance<OddFromTheBeginning>(played.raw(), &instance, &table), CM_INTERNAL);
  EXPECT_EQ(instance, nullptr);
  EXPECT_THAT(played.last_error(), ::testing::HasSubstr("the constructor threw"));
  ASSERT_EQ(detail::create_instance<Odd>(played.raw(), &instance, &table), CM_OK);
  EXPECT_EQ(table->configure(instance), CM_INTERNAL);
  EXPECT_THAT(played.last_error(), ::testing::HasSubstr("configure threw"));
  table->destroy(instance);
}

TEST_F(BoundaryTest, AStartWhoseTaskThrowsFails) {
  cm_instance* instance = nullptr;
  const cm_instance_table_v1* table = nullptr;
  ASSERT_EQ(detail::create_instance<StartsATaskThatThrows>(played.raw(), &instance, &table), CM_OK);
  ASSERT_EQ(table->configure(instance), CM_OK);
  EXPECT_EQ(table->start(instance, 9), CM_INTERNAL);
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("start")));
  table->destroy(instance);
}

// --- HTTP, WebSocket
// ---------------------------------------------------------------------------------------------------

struct HttpServer {
  cm_http_handler handler = nullptr;
  cm_http_callback client = nullptr;
  void* user = nullptr;
  std::uint32_t answered = 0;
};
HttpServer* http = nullptr;

cm_status http_listen(cm_handle, const cm_http_listen_options*, cm_handle* out) noexcept {
  *out = 5;
  return CM_OK;
}
cm_status http_fallback(cm_handle, cm_handle, cm_http_handler handler, void* user) noexcept {
  http->handler = handler;
  http->user = user;
  return CM_OK;
}
cm_status http_respond(cm_handle, cm_handle, std::uint32_t status, const cm_http_header*, std::uint64_t,
                       cm_bytes_pview) noexcept {
  if (http->answered != 0) {
    return CM_GONE;
  }
  http->answered = status;
  return CM_OK;
}
cm_status http_close(cm_handle, cm_handle) noexcept {
  return CM_OK;
}
cm_status http_client_send(cm_handle, const cm_http_call*, cm_http_callback callback, void* user, cm_handle*) noexcept {
  http->client = callback;
  http->user = user;
  return CM_OK;
}

TEST_F(BoundaryTest, AnHttpHandlerThatThrowsIsAnsweredOnce) {
  HttpServer server;
  http = &server;
  cm_http_server_v1 table = {};
  table.size = sizeof(table);
  table.listen = &http_listen;
  table.fallback = &http_fallback;
  table.respond = &http_respond;
  table.close = &http_close;
  played.give(CM_HTTP_SERVER_ID, &table);
  HttpListener listener;
  ASSERT_TRUE(listener.listen(host, {}));
  bool answers = false;
  listener.fallback([&answers](const HttpRequest& request) {
    if (answers) {
      request.respond(204, {}, {});
    }
    fail();
  });
  const cm_http_request_info info = {};
  server.handler(server.user, 7, &info);
  EXPECT_EQ(server.answered, kHttpInternalError);
  server.answered = 0;
  answers = true;
  server.handler(server.user, 8, &info);
  EXPECT_EQ(server.answered, 204u) << "what it answered itself stays";
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("http_request"), accusation("http_request")));
}

TEST_F(BoundaryTest, AnHttpResultMayThrow) {
  HttpServer server;
  http = &server;
  cm_http_client_v1 table = {};
  table.size = sizeof(table);
  table.send = &http_client_send;
  played.give(CM_HTTP_CLIENT_ID, &table);
  http_send(host, {}, [](const Result<HttpResponse>&) { fail(); });
  cm_http_result result = {};
  result.status = CM_IO;
  server.client(server.user, 1, &result);
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("http_result")));
}

// --- processes
// -----------------------------------------------------------------------------------------------------------

Given<cm_process_callbacks>* child = nullptr;

cm_status process_spawn(cm_handle, const cm_process_options*, const cm_process_callbacks* callbacks, void* user,
                        cm_handle* out) noexcept {
  child->callbacks = *callbacks;
  child->user = user;
  *out = 6;
  return CM_OK;
}

TEST_F(BoundaryTest, CallbacksOfAProcessMayThrow) {
  Given<cm_process_callbacks> given;
  child = &given;
  cm_process_v1 table = {};
  table.size = sizeof(table);
  table.spawn = &process_spawn;
  played.give(CM_PROCESS_ID, &table);
  Process process;
  process.on_output = [](std::uint32_t, std::string_view) { fail(); };
  process.on_input_drained = [] { fail(); };
  process.on_exit = [](const ProcessExit&) { fail(); };
  ASSERT_TRUE(process.start(host, {.program = "/bin/true"}));
  given.callbacks.output(given.user, 6, CM_PROCESS_STDOUT, {});
  given.callbacks.input_drained(given.user, 6);
  const cm_process_exit end = {};
  given.callbacks.exited(given.user, 6, &end);
  EXPECT_FALSE(process.running());
  EXPECT_THAT(played.take_accusations(),
              ElementsAre(accusation("process_output"), accusation("process_drained"), accusation("process_exited")));
}

TEST_F(BoundaryTest, WithoutALogTheProcessEndsAsNobodyWouldLearnOfIt) {
  played.take_away(CM_LOG_ID);
  const HostApi mute(played.raw());
  EXPECT_DEATH(mute.guarded("timer", [] { fail(); }), "on purpose");
}

// --- signaling
// -------------------------------------------------------------------------------------------------------------

struct SignalingProvider : Given<cm_signaling_callbacks> {
  cm_signal_sent sent = nullptr;
  void* sent_user = nullptr;
};
SignalingProvider* signaling_provider = nullptr;

cm_status signaling_attach(void*, cm_handle, const cm_signaling_identity*, const cm_signaling_callbacks* callbacks,
                           void* user, cm_handle* out) noexcept {
  signaling_provider->callbacks = *callbacks;
  signaling_provider->user = user;
  *out = 7;
  return CM_OK;
}
void signaling_detach(void*, cm_handle) noexcept {}
cm_status signaling_send(void*, cm_handle, const cm_signal*, cm_signal_sent sent, void* user) noexcept {
  signaling_provider->sent = sent;
  signaling_provider->sent_user = user;
  return CM_OK;
}
constexpr cm_signaling_v1 kSignaling = {sizeof(cm_signaling_v1), 0, signaling_attach, signaling_detach, signaling_send};

TEST_F(BoundaryTest, CallbacksOfSignalsMayThrow) {
  SignalingProvider given;
  signaling_provider = &given;
  played.give(CM_SIGNALING_ID, &kSignaling);
  Signaling signaling;
  signaling.on_state = [](std::uint32_t) { fail(); };
  signaling.on_signal = [](const ReceivedSignal&) { fail(); };
  ASSERT_TRUE(signaling.open(host, ""));
  ASSERT_TRUE(signaling.attach({"wss://b", "m", "k"}));
  given.callbacks.state(given.user, 7, CM_SIGNALING_UP);
  EXPECT_EQ(signaling.state(), CM_SIGNALING_UP);
  const cm_signal_received signal = {};
  given.callbacks.signal(given.user, 7, &signal);
  ASSERT_EQ(signaling.send(CM_SIGNAL_OFFER, "k", "c", "p", [](std::uint32_t, std::string_view) { fail(); }), CM_OK);
  given.sent(given.sent_user, 7, CM_SIGNAL_PASSED, {});
  EXPECT_THAT(played.take_accusations(),
              ElementsAre(accusation("signaling_state"), accusation("signaling_signal"), accusation("signaling_sent")));
}

// --- bridges
// -----------------------------------------------------------------------------------------------------------------

class ThrowingBridge final : public BridgeInstance {
 public:
  using BridgeInstance::BridgeInstance;
  Status configure() override {
    const Status opened = open_bridge("test", "one");
    map({.id = "m", .remote = "r", .target = "@t", .directions = CM_BRIDGE_TO_MESH | CM_BRIDGE_TO_REMOTE});
    return opened;
  }
  void start(Done started) override { started({}); }
  void to_mesh(const BridgeCrossing&, HandedOver) override { fail(); }
  void to_remote(const BridgeCrossing&, HandedOver done) override {
    done({true});
    fail();
  }
};

TEST_F(BoundaryTest, AHandOverThatThrowsIsToldAsFailedOnce) {
  cm_instance* instance = nullptr;
  const cm_instance_table_v1* life = nullptr;
  ASSERT_EQ(detail::create_instance<ThrowingBridge>(played.raw(), &instance, &life), CM_OK);
  ASSERT_EQ(life->configure(instance), CM_OK);
  const auto* table = static_cast<const cm_bridge_v1*>(life->get_extension(instance, CM_BRIDGE_ID));
  cm_bridge_message message = {};
  message.size = sizeof(message);
  message.channel = to_pview("r");
  message.message_id = to_pview("1");
  message.author_name = to_pview("ann");
  message.text = to_pview("hello");
  std::vector<std::uint32_t> outcomes;
  const auto crossed = [](void* user, const cm_bridge_crossing* crossing) noexcept {
    static_cast<std::vector<std::uint32_t>*>(user)->push_back(crossing->outcome);
  };
  EXPECT_EQ(table->deliver_remote(instance, &message, crossed, &outcomes), CM_OK);
  played.run_posts();
  EXPECT_THAT(outcomes, ElementsAre(CM_BRIDGE_FAILED));
  message.channel = to_pview("@t");
  message.message_id = to_pview("2");
  EXPECT_EQ(table->deliver_mesh(instance, &message, crossed, &outcomes), CM_OK);
  played.run_posts();
  EXPECT_THAT(outcomes, ElementsAre(CM_BRIDGE_FAILED, CM_BRIDGE_FORWARDED)) << "its first answer counts";
  cm_bridge_status status = {};
  status.size = sizeof(status);
  EXPECT_EQ(table->status(instance, &status), CM_OK);
  EXPECT_EQ(status.waiting, 0u);
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("to_mesh"), accusation("to_remote")));
  life->destroy(instance);
}

struct Peer {
  cm_peer_sent sent = nullptr;
  cm_peer_event event = nullptr;
  void* sent_user = nullptr;
  void* event_user = nullptr;
};
Peer* peer = nullptr;

cm_status peer_send(void*, const cm_peer_message*, cm_peer_sent sent, void* user) noexcept {
  peer->sent = sent;
  peer->sent_user = user;
  return CM_OK;
}
cm_status peer_subscribe(void*, cm_peer_event event, void* user, cm_handle* out) noexcept {
  peer->event = event;
  peer->event_user = user;
  *out = 8;
  return CM_OK;
}
void peer_unsubscribe(void*, cm_handle) noexcept {}

TEST_F(BoundaryTest, CallbacksOfTheMeshSideMayThrow) {
  Peer given;
  peer = &given;
  cm_peer_v1 table = {};
  table.size = sizeof(table);
  table.send = &peer_send;
  table.subscribe = &peer_subscribe;
  table.unsubscribe = &peer_unsubscribe;
  played.give(CM_PEER_ID, &table);
  MeshSide side;
  ASSERT_TRUE(side.open(host, ""));
  ASSERT_TRUE(side.hear([](std::string_view, std::string_view) { fail(); }));
  side.send({}, [](const BridgeReceipt&) { fail(); });
  given.event(given.event_user, to_hview("message"), to_hview("{}"));
  given.sent(given.sent_user, 200, to_hview("{}"));
  EXPECT_THAT(played.take_accusations(), ElementsAre(accusation("peer_event"), accusation("peer_sent")));
}

}  // namespace
}  // namespace cm
