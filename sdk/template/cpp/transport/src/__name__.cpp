// {{name}}: carries sealed messages between two daemons by HTTP.
//
// Each message is one POST whose body is lines "name value". The other side answers 200 only when its daemon has stored
// the message (acknowledge), so an accepted message is durable there; anything else is repeated by the sender's outbox.
#include <claudemesh/ext/transport.h>
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/plugin.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kWaitingMax = 256;           // messages that wait for the daemon to store them
constexpr std::uint64_t kStoreTimeoutMs = 20'000;  // then the sender is told to try again
constexpr std::uint64_t kRetryMs = 1'000;
constexpr std::uint64_t kWindow = 64;  // messages on their way; the rest waits in the daemon's outbox

using Fields = std::map<std::string, std::string, std::less<>>;

// No value of the wire protocol contains a line end.
std::string write_fields(const std::vector<std::pair<std::string_view, std::string_view>>& fields) {
  std::string out;
  for (const auto& [name, value] : fields) {
    out.append(name).append(" ").append(value).append("\n");
  }
  return out;
}
Fields read_fields(std::string_view body) {
  Fields fields;
  while (!body.empty()) {
    const std::string_view line = body.substr(0, body.find('\n'));
    body.remove_prefix(std::min(body.size(), line.size() + 1));
    if (const std::size_t space = line.find(' '); space != std::string_view::npos) {
      fields[std::string(line.substr(0, space))] = std::string(line.substr(space + 1));
    }
  }
  return fields;
}

// What the daemon opened: one membership or session.
struct Link {
  std::string mesh_id;
  std::string key;     // who we are on the wire: the session key, or the member's
  std::string member;  // the member's key
  std::string name;
  cm_link_callbacks callbacks;
  void* user;
  std::uint64_t in_flight = 0;  // sent, and not answered yet
};

class {{Name}} final : public cm::PluginInstance {
 public:
  explicit {{Name}}(const cm_host* host) : PluginInstance(host) {}

  // Without these the host's `configure` is refused in words.
  std::vector<cm::TableNeed> required_tables() const override {
    return {cm::need<cm_config_v1>(CM_CONFIG_ID), cm::need<cm_loop_v1>(CM_LOOP_ID), cm::need<cm_timer_v1>(CM_TIMER_ID),
            cm::need<cm_http_server_v1>(CM_HTTP_SERVER_ID), cm::need<cm_http_client_v1>(CM_HTTP_CLIENT_ID)};
  }
  cm::Status configure() override {
    listen_ = host().option_text("listen");
    peer_url_ = host().option_text("peer_url");
    return {};
  }
  void start(Done started) override {
    cm_http_listen_options options = {};
    options.address = cm::to_pview(listen_);
    const cm::Status listening = listener_.listen(host(), options);
    if (listening) {
      listener_.route("POST", "/message", [this](const cm::HttpRequest& request) { came(request); });
    }
    started(listening);
  }
  void stop() override {
    listener_.close();
    waiting_.clear();
    links_.clear();
  }
  const void* extension(std::string_view id) override { return id == CM_TRANSPORT_ID ? &kTable : nullptr; }

 private:
  // A message that came and is not stored yet.
  struct Waiting {
    explicit Waiting(const cm::HttpRequest& asked, const cm::HostApi& host) : request(asked), timeout(host) {}
    cm::HttpRequest request;
    cm::Timer timeout;
  };

  static {{Name}}& self_of(void* instance) {
    return *static_cast<{{Name}}*>(static_cast<cm::PluginInstance*>(instance));
  }
  Link* find(cm_handle handle) {
    const auto found = links_.find(handle);
    return found == links_.end() ? nullptr : &found->second;
  }
  // Callbacks come later, never from inside a function of the table, and only as long as the link is open.
  template <typename Function>
  void later(cm_handle handle, Function function) {
    host().post([this, handle, function = std::move(function)] {
      if (Link* link = find(handle)) {
        function(*link);
      }
    });
  }

  static cm_text_hview name(void*) noexcept { return cm::to_hview("{{name}}"); }

  static cm_status open(void* instance, const cm_link_identity* identity, const cm_link_callbacks* callbacks,
                        void* user, cm_handle* out_link) noexcept {
    {{Name}}& self = self_of(instance);
    const std::string member(cm::to_view(identity->member_pubkey));
    const std::string session(cm::to_view(identity->session_pubkey));
    const cm_handle handle = ++self.last_handle_;
    self.links_[handle] = Link{std::string(cm::to_view(identity->mesh_id)),
                               session.empty() ? member : session,
                               member,
                               std::string(cm::to_view(identity->display_name)),
                               *callbacks,
                               user};
    *out_link = handle;
    self.later(handle,
               [handle](Link& link) { link.callbacks.state(link.user, handle, CM_LINK_OPEN, cm::to_hview("{}")); });
    return CM_OK;
  }
  static void close(void* instance, cm_handle link) noexcept { self_of(instance).links_.erase(link); }

