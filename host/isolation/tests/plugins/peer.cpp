// A peer that sends nothing: it says what it was asked to send, and tells its subscribers what a test posts.
#include <claudemesh/ext/peer.h>
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/plugin.hpp>

#include <list>
#include <map>

namespace {

class Peer final : public cm::PluginInstance {
 public:
  explicit Peer(const cm_host* host) : PluginInstance(host) {}

  cm::Status configure() override { return {}; }
  void start(Done started) override {
    const std::string address = host().option_text("listen");
    cm_http_listen_options options = {};
    options.size = sizeof(options);
    options.address = cm::to_pview(address);
    cm::Status status = listener_.listen(host(), options);
    if (status.ok()) {
      listener_.route("GET", "/state", [this](const cm::HttpRequest& request) {
        request.respond(
            200, {},
            "waiting " + std::to_string(waiting_.size()) + " subscribed " + std::to_string(subscribers_.size()));
      });
      listener_.route("POST", "/event", [this](const cm::HttpRequest& request) { tell(request); });
      listener_.route("POST", "/answer", [this](const cm::HttpRequest& request) { answer(request); });
    }
    started(std::move(status));
  }
  void stop() override { listener_.close(); }
  const void* extension(std::string_view id) override { return id == CM_PEER_ID ? &kTable : nullptr; }

 private:
  struct Waiting {
    cm_peer_sent sent;
    void* user;
    std::string json;
  };
  struct Subscriber {
    cm_peer_event event;
    void* user;
  };

  static Peer& of(void* instance) { return static_cast<Peer&>(*static_cast<cm::PluginInstance*>(instance)); }

  // To "nobody": refused. To "later": answered when a test says so. To others: answered at once, before this returns.
  static cm_status send(void* instance, const cm_peer_message* message, cm_peer_sent sent, void* user) noexcept {
    const std::string to(cm::to_view(message->to));
    if (to == "nobody") {
      return CM_INVALID;
    }
    std::string json = "{\"mesh\":\"" + std::string(cm::to_view(message->mesh)) + "\",\"to\":\"" + to +
                       "\",\"text\":\"" + std::string(cm::to_view(message->text)) + "\",\"id\":\"" +
                       std::string(cm::to_view(message->client_message_id)) +
                       "\",\"priority\":" + std::to_string(message->priority) + "}";
    if (to == "later") {
      of(instance).waiting_.push_back(Waiting{sent, user, std::move(json)});
    } else {
      sent(user, 202, cm::to_hview(json));
    }
    return CM_OK;
  }
  static cm_status subscribe(void* instance, cm_peer_event event, void* user, cm_handle* out) noexcept {
    Peer& self = of(instance);
    *out = self.next_++;
    self.subscribers_[*out] = Subscriber{event, user};
    return CM_OK;
  }
  static void unsubscribe(void* instance, cm_handle subscription) noexcept {
    of(instance).subscribers_.erase(subscription);
  }

  void tell(const cm::HttpRequest& request) {
    const std::string json(request.body());
    for (const auto& [id, subscriber] : subscribers_) {
      subscriber.event(subscriber.user, cm::to_hview("message"), cm::to_hview(json));
    }
    request.respond(200, {}, std::to_string(subscribers_.size()));
  }
  void answer(const cm::HttpRequest& request) {
    for (const Waiting& waiting : waiting_) {
      waiting.sent(waiting.user, 202, cm::to_hview(waiting.json));
    }
    waiting_.clear();
    request.respond(200, {}, "answered");
  }

  static constexpr cm_peer_v1 kTable = {sizeof(cm_peer_v1), 0, &send, &subscribe, &unsubscribe};
  cm::HttpListener listener_;
  std::list<Waiting> waiting_;
  std::map<cm_handle, Subscriber> subscribers_;
  cm_handle next_ = 1;
};

}  // namespace

CM_DEFINE_PLUGIN(Peer);
