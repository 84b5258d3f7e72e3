#include "host/isolation/runner/registry.hpp"

#include <claudemesh/ext/peer.h>

#include <unordered_map>

#include "host/isolation/runner/runtime.hpp"

namespace cm::isolation {

namespace {

constexpr std::int64_t kHookTimeoutMs = 5'000;  // what a timeout_ms of 0 means

struct Question {
  void* context;
  cm_status (*finish)(void*, cm_handle, std::uint32_t, cm_bytes_pview) CM_NOEXCEPT;
  cm_handle ticket;
  std::int64_t deadline_ns;
};

std::map<std::uint64_t, std::unique_ptr<RemoteReference>>& references() {
  static std::map<std::uint64_t, std::unique_ptr<RemoteReference>> all;
  return all;
}
std::unordered_map<std::uint64_t, Question>& questions() {
  static std::unordered_map<std::uint64_t, Question> all;
  return all;
}
std::uint64_t next_reference = 1;

// Asks the hook of another plugin: the host's answer comes later.
std::uint32_t hook_invoke(void* instance, const cm_hook_event* event, const cm_hook_reply* reply) noexcept {
  Runtime& runtime = Runtime::get();
  const auto* self = static_cast<const RemoteReference*>(instance);
  const std::uint64_t call = runtime.next_call();
  const bool sent = !self->gone && runtime.send(Method::kHookAsk, call, [&](FrameWriter& writer) {
    writer.u64(self->id);
    writer.text(to_view(event->point));
    writer.text(to_view(event->json));
    writer.bytes(to_view(event->payload));
  });
  if (!sent) {
    return self->hook.kind == CM_HOOK_GUARD ? CM_HOOK_DENY : CM_HOOK_CONTINUE;
  }
  const std::int64_t timeout_ms = self->hook.timeout_ms == 0 ? kHookTimeoutMs : self->hook.timeout_ms;
  questions().emplace(call,
                      Question{reply->context, reply->finish, event->ticket, steady_ns() + timeout_ms * 1'000'000});
  return CM_HOOK_DEFER;
}

cm_status registry_acquire(cm_handle, cm_text_pview name, cm_text_pview extension, cm_callback going_away, void* user,
                           cm_extension* out) noexcept {
  Runtime& runtime = Runtime::get();
  const std::string_view id = to_view(extension);
  const bool hook = id == CM_HOOK_ID;
  if (out == nullptr) {
    return CM_INVALID;
  }
  if (!hook && id != CM_PEER_ID) {
    return runtime.refuse(CM_UNSUPPORTED, "the extension " + std::string(id) +
                                              " of another plugin cannot be used out of process; those that can are "
                                              "cm.hook/1, cm.peer/1; take isolation out of the configuration");
  }
  auto reference = std::make_unique<RemoteReference>();
  reference->id = next_reference++;
  reference->going_away = going_away;
  reference->user = user;
  std::uint64_t provider = CM_NO_HANDLE;
  const cm_status status = runtime.call(
      Method::kAcquire,
      [&](FrameWriter& writer) {
        writer.u64(reference->id);
        writer.text(to_view(name));
        writer.text(id);
      },
      [&](FrameReader& reader) {
        const std::uint32_t kind = reader.u32();
        const auto order = static_cast<std::int32_t>(reader.u32());
        reference->hook = {sizeof(cm_hook_v1), kind, order, reader.u32(), &hook_invoke};
        provider = reader.u64();
      });
  if (status != CM_OK) {
    return status;
  }
  RemoteReference* held = reference.get();
  references().emplace(held->id, std::move(reference));
  *out = cm_extension{held, hook ? static_cast<const void*>(&held->hook) : runner_peer_table(), provider, held->id};
  return CM_OK;
}

void registry_release(cm_handle, cm_handle reference) noexcept {
  const auto entry = references().find(reference);
  if (!Runtime::get().on_loop() || entry == references().end()) {
    return;
  }
  const bool gone = entry->second->gone;
  references().erase(entry);
  if (!gone) {
    Runtime::get().call(Method::kRelease, [reference](FrameWriter& writer) { writer.u64(reference); });
  }
}

constexpr cm_registry_v1 kRegistry = {sizeof(cm_registry_v1), 0, registry_acquire, registry_release};

void on_hook_result(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t result = reader.u32();
  const std::string_view payload = reader.bytes();
  const auto entry = questions().find(frame.call);
  if (!reader.done() || entry == questions().end()) {
    return;
  }
  const Question question = entry->second;
  questions().erase(entry);
  if (steady_ns() < question.deadline_ns) {
    Runtime::get().enter(Callback::kHook,
                         [&] { question.finish(question.context, question.ticket, result, to_bytes_pview(payload)); });
  }
}

void on_going_away(std::uint64_t id) {
  const auto entry = references().find(id);
  if (entry == references().end()) {
    return;
  }
  RemoteReference& reference = *entry->second;
  reference.gone = true;
  if (reference.going_away != nullptr) {
    const auto callback = reference.going_away;
    Runtime::get().enter(Callback::kGoingAway, [callback, user = reference.user] { callback(user); });
  }
  // "Usable until going_away has returned": what the plugin did not release itself is released now.
  references().erase(id);
}

}  // namespace

const void* runner_registry_table() noexcept {
  return &kRegistry;
}

const RemoteReference* live_reference(const void* instance) noexcept {
  const auto* reference = static_cast<const RemoteReference*>(instance);
  return reference->gone ? nullptr : reference;
}

bool hook_result_frame(OwnedFrame& owned) {
  if (owned.method == Method::kGoingAway) {
    on_going_away(owned.call);
    return true;
  }
  if (owned.method != Method::kHookResult) {
    return false;
  }
  on_hook_result(std::move(owned).view());
  return true;
}

}  // namespace cm::isolation
