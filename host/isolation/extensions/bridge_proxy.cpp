#include "host/isolation/extensions/bridge_proxy.hpp"

#include <claudemesh/ext/host.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "host/isolation/isolated_plugin.hpp"

namespace cm::isolation {

namespace {

BridgeProxy& of(void* instance) {
  return static_cast<IsolatedPlugin*>(instance)->bridge();
}

bool is_mapping_id(std::string_view id) {
  constexpr std::size_t kIdBytesMax = 64;
  return !id.empty() && id.size() <= kIdBytesMax && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

}  // namespace

BridgeProxy::BridgeProxy(HostSide& host_side)
    : host_side_(host_side),
      table_{sizeof(cm_bridge_v1),
             0,
             [](void* instance) noexcept { return of(instance).network(); },
             [](void* instance, cm_bridge_status* out) noexcept { return of(instance).status(out); },
             [](void* instance, cm_bridge_mapping_row row, void* user) noexcept {
               return of(instance).mappings(row, user);
             },
             [](void* instance, const cm_bridge_mapping* mapping) noexcept { return of(instance).map(*mapping); },
             [](void* instance, cm_text_pview id) noexcept { return of(instance).unmap(to_view(id)); },
             [](void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed, void* user) noexcept {
               return of(instance).deliver(CM_BRIDGE_TO_MESH, *message, crossed, user);
             },
             [](void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed, void* user) noexcept {
               return of(instance).deliver(CM_BRIDGE_TO_REMOTE, *message, crossed, user);
             },
             [](void* instance, cm_bridge_crossed crossed, void* user, cm_handle* out) noexcept {
               return of(instance).observe(crossed, user, out);
             },
             [](void* instance, cm_handle observer) noexcept { of(instance).unobserve(observer); }} {}

cm_status BridgeProxy::status(cm_bridge_status* out) {
  cm_bridge_status full = {};
  full.size = out->size;
  full.state = session_ == nullptr ? CM_BRIDGE_REMOTE_DOWN : state_.state;
  full.mark = to_hview(state_.mark);
  shown_detail_ = session_ == nullptr ? "the process of the bridge has ended; it is started again" : state_.detail;
  full.detail = to_hview(shown_detail_);
  std::uint64_t* const counts[] = {
      &full.mappings,          &full.to_mesh,      &full.to_remote,        &full.dropped_unmapped, &full.dropped_echo,
      &full.dropped_duplicate, &full.dropped_loop, &full.dropped_filtered, &full.failed,           &full.waiting};
  for (std::size_t i = 0; i < state_.counts.size(); ++i) {
    *counts[i] = state_.counts[i];
  }
  std::memcpy(out, &full, std::min<std::size_t>(out->size, sizeof(full)));
  return CM_OK;
}

cm_status BridgeProxy::mappings(cm_bridge_mapping_row row, void* user) {
  for (const BridgeMapping& mapping : std::vector<BridgeMapping>(state_.mappings)) {
    const cm_bridge_mapping view = mapping.view();
    row(user, &view);
  }
  return CM_OK;
}

// The child's own answer comes too late to be returned: what every bridge must refuse is refused here, and the copy
// shows the mapping until the child says otherwise.
cm_status BridgeProxy::map(const cm_bridge_mapping& given) {
  BridgeMapping mapping = copy_mapping(given);
  const std::string& id = mapping.texts[0];
  auto& known = state_.mappings;
  const bool taken = std::any_of(known.begin(), known.end(), [&](const BridgeMapping& other) {
    return other.texts[0] != id && other.texts[1] == mapping.texts[1] && other.texts[2] == mapping.texts[2] &&
           other.texts[3] == mapping.texts[3];
  });
  if (!is_mapping_id(id) || mapping.texts[1].empty() || mapping.texts[3].empty() || taken) {
    return CM_INVALID;
  }
  if (known.size() >= CM_BRIDGE_MAPPINGS_MAX) {
    return CM_BUSY;
  }
  std::erase_if(known, [&id](const BridgeMapping& other) { return other.texts[0] == id; });
  const auto place =
      std::find_if(known.begin(), known.end(), [&id](const BridgeMapping& other) { return other.texts[0] > id; });
  known.insert(place, mapping);
  send_mapping(mapping);
  added_[id] = std::move(mapping);
  return CM_OK;
}

void BridgeProxy::send_mapping(const BridgeMapping& mapping) {
  if (session_ != nullptr) {
    session_->send(Method::kBridgeMap, 0, [&mapping](FrameWriter& writer) { write_mapping(writer, mapping); });
  }
}

cm_status BridgeProxy::unmap(std::string_view id) {
  const std::string key(id);
  if (std::erase_if(state_.mappings, [&key](const BridgeMapping& other) { return other.texts[0] == key; }) == 0) {
    return CM_GONE;
  }
  added_.erase(key);
  if (session_ != nullptr) {
    session_->send(Method::kBridgeUnmap, 0, [id](FrameWriter& writer) { writer.text(id); });
  }
  return CM_OK;
}

cm_status BridgeProxy::deliver(std::uint32_t direction, const cm_bridge_message& message, cm_bridge_crossed crossed,
                               void* user) {
  if (session_ == nullptr || session_->crowded()) {
    return CM_BUSY;
  }
  const std::uint64_t call = session_->next_call();
  const bool sent = session_->send(Method::kBridgeDeliver, call, [&](FrameWriter& writer) {
    writer.u32(direction);
    write_message(writer, message);
  });
  if (!sent) {
    return CM_INVALID;
  }
  if (deliveries_.size() >= kDeliveriesMax) {
    deliveries_.erase(deliveries_.begin());
  }
  deliveries_.emplace(call, Delivery{direction, std::string(to_view(message.message_id)), crossed, user, false});
  return CM_OK;
}

cm_status BridgeProxy::observe(cm_bridge_crossed crossed, void* user, cm_handle* out) {
  if (observers_.size() >= kObserversMax) {
    return CM_BUSY;
  }
  *out = next_observer_++;
  observers_.emplace(*out, Observer{crossed, user});
  return CM_OK;
}

bool BridgeProxy::handle(const Frame& frame, Session& session) {
  if (frame.method == Method::kBridgeCrossing) {
    on_crossing(frame, session);
    return true;
  }
  if (frame.method != Method::kBridgeState) {
    return false;
  }
  FrameReader reader(frame);
  BridgeState state = read_state(reader);
  if (!reader.done() || state.state < CM_BRIDGE_CONNECTING || state.state > CM_BRIDGE_STOPPED ||
      state.mappings.size() > CM_BRIDGE_MAPPINGS_MAX) {
    session.garbage("a state of a bridge that cannot be read");
    return true;
  }
  state_ = std::move(state);
  return true;
}

void BridgeProxy::on_crossing(const Frame& frame, Session& session) {
  FrameReader reader(frame);
  const cm_bridge_crossing crossing = read_crossing(reader);
  if (!reader.done() || crossing.outcome < CM_BRIDGE_FORWARDED || crossing.outcome > CM_BRIDGE_FAILED) {
    session.garbage("a crossing of a bridge that cannot be read");
    return;
  }
  if (frame.call == 0) {
    for (const auto& [handle, observer] : std::map<cm_handle, Observer>(observers_)) {
      if (observers_.contains(handle)) {
        observer.crossed(observer.user, &crossing);
      }
    }
    return;
  }
  const auto entry = deliveries_.find(frame.call);
  if (entry != deliveries_.end()) {
    entry->second.told = true;
    const Delivery copy = entry->second;
    copy.crossed(copy.user, &crossing);
  }
}

void BridgeProxy::attach(Session* session) {
  session_ = session;
  for (const auto& [id, mapping] : added_) {
    send_mapping(mapping);
  }
}

void BridgeProxy::detach() {
  session_ = nullptr;
  for (const auto& [call, delivery] : std::exchange(deliveries_, {})) {
    if (delivery.told) {
      continue;
    }
    cm_bridge_crossing crossing = {};
    crossing.size = sizeof(crossing);
    crossing.outcome = CM_BRIDGE_FAILED;
    crossing.direction = delivery.direction;
    crossing.message_id = to_hview(delivery.message_id);
    crossing.reason = to_hview("the process of the bridge has ended");
    delivery.crossed(delivery.user, &crossing);
  }
}

}  // namespace cm::isolation
