// A guard whose answer is spelled by the message's ciphertext: "deny", "swap", "later" (200 ms), "never".
#include <claudemesh/ext/hook.h>
#include <claudemesh/cpp/plugin.hpp>
#include <list>

namespace {

constexpr std::uint64_t kLaterMs = 200;
constexpr std::uint32_t kTimeoutMs = 1'000;

class TestHook final : public cm::PluginInstance {
 public:
  explicit TestHook(const cm_host* host) : PluginInstance(host) {
    table_.size = sizeof(table_);
    table_.kind = CM_HOOK_GUARD;
    table_.timeout_ms = kTimeoutMs;
    table_.invoke = [](void* instance, const cm_hook_event* event, const cm_hook_reply* reply) noexcept {
      return static_cast<TestHook*>(instance)->invoke(*event, *reply);
    };
  }

  cm::Status configure() override { return {}; }
  void start(Done started) override { started(cm::Status()); }
  void stop() override { timers_.clear(); }
  const void* extension(std::string_view id) override { return id == CM_HOOK_ID ? &table_ : nullptr; }

 private:
  std::uint32_t invoke(const cm_hook_event& event, const cm_hook_reply& reply) {
    const std::string_view text = cm::to_view(event.payload);
    if (text == "deny") {
      reply.set_payload(reply.context, event.ticket, cm::to_bytes_pview(std::string_view("not today")));
      return CM_HOOK_DENY;
    }
    if (text == "swap") {
      reply.set_payload(reply.context, event.ticket, cm::to_bytes_pview(std::string_view("swapped")));
      return CM_HOOK_REPLACE;
    }
    if (text == "later") {
      timers_.emplace_back(host()).start_ms(kLaterMs, [reply, ticket = event.ticket] {
        reply.finish(reply.context, ticket, CM_HOOK_CONTINUE, cm::to_bytes_pview(std::string_view()));
      });
      return CM_HOOK_DEFER;
    }
    return text == "never" ? CM_HOOK_DEFER : CM_HOOK_CONTINUE;
  }

  cm_hook_v1 table_ = {};
  std::list<cm::Timer> timers_;
};

}  // namespace

CM_DEFINE_PLUGIN(TestHook);
