// A way of delivery in C++: what waits for one member that has no connection is POSTed to a URL, as the very frame that
// a connection would get. The message stays sealed: the receiver has the key, this plugin and the broker do not.
//
// Delivered is only what the receiver answered with 2xx. A message may come twice (an answer that got lost, a crash):
// the receiver looks at "messageId".
//
//   [plugins.webhook_way]
//   use = "webhook_way"
//   broker = "broker"
//   url = "http://127.0.0.1:9000/inbox"
//   member = "<64 hex>"
#include <claudemesh/cpp/broker.hpp>
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/plugin.hpp>

#include <string>

namespace {

constexpr std::int32_t kOrder = 100;              // after ways that know better
constexpr std::uint64_t kCallTimeoutMs = 20'000;  // well before CM_BROKER_CONFIRM_TIMEOUT_MS
constexpr std::uint64_t kRetryAfterMs = 30'000;

class WebhookWay final : public cm::PluginInstance, public cm::BrokerWay {
 public:
  explicit WebhookWay(const cm_host* host) : PluginInstance(host) {}

  std::vector<cm::TableNeed> required_tables() const override {
    return {cm::need<cm_config_v1>(CM_CONFIG_ID), cm::need<cm_registry_v1>(CM_REGISTRY_ID),
            cm::need<cm_http_client_v1>(CM_HTTP_CLIENT_ID)};
  }

  cm::Status configure() override {
    url_ = host().option_text("url");
    member_ = host().option_text("member");
    delivered_ = host().counter("webhook_way_delivered_total", "", "Messages that the receiver has taken");
    failed_ = host().counter("webhook_way_failed_total", "", "Attempts without a good answer");
    return {};
  }

  void start(Done started) override { started(open(host(), host().option_text("broker"), "webhook_example", kOrder)); }

  void stop() override { close(); }

 private:
  std::uint32_t on_offer(cm_handle offer, const cm_broker_offer& facts) override {
    if (!member_.empty() && cm::to_view(facts.member_pubkey) != member_) {
      return CM_BROKER_REFUSED;  // no more offers for this member
    }
    cm::HttpCall call;
    call.method = "POST";
    call.url = url_;
    call.body = std::string(cm::to_view(facts.push_json));
    call.headers = {{"Content-Type", "application/json"}};
    call.total_timeout_ms = kCallTimeoutMs;
    cm::http_send(host(), call, [this, offer](const cm::Result<cm::HttpResponse>& answer) { answered(offer, answer); });
    return CM_BROKER_TAKEN;
  }

  // 4xx: this message will never be taken. Everything else may go better later. Should the offer have been withdrawn
  // meanwhile, confirm says CM_GONE and nothing is wrong.
  void answered(cm_handle offer, const cm::Result<cm::HttpResponse>& answer) {
    if (answer.ok() && answer->status >= 200 && answer->status < 300) {
      delivered_.add();
      confirm(offer, CM_BROKER_DELIVERED);
      return;
    }
    failed_.add();
    const bool never = answer.ok() && answer->status >= 400 && answer->status < 500;
    const std::string reason = answer.ok() ? "HTTP " + std::to_string(answer->status) : answer.error().message;
    confirm(offer, never ? CM_BROKER_REJECTED : CM_BROKER_FAILED, kRetryAfterMs, reason);
  }

  std::string url_;
  std::string member_;
  cm::Metric delivered_;
  cm::Metric failed_;
};

}  // namespace

CM_DEFINE_PLUGIN(WebhookWay);
