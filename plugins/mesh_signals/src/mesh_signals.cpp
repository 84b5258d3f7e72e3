// Signals between presences of one mesh: p2p_offer, p2p_answer, p2p_candidate, p2p_close. Nothing is stored and no
// payload is read; what the receiver learns of the sender is what the broker knows of its connection.
#include <claudemesh/ext/signaling.h>
#include <claudemesh/cpp/broker.hpp>
#include <claudemesh/cpp/plugin.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "protocol/encoding.hpp"
#include "protocol/json.hpp"
#include "protocol/object_writer.hpp"
#include "protocol/rate.hpp"

namespace cm::mesh_signals {
namespace {

constexpr std::size_t kPayloadTextMax = (CM_SIGNAL_PAYLOAD_BYTES_MAX + 2) / 3 * 4;  // base64
constexpr std::size_t kKeyHexLength = 64;
constexpr std::string_view kTypes[] = {"p2p_offer", "p2p_answer", "p2p_candidate", "p2p_close"};

struct Signal {
  std::string to;
  std::string call;
  std::string payload;
};

const std::string* text_of(const protocol::JsonValue& frame, std::string_view name) {
  const protocol::JsonValue* value = frame.find(name);
  return value == nullptr ? nullptr : value->as_string();
}

bool is_call(std::string_view call) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !call.empty() && call.size() <= CM_SIGNAL_CALL_BYTES_MAX && std::all_of(call.begin(), call.end(), plain);
}

// kInvalid names the first field that is wrong.
Result<Signal> parse_signal(std::string_view json) {
  const auto frame = protocol::parse_json(json);
  if (!frame.ok()) {
    return frame.error();
  }
  const std::string* to = text_of(*frame, "to");
  const std::string* call = text_of(*frame, "call");
  const std::string* payload = text_of(*frame, "payload");
  if (to == nullptr || !protocol::is_hex(*to, kKeyHexLength, protocol::HexCase::kLowerOnly)) {
    return make_error(ErrorCode::kInvalid, "to must be a key of 64 lowercase hex chars");
  }
  if (call == nullptr || !is_call(*call)) {
    return make_error(ErrorCode::kInvalid, "call must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -");
  }
  if (payload == nullptr || payload->size() > kPayloadTextMax) {
    return make_error(ErrorCode::kInvalid, "payload must be base64 of at most 32768 bytes");
  }
  return Signal{*to, *call, *payload};
}

class MeshSignals final : public PluginInstance {
 public:
  explicit MeshSignals(const cm_host* host) : PluginInstance(host) {}

  std::vector<TableNeed> required_tables() const override {
    return {need<cm_loop_v1>(CM_LOOP_ID), need<cm_clock_v1>(CM_CLOCK_ID), need<cm_config_v1>(CM_CONFIG_ID),
            need<cm_registry_v1>(CM_REGISTRY_ID)};
  }

  Status configure() override {
    const auto burst = static_cast<double>(host().option_int("rate_burst"));
    const auto per_minute = static_cast<double>(host().option_int("rate_per_min"));
    rate_ = std::make_unique<protocol::KeyedBuckets>(protocol::BucketOptions{burst, per_minute});
    const std::string_view help = "Signals, by what became of them";
    passed_ = host().counter("mesh_signals_total", "outcome=\"passed\"", help);
    refused_ = host().counter("mesh_signals_total", "outcome=\"refused\"", help);
    return {};
  }

  void start(Done started) override { started(serve()); }
  void stop() override { broker_.release(); }

 private:
  using Request = BrokerMessages::Request;

