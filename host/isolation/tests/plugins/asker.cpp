// Drives extensions of other plugins for the tests, over HTTP. Runs in process and out of process.
#include <claudemesh/ext/bridge.h>
#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/transport.h>
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/plugin.hpp>
#include <claudemesh/cpp/websocket.hpp>

#include <list>
#include <map>
#include <optional>

namespace {

// One end of a WebSocket: the server's sends back what comes, the client's sends, compares and closes.
class Talker final : public cm::WebSocketOwner {
 public:
  std::function<void(std::string)> on_end;
  std::string to_send;
  std::string heard;  // by the server's end; "pause" makes it stop reading
  cm::WebSocket socket;

  void on_opened() override {
    transcript_ += "opened ";
    socket.ping();
    socket.send_text(to_send);
  }
  void on_pong() override { ponged_ = true; }
  void on_messages(std::span<const cm_websocket_message> messages) override {
    for (const cm_websocket_message& message : messages) {
      const std::string text(reinterpret_cast<const char*>(message.data), message.size);
      if (to_send.empty()) {
        hear(text);
      } else if (to_send == "pause") {
        if (text == "pause") {
          socket.send_text("1");
          socket.send_text("2");
          on_end("sent");
          on_end = nullptr;
        }
      } else {
        transcript_ += text == to_send ? "same " : "different ";
        socket.close(1000, "bye");
      }
    }
  }
  void on_closed(std::uint32_t code, std::string_view reason, bool clean) override {
    transcript_ += std::to_string(code) + " " + std::string(reason) + (clean ? " clean" : " not clean") +
                   (ponged_ ? " ponged" : "");
    if (on_end) {
      on_end(transcript_);
    }
  }

 private:
  void hear(const std::string& text) {
    heard += text.substr(0, 8) + " ";
    if (text == "pause") {
      heard += std::to_string(socket.pause_reading()) + " ";
    }
    socket.send_text(text);
  }

  std::string transcript_;
  bool ponged_ = false;  // before or after the message: both are right
};

class Asker final : public cm::PluginInstance {
 public:
  explicit Asker(const cm_host* host) : PluginInstance(host) {}

  cm::Status configure() override {
    requests_ = host().counter("asker_requests_total", "", "Requests");
    return {};
  }

  void start(Done started) override {
    cm::Status status = begin();
    started(std::move(status));
  }

  void stop() override {
    if (events_ != CM_NO_HANDLE) {
      host().events_table()->unsubscribe(host().self(), events_);
    }
    if (transport_ && link_ != CM_NO_HANDLE) {
      transport_->close(transport_.instance(), link_);
    }
    listener_.close();
    tcp_.close();
    talkers_.clear();
    hook_ = {};
    transport_ = {};
    bridge_ = {};
  }

 private:
  struct Question {
    cm_handle ticket;
    cm::HttpRequest request;
    std::string payload;
  };

  cm::Status begin() {
    if (const std::string name = option("hook"); !name.empty()) {
      auto hook = cm::Extension<cm_hook_v1>::acquire(host(), name, CM_HOOK_ID);
      if (!hook) {
        return hook.error();
      }
      hook_ = std::move(*hook);
    }
    if (const std::string name = option("transport"); !name.empty()) {
      auto transport = cm::Extension<cm_transport_v1>::acquire(host(), name, CM_TRANSPORT_ID);
      if (!transport) {
        return transport.error();
      }
      transport_ = std::move(*transport);
    }
    if (const std::string name = option("bridge"); !name.empty()) {
      auto bridge = cm::Extension<cm_bridge_v1>::acquire(host(), name, CM_BRIDGE_ID);
      if (!bridge) {
        return bridge.error();
      }
      bridge_ = std::move(*bridge);
      cm_handle observer = CM_NO_HANDLE;
      bridge_->observe(bridge_.instance(), &on_observed, this, &observer);
    }
    if (cm::Status open = listen(); !open.ok()) {
      return open;
    }
    host().events_table()->subscribe(host().self(), cm::to_pview("plugin.*"), &on_event, this, &events_);
    return {};
  }

  std::string option(const char* name) {
    try {
      return host().option_text(name);
    } catch (const std::exception&) {
      return {};
    }
  }

