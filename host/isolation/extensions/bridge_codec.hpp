// The fields of cm.bridge/1 as frames carry them.
#pragma once

#include <claudemesh/ext/bridge.h>
#include <claudemesh/cpp/text.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "host/isolation/frame.hpp"

namespace cm::isolation {

inline constexpr std::uint32_t kMappingBytesMin = 24;

// A copy of a mapping that owns its text: id, remote, mesh, target, options.
struct BridgeMapping {
  std::uint32_t directions = 0;
  std::array<std::string, 5> texts;

  cm_bridge_mapping view() const {
    const auto text = [this](std::size_t index) { return to_pview(texts[index]); };
    return {sizeof(cm_bridge_mapping), directions, text(0), text(1), text(2), text(3), text(4)};
  }
  friend bool operator==(const BridgeMapping&, const BridgeMapping&) = default;
};
BridgeMapping copy_mapping(const cm_bridge_mapping& mapping);
void write_mapping(FrameWriter& writer, const BridgeMapping& mapping);
BridgeMapping read_mapping(FrameReader& reader);

// What a bridge tells of itself.
struct BridgeState {
  std::uint32_t state = CM_BRIDGE_CONNECTING;
  std::string mark;
  std::string detail;
  std::array<std::uint64_t, 10> counts{};  // mappings ... waiting, in the order of cm_bridge_status
  std::vector<BridgeMapping> mappings;

  friend bool operator==(const BridgeState&, const BridgeState&) = default;
};
void write_state(FrameWriter& writer, const BridgeState& state);
BridgeState read_state(FrameReader& reader);

void write_message(FrameWriter& writer, const cm_bridge_message& message);
cm_bridge_message read_message(FrameReader& reader);  // views into the frame
void write_crossing(FrameWriter& writer, const cm_bridge_crossing& crossing);
cm_bridge_crossing read_crossing(FrameReader& reader);  // views into the frame

}  // namespace cm::isolation
