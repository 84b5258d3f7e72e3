// A hook that lets everything pass and a transport that accepts everything: what is measured is the way to them.
#include <claudemesh/ext/hook.h>
#include <claudemesh/ext/transport.h>
#include <claudemesh/cpp/plugin.hpp>

#include <map>
#include <vector>

namespace {

class Echo final : public cm::PluginInstance {
 public:
  explicit Echo(const cm_host* host) : PluginInstance(host) {
    transport_ = {sizeof(cm_transport_v1),
                  0,
                  [](void*) noexcept { return cm::to_hview("echo"); },
                  &open,
                  [](void* instance, cm_handle link) noexcept { self_of(instance)->links_.erase(link); },
                  &send,
                  [](void*, cm_handle, cm_text_pview, cm_text_pview) noexcept { return CM_OK; },
                  [](void*, cm_handle, cm_text_pview, std::uint64_t, cm_reply_callback, void*) noexcept {
                    return CM_UNSUPPORTED;
                  }};
  }
  cm::Status configure() override { return {}; }
  void start(Done started) override { started({}); }
  const void* extension(std::string_view id) override {
    return id == CM_HOOK_ID ? static_cast<const void*>(&hook_) : id == CM_TRANSPORT_ID ? &transport_ : nullptr;
  }

 private:
  struct Link {
    cm_link_callbacks callbacks;
    void* user;
  };
  static Echo* self_of(void* instance) { return static_cast<Echo*>(static_cast<cm::PluginInstance*>(instance)); }

  static cm_status open(void* instance, const cm_link_identity*, const cm_link_callbacks* callbacks, void* user,
                        cm_handle* out) noexcept {
    Echo* self = self_of(instance);
    *out = self->next_++;
    self->links_[*out] = Link{*callbacks, user};
    self->host().post([self, link = *out] {
      const Link& entry = self->links_.at(link);
      entry.callbacks.state(entry.user, link, CM_LINK_OPEN, cm::to_hview("{}"));
    });
    return CM_OK;
  }

  static cm_status send(void* instance, cm_handle link, const cm_outbound* messages, std::uint64_t count,
                        std::uint64_t* out_taken) noexcept {
    Echo* self = self_of(instance);
    std::vector<std::string> ids;
    for (std::uint64_t i = 0; i < count; ++i) {
      ids.emplace_back(cm::to_view(messages[i].client_message_id));
    }
    *out_taken = count;
    self->host().post([self, link, ids = std::move(ids)] {
      std::vector<cm_send_result> results(ids.size());
      for (std::size_t i = 0; i < ids.size(); ++i) {
        results[i].size = sizeof(cm_send_result);
        results[i].outcome = CM_SEND_ACCEPTED;
        results[i].client_message_id = cm::to_hview(ids[i]);
      }
      const Link& entry = self->links_.at(link);
      entry.callbacks.sent(entry.user, link, results.data(), results.size());
    });
    return CM_OK;
  }

  cm_hook_v1 hook_ = {sizeof(cm_hook_v1), CM_HOOK_GUARD, 1, 5'000,
                      [](void*, const cm_hook_event*, const cm_hook_reply*) noexcept { return CM_HOOK_CONTINUE; }};
  cm_transport_v1 transport_{};
  std::map<cm_handle, Link> links_;
  cm_handle next_ = 1;
};

}  // namespace

CM_DEFINE_PLUGIN(Echo);
