// The plugin "check_caller": it does nothing; it is somebody to whom answers of extensions are posted.
#define CM_PLUGIN_ENTRY_NAME cm_check_caller_entry
#include <claudemesh/cpp/plugin.hpp>

#include "host/loader/library.hpp"
#include "sdk/checker/bench.hpp"

namespace {

class Caller final : public cm::PluginInstance {
 public:
  explicit Caller(const cm_host* host) : PluginInstance(host) {}
  cm::Status configure() override { return {}; }
  void start(Done started) override { started(cm::Status()); }
};

constexpr const char* kManifest =
    R"({"id":"org.claudemesh.check_caller","name":"check_caller","version":"1.0.0",)"
    R"("abi":{"min":"1.0","built":"1.0"},"license":"MIT","kinds":["check"],"requires":["cm.loop/1"]})";

}  // namespace

CM_DEFINE_PLUGIN(Caller);

namespace cm::checker {

void register_caller() {
  // A second registration in one process is refused, which is as good.
  static_cast<void>(loader::register_builtin(&cm_check_caller_entry, kManifest));
}

}  // namespace cm::checker
