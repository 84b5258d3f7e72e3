// {{name}}: joins channels of a remote service, spoken to over HTTP, with targets of a mesh.
//
// rules.hpp decides what crosses; here is how each of the two sides is spoken to.
#include <claudemesh/ext/bridge.h>
#include <claudemesh/ext/peer.h>
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/plugin.hpp>

#include <cstring>
#include <memory>

#include "json_text.hpp"
#include "rules.hpp"

namespace {

constexpr const char* kMark = "http:{{name}}";  // network and name; tells this bridge from others

// Told once for each crossing that was asked for.
using Crossed = std::function<void(const cm_bridge_crossing&)>;

// What the remote service posts; without an id when it is not that.
Message remote_message(std::string_view body) {
  Message message;
  message.channel = json_text(body, "channel");
  message.message_id = json_text(body, "id");
  message.author_id = message.author_name = json_text(body, "author");
  message.text = json_text(body, "text");
  message.trail = json_text(body, "trail");
  return message;
}

// An event "message" of the daemon.
Message mesh_message(std::string_view event) {
  const std::string topic = json_text(event, "topic");
  Message message;
  message.author_id = json_text(event, "sender_pubkey");
  message.author_name = json_text(event, "sender_name");
  message.flags = message.author_id == json_text(event, "recipient_pubkey") ? CM_BRIDGE_FROM_SELF : 0;
  message.channel = topic.empty() ? message.author_name : std::string("#").append(topic);
  message.mesh = json_text(event, "mesh");
  message.message_id = json_text(event, "client_message_id");
  if (message.message_id.empty()) {
    message.message_id = json_text(event, "id");
  }
  message.text = json_text(event, "body");
  return message;
}

class {{Name}} final : public cm::PluginInstance {
 public:
  explicit {{Name}}(const cm_host* host) : PluginInstance(host), rules_(kMark) {}

  // Without these the host's `configure` is refused in words.
  std::vector<cm::TableNeed> required_tables() const override {
    return {cm::need<cm_config_v1>(CM_CONFIG_ID), cm::need<cm_loop_v1>(CM_LOOP_ID),
            cm::need<cm_registry_v1>(CM_REGISTRY_ID), cm::need<cm_http_server_v1>(CM_HTTP_SERVER_ID),
            cm::need<cm_http_client_v1>(CM_HTTP_CLIENT_ID)};
  }
  cm::Status configure() override {
    listen_ = host().option_text("listen");
    remote_url_ = host().option_text("remote_url");
    for (const std::string& entry : host().option_list("mappings")) {
      const std::size_t equals = entry.find('=');
      Mapping mapping;
      mapping.remote = entry.substr(0, equals);
      mapping.target = equals == std::string::npos ? "" : entry.substr(equals + 1);
      if (rules_.map(std::string("m").append(std::to_string(rules_.mappings().size())), mapping) != CM_OK) {
        return cm::make_error(cm::ErrorCode::kInvalid,
                              "found the mapping \"" + entry + "\"; expected CHANNEL=TARGET, each pair once");
      }
    }
    return {};
  }
  void start(Done started) override {
    auto peer = cm::Extension<cm_peer_v1>::acquire(host(), host().option_text("daemon"), CM_PEER_ID);
    if (!peer) {
      started(std::move(peer).error());
      return;
    }
    peer_ = std::move(*peer);
    if (peer_->subscribe(peer_.instance(), &{{Name}}::on_event, this, &subscription_) != CM_OK) {
      started(cm::make_error(cm::ErrorCode::kBusy, "the daemon gave no subscription; its log says why"));
      return;
    }
    cm_http_listen_options options = {};
    options.address = cm::to_pview(listen_);
    const cm::Status listening = listener_.listen(host(), options);
    if (listening) {
      listener_.route("POST", "/messages", [this](const cm::HttpRequest& request) { came(request); });
      state_ = CM_BRIDGE_UP;
    }
    started(listening);
  }
  void stop() override {
    state_ = CM_BRIDGE_STOPPED;
    listener_.close();
    if (peer_ && subscription_ != CM_NO_HANDLE) {
      peer_->unsubscribe(peer_.instance(), std::exchange(subscription_, CM_NO_HANDLE));
    }
    peer_.release();
    observers_.clear();
  }
  const void* extension(std::string_view id) override { return id == CM_BRIDGE_ID ? &kTable : nullptr; }

 private:
  static {{Name}}& self_of(void* instance) {
    return *static_cast<{{Name}}*>(static_cast<cm::PluginInstance*>(instance));
  }

