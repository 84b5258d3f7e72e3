// A transport without a network: what is sent is accepted and comes back. Some texts make it misbehave.
#include <claudemesh/ext/transport.h>
#include <signal.h>
#include <claudemesh/cpp/plugin.hpp>

#include <array>
#include <map>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kWindow = 8;

class Courier final : public cm::PluginInstance {
 public:
  explicit Courier(const cm_host* host) : PluginInstance(host) {
    table_ = {sizeof(cm_transport_v1), 0, &name, &open, &close, &send, &acknowledge, &request};
  }
  cm::Status configure() override { return {}; }
  void start(Done started) override { started({}); }
  const void* extension(std::string_view id) override { return id == CM_TRANSPORT_ID ? &table_ : nullptr; }

 private:
  struct Link {
    cm_link_callbacks callbacks;
    void* user;
    std::string who;
    std::size_t in_flight = 0;
  };
  static Courier* self_of(void* instance) { return static_cast<Courier*>(static_cast<cm::PluginInstance*>(instance)); }
  static cm_text_hview name(void*) noexcept { return cm::to_hview("courier"); }

  static cm_status open(void* instance, const cm_link_identity* identity, const cm_link_callbacks* callbacks,
                        void* user, cm_handle* out) noexcept {
    Courier* self = self_of(instance);
    const cm_handle link = self->next_++;
    self->links_[link] = Link{*callbacks, user, std::string(cm::to_view(identity->display_name))};
    *out = link;
    self->host().post([self, link] { self->opened(link); });
    return CM_OK;
  }

  void opened(cm_handle handle) {
    const auto entry = links_.find(handle);
    if (entry == links_.end()) {
      return;
    }
    Link& link = entry->second;
    std::array<std::uint8_t, 64> signature{};
    const cm_status status =
        link.callbacks.sign(link.user, handle, CM_SIGN_SESSION, cm::to_hview("hello"), signature.data());
    // The signer of the tests counts up from the size of the text plus the key's number.
    const bool right = status == CM_OK && signature[0] == 5 + CM_SIGN_SESSION && signature[63] == signature[0] + 63;
    const std::string detail = "{\"reason\":\"" + link.who + (right ? " signed" : " did not sign") + "\"}";
    link.callbacks.state(link.user, handle, CM_LINK_OPEN, cm::to_hview(detail));
  }

  static void close(void* instance, cm_handle link) noexcept { self_of(instance)->links_.erase(link); }

  static cm_status send(void* instance, cm_handle handle, const cm_outbound* messages, std::uint64_t count,
                        std::uint64_t* out_taken) noexcept {
    Courier* self = self_of(instance);
    const auto entry = self->links_.find(handle);
    if (entry == self->links_.end()) {
      return CM_GONE;
    }
    Link& link = entry->second;
    *out_taken = 0;
    while (*out_taken < count && link.in_flight < kWindow) {
      const std::string text(cm::to_view(messages[(*out_taken)++].ciphertext));
      if (text == "die") {
        ::raise(SIGKILL);
      }
      ++link.in_flight;
      if (text != "swallow") {
        self->host().post([self, handle, text] { self->deliver(handle, text); });
      }
    }
    return *out_taken == 0 && count != 0 ? CM_BUSY : CM_OK;
  }

  void deliver(cm_handle handle, const std::string& text) {
    const auto entry = links_.find(handle);
    if (entry == links_.end()) {
      return;
    }
    Link& link = entry->second;
    --link.in_flight;
    cm_send_result result = {};
    result.size = sizeof(result);
    result.outcome = CM_SEND_ACCEPTED;
    result.client_message_id = cm::to_hview(text);
    result.message_id = cm::to_hview("m");
    if (text == "lie") {
      result.client_message_id = cm::to_hview("made up");
    }
    link.callbacks.sent(link.user, handle, &result, 1);
    cm_inbound inbound = {};
    inbound.size = sizeof(inbound);
    inbound.priority = CM_PRIORITY_NEXT;
    const std::string message_id = "in-" + text;
    inbound.message_id = cm::to_hview(message_id);
    inbound.ciphertext = cm::to_hview(text);
    link.callbacks.inbound(link.user, handle, &inbound, 1);
  }

  static cm_status acknowledge(void* instance, cm_handle, cm_text_pview id, cm_text_pview) noexcept {
    self_of(instance)->host().log(cm::LogLevel::kInfo, "acknowledged " + std::string(cm::to_view(id)));
    return CM_OK;
  }

  static cm_status request(void* instance, cm_handle, cm_text_pview json, std::uint64_t, cm_reply_callback callback,
                           void* user) noexcept {
    const std::string text = "echo of " + std::string(cm::to_view(json));
    self_of(instance)->host().post([callback, user, text] { callback(user, CM_OK, cm::to_hview(text)); });
    return CM_OK;
  }

  cm_transport_v1 table_;
  std::map<cm_handle, Link> links_;
  cm_handle next_ = 1;
};

}  // namespace

CM_DEFINE_PLUGIN(Courier);