  cm::Status listen() {
    const std::string address = host().option_text("listen");
    cm_http_listen_options options = {};
    options.size = sizeof(options);
    options.address = cm::to_pview(address);
    if (cm::Status status = listener_.listen(host(), options); !status.ok()) {
      return status;
    }
    listener_.route("POST", "/ask", [this](const cm::HttpRequest& request) { ask(request); });
    listener_.route("POST", "/echo/:name", [this](const cm::HttpRequest& request) { echo(request); });
    listener_.route("GET", "/events", [this](const cm::HttpRequest& request) { request.respond(200, {}, seen_); });
    listener_.route("POST", "/fetch", [this](const cm::HttpRequest& request) { fetch(request); });
    listener_.route("POST", "/open", [this](const cm::HttpRequest& request) { open(request); });
    listener_.route("POST", "/send", [this](const cm::HttpRequest& request) { send(request); });
    listener_.route("POST", "/request", [this](const cm::HttpRequest& request) { link_request(request); });
    listener_.route("POST", "/talk", [this](const cm::HttpRequest& request) { talk(request); });
    listener_.route("GET", "/heard", [this](const cm::HttpRequest& request) { heard(request); });
    listener_.route("POST", "/resume", [this](const cm::HttpRequest& request) { resume(request); });
    cm_http_listen_options local = {};
    local.size = sizeof(local);
    local.address = cm::to_pview("127.0.0.1:0");
    if (cm::Status status = tcp_.listen(host(), local); !status.ok()) {
      return status;
    }
    tcp_.route("GET", "/ws", [this](const cm::HttpRequest& request) {
      talkers_.emplace_back();
      talkers_.back().socket.accept(host(), request, {}, &talkers_.back());
    });
    listener_.route("GET", "/bridge", [this](const cm::HttpRequest& request) { bridge_status(request); });
    listener_.route("POST", "/map", [this](const cm::HttpRequest& request) { bridge_map(request); });
    listener_.route("POST", "/deliver", [this](const cm::HttpRequest& request) { bridge_deliver(request); });
    listener_.route("GET", "/log", [this](const cm::HttpRequest& request) { request.respond(200, {}, link_log_); });
    return {};
  }

  // --- a hook ---

  void ask(const cm::HttpRequest& request) {
    requests_.add();
    const cm_handle ticket = next_ticket_++;
    const std::string body(request.body());
    cm_hook_event event = {};
    event.size = sizeof(event);
    event.ticket = ticket;
    event.point = cm::to_hview("daemon.send");
    event.json = cm::to_hview("{}");
    event.payload = {reinterpret_cast<const std::uint8_t*>(body.data()), body.size()};
    const cm_hook_reply reply = {sizeof(reply), 0, this, &set_payload, &finish};
    questions_.emplace(ticket, Question{ticket, request, {}});
    const std::uint32_t result = hook_->invoke(hook_.instance(), &event, &reply);
    if (result != CM_HOOK_DEFER) {
      const auto entry = questions_.find(ticket);
      const std::string payload = entry->second.payload;
      answer(ticket, result, payload);
    }
  }

  void answer(cm_handle ticket, std::uint32_t result, std::string_view payload) {
    static constexpr const char* kNames[] = {"continue", "defer", "deny", "replace"};
    auto node = questions_.extract(ticket);
    const std::string text = std::string(result < 4 ? kNames[result] : "unknown") + ":" + std::string(payload);
    node.mapped().request.respond(200, {}, text);
  }

  static void set_payload(void* context, cm_handle ticket, cm_bytes_pview payload) noexcept {
    static_cast<Asker*>(context)->questions_.at(ticket).payload = std::string(cm::to_view(payload));
  }
  static cm_status finish(void* context, cm_handle ticket, std::uint32_t result, cm_bytes_pview payload) noexcept {
    auto* self = static_cast<Asker*>(context);
    if (!self->questions_.contains(ticket)) {
      return CM_GONE;
    }
    self->answer(ticket, result, cm::to_view(payload));
    return CM_OK;
  }

  // --- HTTP and events ---