  Status serve() {
    Status status = broker_.acquire(host(), host().option_text("broker"));
    if (!status.ok()) {
      return status;
    }
    status = broker_.contribute("hello_ack", [](Request request, const cm_broker_sender&, std::string_view) {
      request.reply(R"({"p2pSignals":1})");
    });
    const auto add = [&](std::string_view type, BrokerMessages::RequestFunction function) {
      if (status.ok()) {
        status = broker_.serve_type(type, std::move(function));
      }
    };
    add("p2p_listen", [this](Request request, const cm_broker_sender& sender, std::string_view) {
      listening_.insert(sender.presence);
      request.reply(R"({"type":"p2p_listening"})");
    });
    add("p2p_unlisten", [this](Request request, const cm_broker_sender& sender, std::string_view) {
      listening_.erase(sender.presence);
      request.no_reply();
    });
    for (const std::string_view type : kTypes) {
      add(type, [this, type](Request request, const cm_broker_sender& sender, std::string_view json) {
        pass(type, request, sender, json);
      });
    }
    return status.ok() ? watch() : status;
  }

  Status watch() {
    cm_broker_watch callbacks = {};
    callbacks.size = sizeof(callbacks);
    callbacks.presence_left = [](void* user, const cm_broker_sender* presence) noexcept {
      static_cast<MeshSignals*>(user)->listening_.erase(presence->presence);
    };
    cm_handle handle = CM_NO_HANDLE;
    const cm_status status = broker_.table()->watch(broker_.instance(), broker_.self(), &callbacks, this, &handle);
    return status == CM_OK ? Status() : Status(error_from_status(status, "the broker takes no more watches"));
  }

  void refuse(const Request& request, std::string_view code, std::string_view message) {
    refused_.add();
    request.error(code, message);
  }

  void pass(std::string_view type, const Request& request, const cm_broker_sender& sender, std::string_view json) {
    const auto signal = parse_signal(json);
    if (!signal.ok()) {
      refuse(request, "invalid_argument", signal.error().message);
      return;
    }
    const auto now_ms = static_cast<std::int64_t>(host().monotonic_us() / 1000);
    if (!rate_->take(std::to_string(sender.presence), now_ms)) {
      refuse(request, "rate_limited", "too many signals; wait before the next one");
      return;
    }
    const Target target = find(sender, signal->to);
    if (target.listening == CM_NO_HANDLE) {
      refuse(request, target.online ? "unsupported" : "peer_not_found",
             target.online ? "the peer takes no signals" : "target peer not connected");
      return;
    }
    const std::string_view session = to_view(sender.session_pubkey);
    std::string frame;
    protocol::ObjectWriter object(frame, type);
    object.text("from", session.empty() ? to_view(sender.member_pubkey) : session);
    object.text("fromMember", to_view(sender.member_pubkey));
    object.text("fromName", to_view(sender.display_name));
    object.text("call", signal->call);
    object.text("payload", signal->payload);
    object.close();
    if (!broker_.push_to_presence(target.listening, frame)) {
      refuse(request, "peer_not_found", "target peer not connected");
      return;
    }
    passed_.add();
    request.reply(R"({"type":"p2p_passed"})");
  }

  struct Target {
    bool online = false;
    cm_handle listening = CM_NO_HANDLE;  // the newest one
  };
  Target find(const cm_broker_sender& sender, std::string_view key) const {
    Target target;
    broker_.for_each_presence(to_view(sender.mesh_id), [&](const cm_broker_sender& presence) {
      const std::string_view session = to_view(presence.session_pubkey);
      const bool has_key = (session.empty() ? to_view(presence.member_pubkey) : session) == key;
      if (!has_key || (presence.flags & CM_BROKER_ONLINE) == 0 || presence.presence == sender.presence) {
        return;
      }
      target.online = true;
      if (listening_.count(presence.presence) != 0) {
        target.listening = std::max(target.listening, presence.presence);
      }
    });
    return target;
  }

  BrokerMessages broker_;
  std::unordered_set<cm_handle> listening_;  // presences that asked for signals
  std::unique_ptr<protocol::KeyedBuckets> rate_;
  Metric passed_;
  Metric refused_;
};

}  // namespace
}  // namespace cm::mesh_signals

CM_DEFINE_PLUGIN(cm::mesh_signals::MeshSignals);
