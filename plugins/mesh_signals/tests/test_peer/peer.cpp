// One member with a link that listens for signals. GET /log: what happened, a line each. POST /send with "KIND TO CALL
// PAYLOAD" sends a signal. POST /close closes the link.
#include <claudemesh/ext/signaling.h>
#include <claudemesh/ext/transport.h>
#include <algorithm>
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/plugin.hpp>
#include <optional>
#include <sstream>
#include <string>

#include "protocol/keys.hpp"

namespace {

class TestPeer final : public cm::PluginInstance {
 public:
  explicit TestPeer(const cm_host* host) : PluginInstance(host) {}

  cm::Status configure() override {
    auto secret = cm::protocol::SecretKey::from_hex(host().option_text("secret_key"));
    if (!secret.ok()) {
      return secret.error();
    }
    secret_ = std::move(*secret);
    pubkey_ = host().option_text("secret_key").substr(64);  // the second half is the public key
    return {};
  }

  void start(Done started) override {
    const std::string name = host().option_text("link");
    auto transport = cm::Extension<cm_transport_v1>::acquire(host(), name, CM_TRANSPORT_ID);
    auto signaling = cm::Extension<cm_signaling_v1>::acquire(host(), name, CM_SIGNALING_ID);
    if (!transport.ok() || !signaling.ok()) {
      started(cm::make_error(cm::ErrorCode::kInvalid, "the link offers no signals"));
      return;
    }
    transport_ = std::move(*transport);
    signaling_ = std::move(*signaling);
    if (cm::Status status = serve(); !status.ok()) {
      started(status);
      return;
    }
    if (host().option_bool("attach")) {
      attach();
    }
    open_link();
    started(cm::Status());
  }

  void stop() override {
    listener_.close();
    signaling_.release();
    transport_.release();
  }

 private:
  cm::Status serve() {
    const std::string address = host().option_text("listen");
    cm_http_listen_options options = {};
    options.address = cm::to_pview(address);
    if (cm::Status status = listener_.listen(host(), options); !status.ok()) {
      return status;
    }
    listener_.route("GET", "/log", [this](const cm::HttpRequest& request) { request.respond(200, {}, log_); });
    listener_.route("POST", "/send", [this](const cm::HttpRequest& request) {
      send(std::string(request.body()));
      request.respond(200, {}, "");
    });
    listener_.route("POST", "/close", [this](const cm::HttpRequest& request) {
      transport_->close(transport_.instance(), link_);
      request.respond(200, {}, "");
    });
    return {};
  }

  void attach() {
    const std::string mesh_id = host().option_text("mesh_id");
    cm_signaling_identity identity = {};
    identity.size = sizeof(identity);
    identity.url = cm::to_pview("ws://127.0.0.1:7900/ws");
    identity.mesh_id = cm::to_pview(mesh_id);
    identity.member_pubkey = cm::to_pview(pubkey_);
    cm_signaling_callbacks callbacks = {};
    callbacks.size = sizeof(callbacks);
    callbacks.state = [](void* user, cm_handle, std::uint32_t state) noexcept {
      static_cast<TestPeer*>(user)->note("state " + std::to_string(state));
    };
    callbacks.signal = [](void* user, cm_handle, const cm_signal_received* signal) noexcept {
      static_cast<TestPeer*>(user)->note(
          "got " + std::to_string(signal->kind) + " " + std::string(cm::to_view(signal->from)) + " " +
          std::string(cm::to_view(signal->from_name)) + " " + std::string(cm::to_view(signal->call)) + " " +
          std::string(cm::to_view(signal->payload)));
    };
    const cm_status status =
        signaling_->attach(signaling_.instance(), host().self(), &identity, &callbacks, this, &attachment_);
    cm_handle second = CM_NO_HANDLE;
    const cm_status again =
        signaling_->attach(signaling_.instance(), host().self(), &identity, &callbacks, this, &second);
    note("attach " + std::to_string(status) + " " + std::to_string(again));
  }

  void open_link() {
    const std::string mesh_id = host().option_text("mesh_id");
    const std::string member_id = host().option_text("member_id");
    cm_link_identity identity = {};
    identity.size = sizeof(identity);
    identity.kind = CM_LINK_MEMBER;
    identity.url = cm::to_pview("ws://127.0.0.1:7900/ws");
    identity.mesh_id = cm::to_pview(mesh_id);
    identity.member_id = cm::to_pview(member_id);
    identity.member_pubkey = cm::to_pview(pubkey_);
    identity.session_id = cm::to_pview(pubkey_);
    identity.cwd = cm::to_pview("/");
    cm_link_callbacks callbacks = {};
    callbacks.size = sizeof(callbacks);
    callbacks.sign = [](void* user, cm_handle, std::uint32_t, cm_text_hview text, std::uint8_t* out) noexcept {
      const auto signature = cm::protocol::sign(*static_cast<TestPeer*>(user)->secret_, cm::to_view(text));
      std::copy(signature.begin(), signature.end(), out);
      return CM_OK;
    };
    const cm_status status = transport_->open(transport_.instance(), &identity, &callbacks, this, &link_);
    note("open " + std::to_string(status));
  }

  void send(const std::string& order) {
    std::istringstream words(order);
    std::uint32_t kind = 0;
    std::string to;
    std::string call;
    std::string payload;
    words >> kind >> to >> call >> payload;
    cm_signal signal = {};
    signal.size = sizeof(signal);
    signal.kind = kind;
    signal.to = cm::to_pview(to);
    signal.call = cm::to_pview(call);
    signal.payload = cm::to_bytes_pview(std::string_view(payload));
    const cm_status status = signaling_->send(
        signaling_.instance(), attachment_, &signal,
        [](void* user, cm_handle, std::uint32_t outcome, cm_text_hview) noexcept {
          static_cast<TestPeer*>(user)->note("sent " + std::to_string(outcome));
        },
        this);
    note("send " + std::to_string(status));
  }

  void note(const std::string& line) { log_ += line + "\n"; }

  std::optional<cm::protocol::SecretKey> secret_;
  std::string pubkey_;
  std::string log_;
  cm::Extension<cm_transport_v1> transport_;
  cm::Extension<cm_signaling_v1> signaling_;
  cm_handle link_ = CM_NO_HANDLE;
  cm_handle attachment_ = CM_NO_HANDLE;
  cm::HttpListener listener_;
};

}  // namespace

CM_DEFINE_PLUGIN(TestPeer);
