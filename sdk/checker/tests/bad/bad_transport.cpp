// The link to a broker behind a table that does one thing wrong.
#include <claudemesh/ext/transport.h>
#include <claudemesh/cpp/plugin.hpp>

#include <map>
#include <memory>
#include <string>

#include "plugins/broker_link/src/broker_link.hpp"

extern "C" const char cm_badness[];  // what this one does wrong; linked to it

namespace {

const std::string_view kBad = cm_badness;

class BadLink final : public cm::PluginInstance {
 public:
  explicit BadLink(const cm_host* host) : PluginInstance(host), inner_(host) {}
  cm::Status configure() override {
    cm::Status configured = inner_.configure();
    real_ = static_cast<const cm_transport_v1*>(inner_.extension(CM_TRANSPORT_ID));
    return configured;
  }
  void start(Done started) override { inner_.start(std::move(started)); }
  void stop() override { inner_.stop(); }
  const void* extension(std::string_view id) override { return id == CM_TRANSPORT_ID ? &table_ : nullptr; }

 private:
  // The callbacks of one link, with ours in front of them.
  struct Owner {
    cm_link_callbacks callbacks;
    void* user;
    bool was_open = false;
  };
  static BadLink& self(void* instance) { return *static_cast<BadLink*>(static_cast<PluginInstance*>(instance)); }
  void* inner() { return static_cast<PluginInstance*>(&inner_); }

  static cm_text_hview name(void* instance) noexcept {
    return kBad == "no_name" ? cm_text_hview{nullptr, 0} : self(instance).real_->name(self(instance).inner());
  }
  static cm_status open(void* instance, const cm_link_identity* identity, const cm_link_callbacks* callbacks,
                        void* user, cm_handle* out) noexcept {
    if (kBad == "does_not_open") {
      return CM_UNSUPPORTED;
    }
    BadLink& link = self(instance);
    link.owners_.push_back(std::make_unique<Owner>(Owner{*callbacks, user}));
    const cm_link_callbacks ours = {sizeof(ours), 0, &on_state, &on_inbound, &on_sent, &on_sign};
    return link.real_->open(link.inner(), identity, &ours, link.owners_.back().get(), out);
  }
  static void close(void* instance, cm_handle handle) noexcept {
    if (kBad != "does_not_close") {
      self(instance).real_->close(self(instance).inner(), handle);
    }
  }
  static cm_status send(void* instance, cm_handle handle, const cm_outbound* messages, std::uint64_t count,
                        std::uint64_t* taken) noexcept {
    BadLink& link = self(instance);
    if (kBad == "writes_out") {
      *taken = 0;
    }
    if (kBad == "swaps" && count == 1) {
      const std::string id(messages->client_message_id.data, messages->client_message_id.size);
      if (link.held_.empty()) {
        link.held_ = id;  // goes out after the next one
        *taken = 1;
        return CM_OK;
      }
      const cm_status status = link.real_->send(link.inner(), handle, messages, 1, taken);
      const std::string held = std::exchange(link.held_, {});
      cm_outbound earlier = *messages;
      earlier.client_message_id = cm::to_pview(held);
      std::uint64_t ignored = 0;
      link.real_->send(link.inner(), handle, &earlier, 1, &ignored);
      return status;
    }
    const cm_status status = link.real_->send(link.inner(), handle, messages, count, taken);
    if (kBad == "takes_all" && status == CM_BUSY) {
      *taken = count;
      return CM_OK;
    }
    return status;
  }
  static cm_status acknowledge(void* instance, cm_handle handle, cm_text_pview id, cm_text_pview client_id) noexcept {
    const cm_status status = self(instance).real_->acknowledge(self(instance).inner(), handle, id, client_id);
    return kBad == "knows_every_link" ? CM_OK : status;
  }
  static cm_status request(void* instance, cm_handle handle, cm_text_pview json, std::uint64_t timeout_ms,
                           cm_reply_callback callback, void* user) noexcept {
    return self(instance).real_->request(self(instance).inner(), handle, json, timeout_ms, callback, user);
  }

  static void on_state(void* user, cm_handle link, std::uint32_t state, cm_text_hview detail) noexcept {
    auto* owner = static_cast<Owner*>(user);
    if (kBad == "stays_open" && owner->was_open) {
      return;
    }
    owner->was_open = owner->was_open || state == CM_LINK_OPEN;
    owner->callbacks.state(owner->user, link, state, detail);
  }
  static void on_inbound(void* user, cm_handle link, const cm_inbound* messages, std::uint64_t count) noexcept {
    auto* owner = static_cast<Owner*>(user);
    for (std::uint64_t i = 0; i < count; ++i) {
      const bool lost =
          kBad == "loses_one" && std::string_view(messages[i].message_id.data, messages[i].message_id.size) == "m7";
      if (!lost) {
        owner->callbacks.inbound(owner->user, link, &messages[i], 1);
      }
    }
  }
  static void on_sent(void* user, cm_handle link, const cm_send_result* results, std::uint64_t count) noexcept {
    auto* owner = static_cast<Owner*>(user);
    owner->callbacks.sent(owner->user, link, results, count);
    if (kBad == "sent_twice") {
      owner->callbacks.sent(owner->user, link, results, count);
    }
  }
  static cm_status on_sign(void* user, cm_handle link, std::uint32_t key, cm_text_hview text,
                           std::uint8_t* out) noexcept {
    auto* owner = static_cast<Owner*>(user);
    return owner->callbacks.sign(owner->user, link, key, text, out);
  }

  cm::broker_link::BrokerLink inner_;
  const cm_transport_v1* real_ = nullptr;
  cm_transport_v1 table_ = {sizeof(cm_transport_v1), 0, &name, &open, &close, &send, &acknowledge, &request};
  std::vector<std::unique_ptr<Owner>> owners_;
  std::string held_;
};

}  // namespace

CM_DEFINE_PLUGIN(BadLink);
