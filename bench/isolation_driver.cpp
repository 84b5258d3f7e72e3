// Asks a hook, one question after the other and 64 at a time, and sends messages over a transport in the same two ways;
// first in process, then out of process. Each result is one log line.
#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/transport.h>
#include <claudemesh/cpp/plugin.hpp>

#include <algorithm>
#include <vector>

namespace {

constexpr std::size_t kRounds = 50'000;
constexpr std::size_t kWindow = 64;
constexpr std::size_t kPayloadBytes = 256;

class Driver final : public cm::PluginInstance {
 public:
  using PluginInstance::PluginInstance;

  cm::Status configure() override { return {}; }
  void start(Done started) override {
    for (const char* option : {"inside", "outside"}) {
      const std::string name = host().option_text(option);
      auto hook = cm::Extension<cm_hook_v1>::acquire(host(), name, CM_HOOK_ID);
      auto transport = cm::Extension<cm_transport_v1>::acquire(host(), name, CM_TRANSPORT_ID);
      if (!hook || !transport) {
        started(!hook ? hook.error() : transport.error());
        return;
      }
      hooks_.push_back(std::move(*hook));
      transports_.push_back(std::move(*transport));
    }
    started({});
    host().post([this] { next_phase(); });
  }
  void stop() override {
    hooks_.clear();
    transports_.clear();
  }

 private:
  // Phases: hook alone, hook with a window, transport alone, transport with a window; for each side.
  static constexpr std::size_t kPhases = 8;

  void next_phase() {
    if (phase_ == kPhases) {
      host().log(cm::LogLevel::kInfo, "measured all calls");
      return;
    }
    side_ = phase_ / 4;
    window_ = phase_ % 2 == 0 ? 1 : kWindow;
    over_transport_ = phase_ % 4 >= 2;
    begun_ = done_ = 0;
    latencies_us_.clear();
    latencies_us_.reserve(kRounds);
    sent_at_us_.assign(kRounds, 0);
    if (over_transport_) {
      open_link();
    } else {
      begin();
    }
  }

  void begin() {
    started_us_ = host().monotonic_us();
    pump();
  }

  // In process the answers of a hook come inside the call; a loop, not a recursion.
  void pump() {
    if (pumping_) {
      return;
    }
    pumping_ = true;
    while (begun_ < kRounds && begun_ - done_ < window_) {
      const std::size_t number = begun_++;
      sent_at_us_[number] = host().monotonic_us();
      over_transport_ ? send(number) : ask(number);
    }
    pumping_ = false;
    if (done_ == kRounds) {
      done_ = 0;
      host().post([this] { finish_phase(); });
    }
  }

  void answered(std::size_t number) {
    latencies_us_.push_back(host().monotonic_us() - sent_at_us_[number]);
    ++done_;
    pump();
  }

  void finish_phase() {
    const double seconds = static_cast<double>(host().monotonic_us() - started_us_) / 1e6;
    std::sort(latencies_us_.begin(), latencies_us_.end());
    const std::string call = std::string(over_transport_ ? "transport" : "hook") +
                             (side_ == 0 ? ", in process" : ", own process") + ", window " + std::to_string(window_);
    host().log(cm::LogLevel::kInfo, "measured crossing",
               {{"call", call},
                {"p50_us", latencies_us_[kRounds / 2]},
                {"p99_us", latencies_us_[kRounds * 99 / 100]},
                {"per_second", static_cast<double>(kRounds) / seconds}});
    ++phase_;
    next_phase();
  }

  // --- hook ---
  void ask(std::size_t number) {
    cm_hook_event event = {};
    event.size = sizeof(event);
    event.ticket = number + 1;
    event.point = cm::to_hview("daemon.send");
    event.json = cm::to_hview("{}");
    event.payload = {reinterpret_cast<const std::uint8_t*>(payload_.data()), payload_.size()};
    const cm_hook_reply reply = {sizeof(reply), 0, this, [](void*, cm_handle, cm_bytes_pview) noexcept {}, &finish};
    auto& hook = hooks_[side_];
    if (hook->invoke(hook.instance(), &event, &reply) != CM_HOOK_DEFER) {
      answered(number);
    }
  }
  static cm_status finish(void* context, cm_handle ticket, std::uint32_t, cm_bytes_pview) noexcept {
    static_cast<Driver*>(context)->answered(ticket - 1);
    return CM_OK;
  }

  // --- transport ---
  void open_link() {
    static constexpr cm_link_callbacks kCallbacks = {
        sizeof(cm_link_callbacks),
        0,
        &on_state,
        [](void*, cm_handle, const cm_inbound*, std::uint64_t) noexcept {},
        &on_sent,
        [](void*, cm_handle, std::uint32_t, cm_text_hview, std::uint8_t*) noexcept { return CM_DENIED; }};
    cm_link_identity identity = {};
    identity.size = sizeof(identity);
    identity.kind = CM_LINK_MEMBER;
    auto& transport = transports_[side_];
    transport->open(transport.instance(), &identity, &kCallbacks, this, &link_);
  }
  static void on_state(void* user, cm_handle, std::uint32_t state, cm_text_hview) noexcept {
    if (state == CM_LINK_OPEN) {
      static_cast<Driver*>(user)->begin();
    }
  }
  void send(std::size_t number) {
    const std::string id = std::to_string(number);
    cm_outbound message = {};
    message.size = sizeof(message);
    message.priority = CM_PRIORITY_NEXT;
    message.client_message_id = cm::to_pview(id);
    message.target = cm::to_pview("*");
    message.ciphertext = cm::to_pview(payload_);
    auto& transport = transports_[side_];
    std::uint64_t taken = 0;
    transport->send(transport.instance(), link_, &message, 1, &taken);
  }
  static void on_sent(void* user, cm_handle, const cm_send_result* results, std::uint64_t count) noexcept {
    for (std::uint64_t i = 0; i < count; ++i) {
      static_cast<Driver*>(user)->answered(std::stoul(std::string(cm::to_view(results[i].client_message_id))));
    }
  }

  const std::string payload_ = std::string(kPayloadBytes, 'x');
  std::vector<cm::Extension<cm_hook_v1>> hooks_;
  std::vector<cm::Extension<cm_transport_v1>> transports_;
  cm_handle link_ = CM_NO_HANDLE;
  std::size_t phase_ = 0;
  std::size_t side_ = 0;
  std::size_t window_ = 1;
  bool over_transport_ = false;
  bool pumping_ = false;
  std::size_t begun_ = 0;
  std::size_t done_ = 0;
  std::uint64_t started_us_ = 0;
  std::vector<std::uint64_t> sent_at_us_;
  std::vector<std::uint64_t> latencies_us_;
};

}  // namespace

CM_DEFINE_PLUGIN(Driver);
