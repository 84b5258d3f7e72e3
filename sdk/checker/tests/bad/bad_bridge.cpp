// The example's bridge behind a table that does one thing wrong.
#include <claudemesh/cpp/plugin.hpp>
#undef CM_DEFINE_PLUGIN
#define CM_DEFINE_PLUGIN(Instance) static_assert(true, "made below")
#include "sdk/examples/bridge/room_bridge.cpp"

extern "C" const char cm_badness[];  // what this one does wrong; linked to it

namespace {

const std::string_view kBad = cm_badness;

class BadBridge final : public cm::PluginInstance {
 public:
  explicit BadBridge(const cm_host* host) : PluginInstance(host), inner_(host) {}
  cm::Status configure() override {
    cm::Status configured = inner_.configure();
    real_ = static_cast<const cm_bridge_v1*>(inner_.extension(CM_BRIDGE_ID));
    table_ = *real_;
    table_.status = &status;
    table_.mappings = &mappings;
    table_.map = &map;
    table_.unmap = &unmap;
    table_.deliver_remote = &deliver_remote;
    table_.deliver_mesh = &deliver_mesh;
    return configured;
  }
  void start(Done started) override { inner_.start(std::move(started)); }
  void stop() override { inner_.stop(); }
  const void* extension(std::string_view id) override { return id == CM_BRIDGE_ID ? &table_ : nullptr; }

 private:
  static BadBridge& self(void* instance) { return *static_cast<BadBridge*>(static_cast<PluginInstance*>(instance)); }
  void* inner() { return static_cast<PluginInstance*>(&inner_); }

  static cm_status status(void* instance, cm_bridge_status* out) noexcept {
    const cm_status status = self(instance).real_->status(self(instance).inner(), out);
    if (kBad == "odd_mark") {
      out->mark = cm::to_hview(std::string_view("A Mark!"));
    }
    if (kBad == "counts_nothing") {
      out->dropped_unmapped = 0;
    }
    return status;
  }
  static cm_status mappings(void* instance, cm_bridge_mapping_row row, void* user) noexcept {
    return kBad == "lists_nothing" ? CM_OK : self(instance).real_->mappings(self(instance).inner(), row, user);
  }
  static cm_status map(void* instance, const cm_bridge_mapping* mapping) noexcept {
    const cm_status status = self(instance).real_->map(self(instance).inner(), mapping);
    return kBad == "maps_anything" ? CM_OK : status;
  }
  static cm_status unmap(void* instance, cm_text_pview id) noexcept {
    return self(instance).real_->unmap(self(instance).inner(), id);
  }

  struct Passing {
    cm_bridge_crossed crossed;
    void* user;
  };
  // Tells other outcomes than there were.
  static void spoil(void* user, const cm_bridge_crossing* crossing) noexcept {
    const std::unique_ptr<Passing> passing(static_cast<Passing*>(user));
    cm_bridge_crossing told = *crossing;
    const auto carries = [&told](std::string_view badness, std::uint32_t outcome) {
      if (kBad == badness && told.outcome == outcome) {
        told.outcome = CM_BRIDGE_REHEARSED;
      }
    };
    carries("carries_unmapped", CM_BRIDGE_UNMAPPED);
    carries("carries_echoes", CM_BRIDGE_ECHO);
    carries("carries_twice", CM_BRIDGE_DUPLICATE);
    carries("carries_loops", CM_BRIDGE_LOOP);
    carries("carries_both_ways", CM_BRIDGE_FILTERED);
    if (kBad == "loses_text") {
      told.text = cm::to_hview(std::string_view("..."));
    }
    if (kBad == "leaves_no_mark") {
      told.trail = cm::to_hview(std::string_view("other:x"));
    }
    passing->crossed(passing->user, &told);
  }
  static cm_status deliver_remote(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                                  void* user) noexcept {
    return self(instance).real_->deliver_remote(self(instance).inner(), message, &spoil, new Passing{crossed, user});
  }
  static cm_status deliver_mesh(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                                void* user) noexcept {
    return self(instance).real_->deliver_mesh(self(instance).inner(), message, &spoil, new Passing{crossed, user});
  }

  RoomBridge inner_;
  const cm_bridge_v1* real_ = nullptr;
  cm_bridge_v1 table_ = {};
};

}  // namespace

extern "C" {
extern CM_EXPORT const cm_plugin_entry_v1 cm_plugin_entry;
const cm_plugin_entry_v1 cm_plugin_entry = {CM_PLUGIN_MAGIC,
                                            sizeof(cm_plugin_entry_v1),
                                            CM_ABI_VERSION_1_0,
                                            CM_ABI_VERSION_CURRENT,
                                            0,
                                            &::cm::detail::pick_version,
                                            nullptr,
                                            &::cm::detail::get_factory<BadBridge>};
}