  void echo(const cm::HttpRequest& request) {
    const std::string text = std::string(request.path_parameter("name")) + "|" +
                             std::string(request.query_parameter("q")) + "|" + std::string(request.header("x-test")) +
                             "|" + std::string(request.body());
    request.respond(200, {{"x-answer", "yes"}}, text);
  }

  void fetch(const cm::HttpRequest& request) {
    cm::HttpCall call;
    call.method = "GET";
    call.url = std::string(request.body());
    cm::http_send(host(), call, [request](cm::Result<cm::HttpResponse> response) {
      request.respond(200, {}, response.ok() ? response->body : response.error().message);
    });
  }

  static void on_event(void* user, cm_text_hview topic, cm_text_hview json) noexcept {
    static_cast<Asker*>(user)->seen_ += std::string(cm::to_view(topic)) + " " + std::string(cm::to_view(json)) + "\n";
  }

  // --- a transport ---

  void open(const cm::HttpRequest& request) {
    static constexpr cm_link_callbacks kCallbacks = {
        sizeof(cm_link_callbacks), 0, &on_state, &on_inbound, &on_sent, &on_sign};
    cm_link_identity identity = {};
    identity.size = sizeof(identity);
    identity.kind = CM_LINK_MEMBER;
    identity.url = cm::to_pview("test://there");
    identity.display_name = cm::to_pview("the asker");
    identity.pid = 42;
    const cm_status status = transport_->open(transport_.instance(), &identity, &kCallbacks, this, &link_);
    request.respond(200, {},
                    std::to_string(status) + " " + std::string(cm::to_view(transport_->name(transport_.instance()))));
  }

  // The body: one message per line; the line is id and text.
  void send(const cm::HttpRequest& request) {
    std::string body(request.body());
    std::list<std::string> lines;
    std::vector<cm_outbound> messages;
    for (std::size_t at = 0; at < body.size();) {
      const std::size_t end = std::min(body.find('\n', at), body.size());
      lines.push_back(body.substr(at, end - at));
      cm_outbound message = {};
      message.size = sizeof(message);
      message.priority = CM_PRIORITY_NEXT;
      message.client_message_id = cm::to_pview(lines.back());
      message.ciphertext = cm::to_pview(lines.back());
      message.target = cm::to_pview("*");
      messages.push_back(message);
      at = end + 1;
    }
    std::uint64_t taken = 0;
    const cm_status status = transport_->send(transport_.instance(), link_, messages.data(), messages.size(), &taken);
    request.respond(200, {}, std::to_string(status) + " " + std::to_string(taken));
  }

  struct Pending {
    cm::HttpRequest request;
  };
  void link_request(const cm::HttpRequest& request) {
    const std::string json(request.body());
    pending_.push_back(Pending{request});
    const cm_status status = transport_->request(
        transport_.instance(), link_, cm::to_pview(json), 20'000,
        [](void* user, cm_status answer, cm_text_hview text) noexcept {
          static_cast<Pending*>(user)->request.respond(200, {},
                                                       std::to_string(answer) + " " + std::string(cm::to_view(text)));
        },
        &pending_.back());
    if (status != CM_OK) {
      request.respond(200, {}, "status " + std::to_string(status));
    }
  }

  // --- a WebSocket to itself ---

  void talk(const cm::HttpRequest& request) {
    talkers_.emplace_back();
    Talker& talker = talkers_.back();
    talker.to_send = std::string(request.body());
    talker.on_end = [request](std::string transcript) { request.respond(200, {}, transcript); };
    const cm_status status = talker.socket.connect(host(), "ws://" + tcp_.local_address() + "/ws", {}, &talker);
    if (status != CM_OK) {
      request.respond(200, {}, "status " + std::to_string(status));
    }
  }

  void heard(const cm::HttpRequest& request) {
    std::string text;
    for (const Talker& talker : talkers_) {
      text += talker.heard;
    }
    request.respond(200, {}, text);
  }
  void resume(const cm::HttpRequest& request) {
    std::string text;
    for (const Talker& talker : talkers_) {
      text += talker.heard.empty() ? "" : std::to_string(talker.socket.resume_reading());
    }
    request.respond(200, {}, text);
  }

  // --- a bridge ---

