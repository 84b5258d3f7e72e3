// The plugin's own cm.bridge/1, used by the host.
#include <cstring>

#include "host/isolation/extensions/bridge_codec.hpp"
#include "host/isolation/runner/hook_server.hpp"
#include "host/isolation/runner/runtime.hpp"

namespace cm::isolation {

namespace {

constexpr std::uint64_t kStatePeriodUs = 250'000;

struct Served {
  void* instance = nullptr;
  const cm_bridge_v1* table = nullptr;
  BridgeState told;
  bool has_told = false;
};
Served& served() {
  static Served state;
  return state;
}

BridgeState current_state() {
  Served& state = served();
  cm_bridge_status status = {};
  status.size = sizeof(status);
  BridgeState result;
  if (state.table->status(state.instance, &status) == CM_OK) {
    result.state = status.state;
    result.mark = std::string(to_view(status.mark));
    result.detail = std::string(to_view(status.detail));
    result.counts = {status.mappings,         status.to_mesh,          status.to_remote,
                     status.dropped_unmapped, status.dropped_echo,     status.dropped_duplicate,
                     status.dropped_loop,     status.dropped_filtered, status.failed,
                     status.waiting};
  }
  state.table->mappings(
      state.instance,
      [](void* user, const cm_bridge_mapping* mapping) noexcept {
        static_cast<BridgeState*>(user)->mappings.push_back(copy_mapping(*mapping));
      },
      &result);
  return result;
}

void tell_state() {
  Served& state = served();
  BridgeState now = current_state();
  if (state.has_told && now == state.told) {
    return;
  }
  Runtime::get().send(Method::kBridgeState, 0, [&now](FrameWriter& writer) { write_state(writer, now); });
  state.told = std::move(now);
  state.has_told = true;
}

void send_crossing(std::uint64_t call, const cm_bridge_crossing& crossing) {
  Runtime::get().send(Method::kBridgeCrossing, call,
                      [&crossing](FrameWriter& writer) { write_crossing(writer, crossing); });
}

void on_crossed(void* user, const cm_bridge_crossing* crossing) noexcept {
  send_crossing(reinterpret_cast<std::uintptr_t>(user), *crossing);
}
void on_observed(void*, const cm_bridge_crossing* crossing) noexcept {
  send_crossing(0, *crossing);
}

void refused(std::uint64_t call, std::uint32_t direction, cm_text_pview message_id, cm_status status) {
  cm_bridge_crossing crossing = {};
  crossing.size = sizeof(crossing);
  crossing.outcome = CM_BRIDGE_FAILED;
  crossing.direction = direction;
  crossing.message_id = to_hview(to_view(message_id));
  crossing.reason =
      to_hview(status == CM_BUSY ? "too much is waiting in the bridge" : "the bridge refused the message");
  send_crossing(call, crossing);
}

void deliver(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint32_t direction = reader.u32();
  const cm_bridge_message message = read_message(reader);
  if (!reader.done()) {
    return;
  }
  const Served& state = served();
  // A delivery is told once for each mapping, so nothing says when it is over: the pointer itself is the number, and
  // nothing needs to be freed.
  auto* const user = reinterpret_cast<void*>(static_cast<std::uintptr_t>(frame.call));
  const auto function = direction == CM_BRIDGE_TO_MESH ? state.table->deliver_remote : state.table->deliver_mesh;
  const cm_status status = function(state.instance, &message, &on_crossed, user);
  if (status != CM_OK) {
    refused(frame.call, direction, message.message_id, status);
  }
}

void dispatch(const Frame& frame) {
  Served& state = served();
  FrameReader reader(frame);
  if (frame.method == Method::kBridgeDeliver) {
    deliver(frame);
  } else if (frame.method == Method::kBridgeMap) {
    const BridgeMapping mapping = read_mapping(reader);
    const cm_bridge_mapping view = mapping.view();
    if (reader.done() && state.table->map(state.instance, &view) != CM_OK) {
      Runtime::get().misbehaved("the bridge refused the mapping " + mapping.texts[0] +
                                ", which the host had taken; it is not there");
      state.has_told = false;
    }
  } else {
    const std::string_view id = reader.text();
    if (reader.done()) {
      state.table->unmap(state.instance, to_pview(id));
    }
  }
  tell_state();
}

}  // namespace

void serve_bridge(void* instance, const cm_bridge_v1* table) {
  served().instance = instance;
  served().table = table;
}

void start_bridge() {
  if (served().table == nullptr) {
    return;
  }
  cm_handle handle = CM_NO_HANDLE;
  served().table->observe(served().instance, &on_observed, nullptr, &handle);
  tell_state();
  const auto tick = [](void*) noexcept { tell_state(); };
  Runtime::get().start_timer(kStatePeriodUs, kStatePeriodUs, tick, nullptr, &handle);
}

bool bridge_frame(OwnedFrame& owned) {
  if (owned.method < Method::kBridgeMap || owned.method > Method::kBridgeDeliver) {
    return false;
  }
  const Frame frame = std::move(owned).view();
  if (served().table != nullptr) {
    Runtime::get().enter(Callback::kBridge, [&frame] { dispatch(frame); });
  }
  return true;
}

}  // namespace cm::isolation