  // --- the two sides ---
  void came(const cm::HttpRequest& request) {
    const Message message = remote_message(request.body());
    if (message.message_id.empty() || message.channel.empty() || message.author_id.empty()) {
      request.respond_json(400, "{\"error\":\"expected id, channel, author and text\"}");
      return;
    }
    const auto answered = std::make_shared<bool>(false);  // the first mapping's outcome is the answer
    cross(CM_BRIDGE_TO_MESH, message, [request, answered](const cm_bridge_crossing& crossing) {
      if (!std::exchange(*answered, true)) {
        request.respond_json(crossing.outcome == CM_BRIDGE_FAILED ? 503 : 200,
                             "{\"outcome\":" + std::to_string(crossing.outcome) +
                                 ",\"reason\":" + json_quote(cm::to_view(crossing.reason)) + "}");
      }
    });
  }
  static void on_event(void* user, cm_text_hview kind, cm_text_hview json) noexcept {
    if (cm::to_view(kind) == "message") {
      static_cast<{{Name}}*>(user)->cross(CM_BRIDGE_TO_REMOTE, mesh_message(cm::to_view(json)), nullptr);
    }
  }

  // Answers with the new id, or with the reason why not.
  using Handed = std::function<void(bool taken, std::string text)>;
  void to_mesh(const Judgement& judgement, Handed handed) {
    cm_peer_message message = {};
    message.size = sizeof(message);
    message.priority = 2;
    message.mesh = cm::to_pview(judgement.mesh);
    message.to = cm::to_pview(judgement.channel);
    message.text = cm::to_pview(judgement.text);
    message.client_message_id = cm::to_pview(judgement.new_id);
    auto waiting = std::make_unique<Handed>(std::move(handed));
    const auto sent = [](void* user, std::uint32_t http_status, cm_text_hview json) noexcept {
      const std::unique_ptr<Handed> owned(static_cast<Handed*>(user));
      (*owned)(http_status == 202, http_status == 202 ? std::string() : std::string(cm::to_view(json)));
    };
    if (peer_ && peer_->send(peer_.instance(), &message, sent, waiting.get()) == CM_OK) {
      static_cast<void>(waiting.release());
    } else {
      (*waiting)(false, "the daemon takes nothing now");
    }
  }
  void to_remote(const Judgement& judgement, const Message& message, Handed handed) {
    cm::HttpCall call;
    call.method = "POST";
    call.url = remote_url_;
    call.headers = {{"content-type", "application/json"}};
    call.body = "{\"channel\":" + json_quote(judgement.channel) + ",\"author\":" + json_quote(message.author_name) +
                ",\"text\":" + json_quote(judgement.text) + ",\"trail\":" + json_quote(judgement.trail) + "}";
    cm::http_send(host(), call, [handed = std::move(handed)](cm::Result<cm::HttpResponse> answer) {
      const bool taken = answer && answer->status / 100 == 2;
      handed(taken, taken    ? json_text(answer->body, "id")
                    : answer ? "the remote service answered " + std::to_string(answer->status)
                             : answer.error().message);
    });
  }

  // --- crossing ---
  void cross(std::uint32_t direction, const Message& message, const Crossed& crossed) {
    for (Judgement& judgement : rules_.judge(direction, message)) {
      if (judgement.outcome == 0 && (message.flags & CM_BRIDGE_REHEARSAL) != 0) {
        judgement.outcome = CM_BRIDGE_REHEARSED;
      }
      if (judgement.outcome != 0) {
        tell_later(direction, message, judgement, crossed);
        continue;
      }
      ++status_.waiting;
      Handed handed = [this, direction, message, judgement, crossed](bool taken, const std::string& text) mutable {
        --status_.waiting;
        judgement.outcome = taken ? CM_BRIDGE_FORWARDED : CM_BRIDGE_FAILED;
        if (!taken) {
          judgement.reason = text;
        } else if (!text.empty()) {
          judgement.new_id = text;
        }
        tell_later(direction, message, judgement, crossed);
      };
      direction == CM_BRIDGE_TO_MESH ? to_mesh(judgement, std::move(handed))
                                     : to_remote(judgement, message, std::move(handed));
    }
  }
  // Counted now, told later: whoever called us has not returned yet.
  void tell_later(std::uint32_t direction, const Message& message, const Judgement& judgement, const Crossed& crossed) {
    std::uint64_t* const counters[] = {nullptr,
                                       direction == CM_BRIDGE_TO_MESH ? &status_.to_mesh : &status_.to_remote,
                                       nullptr,
                                       &status_.dropped_unmapped,
                                       &status_.dropped_echo,
                                       &status_.dropped_duplicate,
                                       &status_.dropped_loop,
                                       &status_.dropped_filtered,
                                       &status_.failed};
    if (counters[judgement.outcome] != nullptr) {
      ++*counters[judgement.outcome];
    }
    host().post([this, direction, message, judgement, crossed] { tell(direction, message, judgement, crossed); });
  }
  void tell(std::uint32_t direction, const Message& message, const Judgement& judgement, const Crossed& crossed) {
    const bool went = judgement.outcome == CM_BRIDGE_FORWARDED || judgement.outcome == CM_BRIDGE_REHEARSED;
    const auto shown = [went](const std::string& text) { return cm::to_hview(went ? std::string_view(text) : ""); };
    cm_bridge_crossing crossing = {};
    crossing.size = sizeof(crossing);
    crossing.outcome = judgement.outcome;
    crossing.direction = direction;
    crossing.flags = message.flags & CM_BRIDGE_REHEARSAL;
    crossing.mapping_id = cm::to_hview(judgement.mapping_id);
    crossing.message_id = cm::to_hview(message.message_id);
    crossing.reason = cm::to_hview(judgement.reason);
    crossing.channel = shown(judgement.channel);
    crossing.mesh = shown(judgement.mesh);
    crossing.author_name = shown(message.author_name);
    crossing.text = shown(judgement.text);
    crossing.trail = shown(judgement.trail);
    crossing.new_id = shown(judgement.new_id);
    if (crossed) {
      crossed(crossing);
    }
    for (const auto& [handle, observer] : std::map<cm_handle, Crossed>(observers_)) {
      observer(crossing);
    }
  }

