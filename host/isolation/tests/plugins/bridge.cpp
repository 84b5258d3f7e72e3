// A bridge without a network: a mapped channel is forwarded, "die" ends the process.
#include <claudemesh/ext/bridge.h>
#include <signal.h>
#include <claudemesh/cpp/plugin.hpp>

#include <map>
#include <string>

namespace {

class Bridge final : public cm::PluginInstance {
 public:
  explicit Bridge(const cm_host* host) : PluginInstance(host) {
    table_ = {sizeof(cm_bridge_v1),
              0,
              [](void*) noexcept { return cm::to_hview("nowhere"); },
              &status,
              &mappings,
              &map,
              &unmap,
              &deliver,
              &deliver,
              &observe,
              [](void* instance, cm_handle) noexcept { self_of(instance)->observer_ = nullptr; }};
  }
  cm::Status configure() override { return {}; }
  void start(Done started) override { started({}); }
  const void* extension(std::string_view id) override { return id == CM_BRIDGE_ID ? &table_ : nullptr; }

 private:
  static Bridge* self_of(void* instance) { return static_cast<Bridge*>(static_cast<cm::PluginInstance*>(instance)); }

  static cm_status status(void* instance, cm_bridge_status* out) noexcept {
    const Bridge* self = self_of(instance);
    out->state = CM_BRIDGE_UP;
    out->mark = cm::to_hview("nowhere:test");
    out->mappings = self->remotes_.size();
    out->to_mesh = self->forwarded_;
    return CM_OK;
  }
  static cm_status mappings(void* instance, cm_bridge_mapping_row row, void* user) noexcept {
    for (const auto& [id, remote] : self_of(instance)->remotes_) {
      cm_bridge_mapping mapping = {};
      mapping.size = sizeof(mapping);
      mapping.id = cm::to_pview(id);
      mapping.remote = cm::to_pview(remote);
      mapping.target = cm::to_pview("*");
      row(user, &mapping);
    }
    return CM_OK;
  }
  static cm_status map(void* instance, const cm_bridge_mapping* mapping) noexcept {
    self_of(instance)->remotes_[std::string(cm::to_view(mapping->id))] = std::string(cm::to_view(mapping->remote));
    return CM_OK;
  }
  static cm_status unmap(void* instance, cm_text_pview id) noexcept {
    return self_of(instance)->remotes_.erase(std::string(cm::to_view(id))) == 1 ? CM_OK : CM_GONE;
  }
  static cm_status deliver(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                           void* user) noexcept {
    Bridge* self = self_of(instance);
    const std::string channel(cm::to_view(message->channel));
    if (channel == "die") {
      ::raise(SIGKILL);
    }
    bool mapped = false;
    for (const auto& [id, remote] : self->remotes_) {
      mapped = mapped || remote == channel;
    }
    self->forwarded_ += mapped ? 1 : 0;
    const std::string text = mapped ? std::string(cm::to_view(message->text)) : std::string();
    self->host().post([self, mapped, text, crossed, user] {
      cm_bridge_crossing crossing = {};
      crossing.size = sizeof(crossing);
      crossing.outcome = mapped ? CM_BRIDGE_FORWARDED : CM_BRIDGE_UNMAPPED;
      crossing.direction = CM_BRIDGE_TO_MESH;
      crossing.text = cm::to_hview(text);
      crossed(user, &crossing);
      if (self->observer_ != nullptr) {
        self->observer_(self->observer_user_, &crossing);
      }
    });
    return CM_OK;
  }
  static cm_status observe(void* instance, cm_bridge_crossed crossed, void* user, cm_handle* out) noexcept {
    Bridge* self = self_of(instance);
    self->observer_ = crossed;
    self->observer_user_ = user;
    *out = 1;
    return CM_OK;
  }

  cm_bridge_v1 table_;
  std::map<std::string, std::string> remotes_{{"first", "C1"}};
  std::uint64_t forwarded_ = 0;
  cm_bridge_crossed observer_ = nullptr;
  void* observer_user_ = nullptr;
};

}  // namespace

CM_DEFINE_PLUGIN(Bridge);
