// The plugin's own cm.hook/1, asked by the host.
#include "host/isolation/runner/hook_server.hpp"

#include <claudemesh/cpp/text.hpp>

#include <set>
#include <string>

#include "host/isolation/runner/runtime.hpp"

namespace cm::isolation {

namespace {

struct Served {
  void* instance = nullptr;
  const cm_hook_v1* table = nullptr;
  std::set<std::uint64_t> open;  // deferred
  std::string payload;           // of the question that is being asked
};
Served& served() {
  static Served state;
  return state;
}

void answer(std::uint64_t call, std::uint32_t result, std::string_view payload) {
  const auto fill = [result](std::string_view bytes) {
    return [result, bytes](FrameWriter& writer) {
      writer.u32(result);
      writer.bytes(bytes);
    };
  };
  if (!Runtime::get().send(Method::kHookDone, call, fill(payload))) {
    Runtime::get().send(Method::kHookDone, call, [](FrameWriter& writer) {
      writer.u32(CM_HOOK_DENY);
      writer.bytes("the hook's new payload is larger than what crosses to the host");
    });
  }
}

void set_payload(void*, cm_handle, cm_bytes_pview payload) noexcept {
  served().payload = std::string(to_view(payload));
}

cm_status finish(void*, cm_handle ticket, std::uint32_t result, cm_bytes_pview payload) noexcept {
  if (!Runtime::get().on_loop() || result == CM_HOOK_DEFER || result > CM_HOOK_REPLACE) {
    return CM_INVALID;
  }
  if (served().open.erase(ticket) == 0) {
    return CM_GONE;
  }
  answer(ticket, result, to_view(payload));
  return CM_OK;
}

constexpr cm_hook_reply kReply = {sizeof(cm_hook_reply), 0, nullptr, &set_payload, &finish};

}  // namespace

void serve_hook(void* instance, const cm_hook_v1* table) {
  served().instance = instance;
  served().table = table;
}

bool hook_frame(OwnedFrame& owned) {
  if (owned.method != Method::kHookInvoke) {
    return false;
  }
  const Frame frame = std::move(owned).view();
  FrameReader reader(frame);
  cm_hook_event event = {};
  event.size = sizeof(event);
  event.ticket = frame.call;
  event.point = to_hview(reader.text());
  event.json = to_hview(reader.text());
  const std::string_view payload = reader.bytes();
  event.payload = {reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()};
  Served& state = served();
  if (!reader.done() || state.table == nullptr) {
    return true;
  }
  state.open.insert(frame.call);  // `finish` may be called inside `invoke`
  state.payload.clear();
  const std::uint32_t result =
      Runtime::get().enter(Callback::kHook, [&] { return state.table->invoke(state.instance, &event, &kReply); });
  if (result != CM_HOOK_DEFER && state.open.erase(frame.call) != 0) {
    const bool known = result <= CM_HOOK_REPLACE;
    answer(frame.call, known ? result : CM_HOOK_DENY,
           known ? std::string_view(state.payload) : "the hook gave an unknown answer, which counts as a refusal");
  }
  return true;
}

}  // namespace cm::isolation