  void bridge_status(const cm::HttpRequest& request) {
    cm_bridge_status status = {};
    status.size = sizeof(status);
    bridge_->status(bridge_.instance(), &status);
    std::string text = std::string(cm::to_view(bridge_->network(bridge_.instance()))) + " " +
                       std::to_string(status.state) + " " + std::string(cm::to_view(status.mark)) + " " +
                       std::to_string(status.to_mesh);
    bridge_->mappings(
        bridge_.instance(),
        [](void* user, const cm_bridge_mapping* mapping) noexcept {
          *static_cast<std::string*>(user) += " " + std::string(cm::to_view(mapping->id));
        },
        &text);
    request.respond(200, {}, text);
  }
  void bridge_map(const cm::HttpRequest& request) {
    const std::string id(request.body());
    cm_bridge_mapping mapping = {};
    mapping.size = sizeof(mapping);
    mapping.directions = CM_BRIDGE_TO_MESH;
    mapping.id = cm::to_pview(id);
    mapping.remote = cm::to_pview(id);
    mapping.target = cm::to_pview("*");
    request.respond(200, {}, std::to_string(bridge_->map(bridge_.instance(), &mapping)));
  }
  void bridge_deliver(const cm::HttpRequest& request) {
    const std::string channel(request.body());
    cm_bridge_message message = {};
    message.size = sizeof(message);
    message.channel = cm::to_pview(channel);
    message.message_id = cm::to_pview("m1");
    message.text = cm::to_pview("a text");
    request.respond(200, {}, std::to_string(bridge_->deliver_remote(bridge_.instance(), &message, &on_crossed, this)));
  }
  static void on_crossed(void* user, const cm_bridge_crossing* crossing) noexcept {
    static_cast<Asker*>(user)->note("crossed " + std::to_string(crossing->outcome) + " " +
                                    std::string(cm::to_view(crossing->text)));
  }
  static void on_observed(void* user, const cm_bridge_crossing* crossing) noexcept {
    static_cast<Asker*>(user)->note("observed " + std::to_string(crossing->outcome));
  }

  void note(std::string line) { link_log_ += std::move(line) + "\n"; }
  static void on_state(void* user, cm_handle, std::uint32_t state, cm_text_hview detail) noexcept {
    static_cast<Asker*>(user)->note("state " + std::to_string(state) + " " + std::string(cm::to_view(detail)));
  }
  static void on_inbound(void* user, cm_handle link, const cm_inbound* messages, std::uint64_t count) noexcept {
    auto* self = static_cast<Asker*>(user);
    for (std::uint64_t i = 0; i < count; ++i) {
      self->note("inbound " + std::string(cm::to_view(messages[i].ciphertext)));
      self->transport_->acknowledge(self->transport_.instance(), link,
                                    cm::to_pview(cm::to_view(messages[i].message_id)),
                                    cm::to_pview(std::string_view()));
    }
  }
  static void on_sent(void* user, cm_handle, const cm_send_result* results, std::uint64_t count) noexcept {
    for (std::uint64_t i = 0; i < count; ++i) {
      static_cast<Asker*>(user)->note("sent " + std::to_string(results[i].outcome) + " " +
                                      std::string(cm::to_view(results[i].client_message_id)) + " " +
                                      std::string(cm::to_view(results[i].code)));
    }
  }
  static cm_status on_sign(void*, cm_handle, std::uint32_t key, cm_text_hview text, std::uint8_t* out) noexcept {
    for (std::size_t i = 0; i < 64; ++i) {
      out[i] = static_cast<std::uint8_t>(text.size + key + i);
    }
    return CM_OK;
  }

  cm::Metric requests_;
  cm::HttpListener listener_;
  cm::HttpListener tcp_;
  std::list<Talker> talkers_;
  cm::Extension<cm_hook_v1> hook_;
  cm::Extension<cm_transport_v1> transport_;
  cm::Extension<cm_bridge_v1> bridge_;
  cm_handle next_ticket_ = 1;
  std::map<cm_handle, Question> questions_;
  cm_handle events_ = CM_NO_HANDLE;
  std::string seen_;
  cm_handle link_ = CM_NO_HANDLE;
  std::string link_log_;
  std::list<Pending> pending_;
};

}  // namespace

CM_DEFINE_PLUGIN(Asker);