  // --- out ---
  static cm_status send(void* instance, cm_handle handle, const cm_outbound* messages, std::uint64_t count,
                        std::uint64_t* out_taken) noexcept {
    {{Name}}& self = self_of(instance);
    Link* link = self.find(handle);
    if (link == nullptr) {
      return CM_GONE;
    }
    const std::uint64_t taken = std::min(count, kWindow - link->in_flight);
    if (taken == 0 && count != 0) {
      return CM_BUSY;
    }
    link->in_flight += taken;
    for (std::uint64_t i = 0; i < taken; ++i) {
      self.send_one(handle, *link, messages[i]);
    }
    *out_taken = taken;
    return CM_OK;
  }
  void send_one(cm_handle handle, const Link& link, const cm_outbound& message) {
    const std::string id(cm::to_view(message.client_message_id));
    cm::HttpCall call;
    call.method = "POST";
    call.url = peer_url_ + "/message";
    call.total_timeout_ms = kStoreTimeoutMs + 5'000;
    call.body = write_fields({{"mesh", link.mesh_id},
                              {"from", link.key},
                              {"member", link.member},
                              {"name", link.name},
                              {"to", cm::to_view(message.target)},
                              {"id", id},
                              {"priority", std::to_string(message.priority)},
                              {"nonce", cm::to_view(message.nonce)},
                              {"ciphertext", cm::to_view(message.ciphertext)},
                              {"reply_to", cm::to_view(message.reply_to_id)}});
    cm::http_send(host(), call, [this, handle, id](cm::Result<cm::HttpResponse> answer) {
      const std::uint32_t status = answer ? answer->status : 0;
      const std::string error = answer ? answer->body : answer.error().message;
      later(handle, [handle, id, status, error](Link& sender) {
        --sender.in_flight;
        cm_send_result result = {};
        result.size = sizeof(result);
        result.outcome = status == 200 ? CM_SEND_ACCEPTED : CM_SEND_RETRY;
        result.client_message_id = cm::to_hview(id);
        result.message_id = cm::to_hview(id);
        result.code = cm::to_hview(status == 200 ? "" : "closed");
        result.error = cm::to_hview(error);
        result.retry_after_ms = kRetryMs;
        sender.callbacks.sent(sender.user, handle, &result, 1);
      });
    });
  }

  // --- in ---
  void came(const cm::HttpRequest& request) {
    const Fields fields = read_fields(request.body());
    const auto field = [&fields](std::string_view wanted) {
      const auto found = fields.find(wanted);
      return found == fields.end() ? std::string_view() : std::string_view(found->second);
    };
    const auto link = std::find_if(links_.begin(), links_.end(), [&](const auto& entry) {
      const Link& candidate = entry.second;
      return candidate.mesh_id == field("mesh") && (candidate.key == field("to") || candidate.member == field("to"));
    });
    if (link == links_.end() || field("id").empty() || field("ciphertext").empty()) {
      request.respond(404, {}, "no such recipient here\n");
      return;
    }
    if (waiting_.size() >= kWaitingMax || waiting_.contains(field("id"))) {
      request.respond(503, {}, "too much waits to be stored, or this message does already\n");
      return;
    }
    const auto [waiting, added] = waiting_.try_emplace(std::string(field("id")), request, host());
    waiting->second.timeout.start_ms(kStoreTimeoutMs, [this, id = waiting->first] { answer(id, 503); });
    cm_inbound message = {};
    message.size = sizeof(message);
    message.priority = field("priority") == "1"   ? CM_PRIORITY_NOW
                       : field("priority") == "3" ? CM_PRIORITY_LOW
                                                  : CM_PRIORITY_NEXT;
    message.message_id = cm::to_hview(field("id"));
    message.client_message_id = cm::to_hview(field("id"));
    message.sender_pubkey = cm::to_hview(field("from"));
    message.sender_member_pubkey = cm::to_hview(field("member"));
    message.sender_name = cm::to_hview(field("name"));
    message.nonce = cm::to_hview(field("nonce"));
    message.ciphertext = cm::to_hview(field("ciphertext"));
    message.reply_to_id = cm::to_hview(field("reply_to"));
    message.created_at = cm::to_hview("");
    link->second.callbacks.inbound(link->second.user, link->first, &message, 1);
  }
  void answer(const std::string& id, std::uint32_t status) {
    const auto found = waiting_.find(id);
    if (found != waiting_.end()) {
      const auto waiting = waiting_.extract(found);  // the timer may be the one that is running
      waiting.mapped().request.respond(status, {}, status == 200 ? "" : "not stored in time\n");
    }
  }
  static cm_status acknowledge(void* instance, cm_handle link, cm_text_pview message_id, cm_text_pview) noexcept {
    {{Name}}& self = self_of(instance);
    if (self.find(link) == nullptr) {
      return CM_GONE;
    }
    self.answer(std::string(cm::to_view(message_id)), 200);
    return CM_OK;
  }
  // There is no broker on this way, so nobody to ask.
  static cm_status request(void*, cm_handle, cm_text_pview, std::uint64_t, cm_reply_callback, void*) noexcept {
    return CM_UNSUPPORTED;
  }

  static constexpr cm_transport_v1 kTable = {sizeof(cm_transport_v1), 0, name, open, close, send, acknowledge, request};

  std::string listen_;
  std::string peer_url_;
  cm::HttpListener listener_;
  std::map<cm_handle, Link> links_;
  std::map<std::string, Waiting, std::less<>> waiting_;
  cm_handle last_handle_ = 0;
};

}  // namespace

CM_DEFINE_PLUGIN({{Name}});