  // --- cm.bridge/1 ---
  static std::string text(cm_text_pview view) { return std::string(cm::to_view(view)); }

  static cm_text_hview network(void*) noexcept { return cm::to_hview("http"); }
  static cm_status status(void* instance, cm_bridge_status* out) noexcept {
    {{Name}}& self = self_of(instance);
    cm_bridge_status now = self.status_;
    now.size = out->size;
    now.state = self.state_;
    now.mark = cm::to_hview(self.rules_.mark());
    now.mappings = self.rules_.mappings().size();
    std::memcpy(out, &now, std::min<std::size_t>(out->size, sizeof(now)));
    return CM_OK;
  }
  static cm_status mappings(void* instance, cm_bridge_mapping_row row, void* user) noexcept {
    for (const auto& [id, mapping] : self_of(instance).rules_.mappings()) {
      const cm_bridge_mapping view = {sizeof(view),
                                      mapping.directions,
                                      cm::to_pview(id),
                                      cm::to_pview(mapping.remote),
                                      cm::to_pview(mapping.mesh),
                                      cm::to_pview(mapping.target),
                                      cm::to_pview(mapping.options_json)};
      row(user, &view);
    }
    return CM_OK;
  }
  static cm_status map(void* instance, const cm_bridge_mapping* wanted) noexcept {
    return self_of(instance).rules_.map(text(wanted->id),
                                        {wanted->directions, text(wanted->remote), text(wanted->mesh),
                                         text(wanted->target), text(wanted->options_json)});
  }
  static cm_status unmap(void* instance, cm_text_pview id) noexcept {
    return self_of(instance).rules_.unmap(text(id)) ? CM_OK : CM_GONE;
  }
  static cm_status deliver(void* instance, std::uint32_t direction, const cm_bridge_message* raw,
                           cm_bridge_crossed crossed, void* user) {
    if (raw->message_id.size == 0) {
      return CM_INVALID;
    }
    {{Name}}& self = self_of(instance);
    if (self.status_.waiting >= CM_BRIDGE_REMEMBERED) {
      return CM_BUSY;
    }
    Crossed told;
    if (crossed != nullptr) {
      told = [crossed, user](const cm_bridge_crossing& crossing) { crossed(user, &crossing); };
    }
    const Message message = {raw->flags,
                             text(raw->channel),
                             text(raw->mesh),
                             text(raw->message_id),
                             text(raw->author_id),
                             text(raw->author_name),
                             text(raw->text),
                             text(raw->trail)};
    self.cross(direction, message, told);
    return CM_OK;
  }
  static cm_status deliver_remote(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                                  void* user) noexcept {
    return deliver(instance, CM_BRIDGE_TO_MESH, message, crossed, user);
  }
  static cm_status deliver_mesh(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                                void* user) noexcept {
    return deliver(instance, CM_BRIDGE_TO_REMOTE, message, crossed, user);
  }
  static cm_status observe(void* instance, cm_bridge_crossed crossed, void* user, cm_handle* out) noexcept {
    if (crossed == nullptr) {
      return CM_INVALID;
    }
    {{Name}}& self = self_of(instance);
    *out = ++self.last_observer_;
    self.observers_[*out] = [crossed, user](const cm_bridge_crossing& crossing) { crossed(user, &crossing); };
    return CM_OK;
  }
  static void unobserve(void* instance, cm_handle observer) noexcept { self_of(instance).observers_.erase(observer); }

  static constexpr cm_bridge_v1 kTable = {sizeof(cm_bridge_v1), 0,     network,        status,       mappings, map,
                                          unmap,                deliver_remote, deliver_mesh, observe,  unobserve};

  Rules rules_;
  std::string listen_;
  std::string remote_url_;
  cm::Extension<cm_peer_v1> peer_;
  cm::HttpListener listener_;
  cm_handle subscription_ = CM_NO_HANDLE;
  std::uint32_t state_ = CM_BRIDGE_CONNECTING;
  cm_bridge_status status_ = {};
  std::map<cm_handle, Crossed> observers_;
  cm_handle last_observer_ = 0;
};

}  // namespace

CM_DEFINE_PLUGIN({{Name}});
