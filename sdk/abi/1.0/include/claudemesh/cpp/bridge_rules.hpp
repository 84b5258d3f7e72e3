// What may cross a bridge: mapping, echo, once, loops (claudemesh/ext/bridge.h says them in full). No input, no output
// and no host, so a bridge can be tested by itself. Used by cpp/bridge.hpp.
#pragma once

#include <claudemesh/ext/bridge.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cm {

// One joint between a remote channel and a mesh target; the members are those of cm_bridge_mapping.
struct BridgeMapping {
  std::string id;
  std::string remote;
  std::string target;
  std::string mesh = {};
  std::uint32_t directions = CM_BRIDGE_TO_MESH | CM_BRIDGE_TO_REMOTE;
  std::string options_json = {};
};

// A message as one side gave it; the members are those of cm_bridge_message.
struct BridgeMessage {
  std::string channel;
  std::string message_id;
  std::string author_id = {};
  std::string author_name = {};
  std::string text = {};
  std::string trail = {};
  std::string mesh = {};
  std::string reply_to = {};
  std::int64_t unix_ms = 0;
  std::uint32_t flags = 0;
};

// One message on its way over one mapping; the members are those of cm_bridge_crossing. `outcome` 0: it may cross and
// is still to be handed over.
struct BridgeCrossing {
  std::uint32_t outcome = 0;
  std::uint32_t direction = 0;
  std::uint32_t flags = 0;
  std::string mapping_id = {};
  std::string message_id = {};
  std::string reason = {};
  std::string channel = {};
  std::string mesh = {};
  std::string author_name = {};
  std::string text = {};
  std::string trail = {};
  std::string new_id = {};
  std::string reply_to = {};
};

// How messages are shown on the remote side.
struct BridgeStyle {
  bool author_in_remote_text = false;  // "name: text" there, as it is always on the mesh
  bool trail_in_remote_text = false;   // that side carries nothing beside the text, so the trail is its last line
};

// Takes the trail line off a text and returns its marks; without such a last line the text stays and there is none.
inline std::string take_bridge_trail(std::string& text) {
  constexpr std::string_view kLine = CM_BRIDGE_TRAIL_LINE;
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789._:- ";
  const std::size_t at = text.rfind(kLine);
  if (at == std::string::npos || at + kLine.size() == text.size() ||
      text.find_first_not_of(kAllowed, at + kLine.size()) != std::string::npos) {
    return {};
  }
  std::string trail = text.substr(at + kLine.size());
  text.resize(at);
  return trail;
}

// Is this "NETWORK:NAME" of [a-z0-9._:-], at most CM_BRIDGE_MARK_BYTES_MAX bytes? [any]
inline bool is_bridge_mark(std::string_view mark) noexcept {
  const std::size_t colon = mark.find(':');
  return mark.size() <= CM_BRIDGE_MARK_BYTES_MAX && colon != std::string_view::npos && colon != 0 &&
         colon + 1 < mark.size() &&
         mark.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._:-") == std::string_view::npos;
}

// Decides what crosses. Pure but for the mappings and the ids that it remembers. One thread at a time.
class BridgeRules {
 public:
  BridgeRules() = default;
  // `mark` as is_bridge_mark wants it. [any]
  explicit BridgeRules(std::string mark, BridgeStyle style = {}) : mark_(std::move(mark)), style_(style) {}

  // The mark that it leaves on what crosses. [any]
  const std::string& mark() const noexcept { return mark_; }
  // By id. [any]
  const std::map<std::string, BridgeMapping>& mappings() const noexcept { return mappings_; }

  // Adds or replaces. CM_INVALID: wrong fields, or the same joint under another id; CM_BUSY: too many. [any]
  cm_status map(BridgeMapping mapping) {
    if (!is_whole(mapping) || has_twin(mapping)) {
      return CM_INVALID;
    }
    if (mappings_.size() >= CM_BRIDGE_MAPPINGS_MAX && mappings_.count(mapping.id) == 0) {
      return CM_BUSY;
    }
    const std::string id = mapping.id;
    mappings_[id] = std::move(mapping);
    return CM_OK;
  }
  // False: there is no such mapping. [any]
  bool unmap(std::string_view id) { return mappings_.erase(std::string(id)) != 0; }

  // One crossing for each mapping that the channel has, or the one that it has none. [any]
  std::vector<BridgeCrossing> judge(std::uint32_t direction, BridgeMessage message) {
    const std::size_t bytes = message.text.size();
    const std::string in_text = take_bridge_trail(message.text);
    if (!in_text.empty()) {
      message.trail += (message.trail.empty() ? "" : " ") + in_text;
    }
    std::vector<BridgeCrossing> all;
    for (const auto& [id, mapping] : mappings_) {
      if (matches(direction, mapping, message)) {
        all.push_back(judge_one(direction, mapping, message, bytes));
      }
    }
    if (all.empty()) {
      all.push_back(dropped(direction, message, CM_BRIDGE_UNMAPPED, "no mapping has " + message.channel));
    }
    return all;
  }

 private:
  static constexpr std::size_t kIdBytesMax = 64;

  static bool is_whole(const BridgeMapping& mapping) {
    constexpr std::string_view kIdBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    return !mapping.id.empty() && mapping.id.size() <= kIdBytesMax &&
           mapping.id.find_first_not_of(kIdBytes) == std::string::npos && !mapping.remote.empty() &&
           !mapping.target.empty() && mapping.directions != 0 &&
           (mapping.directions & ~(CM_BRIDGE_TO_MESH | CM_BRIDGE_TO_REMOTE)) == 0;
  }
  bool has_twin(const BridgeMapping& mapping) const {
    return std::any_of(mappings_.begin(), mappings_.end(), [&mapping](const auto& entry) {
      const BridgeMapping& other = entry.second;
      return other.id != mapping.id && other.remote == mapping.remote && other.target == mapping.target &&
             other.mesh == mapping.mesh;
    });
  }
  static bool matches(std::uint32_t direction, const BridgeMapping& mapping, const BridgeMessage& message) {
    if (direction == CM_BRIDGE_TO_MESH) {
      return mapping.remote == message.channel;
    }
    return mapping.target == message.channel &&
           (mapping.mesh.empty() || message.mesh.empty() || mapping.mesh == message.mesh);
  }
  static BridgeCrossing dropped(std::uint32_t direction, const BridgeMessage& message, std::uint32_t outcome,
                                std::string reason) {
    BridgeCrossing crossing;
    crossing.outcome = outcome;
    crossing.direction = direction;
    crossing.flags = message.flags & CM_BRIDGE_REHEARSAL;
    crossing.message_id = message.message_id;
    crossing.reason = std::move(reason);
    return crossing;
  }

  BridgeCrossing judge_one(std::uint32_t direction, const BridgeMapping& mapping, const BridgeMessage& message,
                           std::size_t bytes) {
    const auto drop = [&](std::uint32_t outcome, std::string reason) {
      BridgeCrossing crossing = dropped(direction, message, outcome, std::move(reason));
      crossing.mapping_id = mapping.id;
      return crossing;
    };
    if ((message.flags & CM_BRIDGE_FROM_SELF) != 0) {
      return drop(CM_BRIDGE_ECHO, "the bridge itself wrote it");
    }
    if ((mapping.directions & direction) == 0) {
      return drop(CM_BRIDGE_FILTERED, "the mapping has the other direction only");
    }
    if (message.text.empty()) {
      return drop(CM_BRIDGE_FILTERED, "it has no text");
    }
    if (goes_round(message.trail)) {
      return drop(CM_BRIDGE_LOOP, "it has crossed this bridge, or too many: " + message.trail);
    }
    BridgeCrossing crossing = written(direction, mapping, message);
    if (crossing.text.size() > CM_BRIDGE_TEXT_BYTES_MAX || bytes > CM_BRIDGE_TEXT_BYTES_MAX) {
      return drop(CM_BRIDGE_FILTERED,
                  "it has more than " + std::to_string(CM_BRIDGE_TEXT_BYTES_MAX) + " bytes with its trail");
    }
    if (!remember(direction, mapping.id + ' ' + message.message_id)) {
      return drop(CM_BRIDGE_DUPLICATE, "it has crossed before");
    }
    return crossing;
  }

  BridgeCrossing written(std::uint32_t direction, const BridgeMapping& mapping, const BridgeMessage& message) const {
    const bool to_mesh = direction == CM_BRIDGE_TO_MESH;
    BridgeCrossing crossing = dropped(direction, message, 0, {});
    crossing.mapping_id = mapping.id;
    crossing.channel = to_mesh ? mapping.target : mapping.remote;
    crossing.mesh = to_mesh ? mapping.mesh : std::string();
    crossing.author_name = message.author_name;
    crossing.reply_to = message.reply_to;
    crossing.trail = message.trail.empty() ? mark_ : message.trail + ' ' + mark_;
    const bool shows_author = (to_mesh || style_.author_in_remote_text) && !message.author_name.empty();
    crossing.text = (shows_author ? message.author_name + ": " : std::string()) + message.text;
    if (to_mesh || style_.trail_in_remote_text) {
      crossing.text += CM_BRIDGE_TRAIL_LINE + crossing.trail;
    }
    crossing.new_id = to_mesh ? client_id(mark_ + '\n' + mapping.id + '\n' + message.message_id) : std::string();
    return crossing;
  }

  bool goes_round(const std::string& trail) const {
    std::uint32_t marks = 0;
    for (std::size_t at = 0; at < trail.size();) {
      const std::size_t end = std::min(trail.find(' ', at), trail.size());
      const std::string_view mark = std::string_view(trail).substr(at, end - at);
      if (mark == mark_) {
        return true;
      }
      marks += mark.empty() ? 0 : 1;
      at = end + 1;
    }
    return marks >= CM_BRIDGE_HOPS_MAX;
  }

  // False when it is remembered already. The oldest is forgotten: memory has a bound, also with many mappings.
  bool remember(std::uint32_t direction, const std::string& key) {
    Memory& memory = memory_[direction == CM_BRIDGE_TO_MESH ? 0 : 1];
    if (!memory.keys.insert(key).second) {
      return false;
    }
    memory.order.push_back(key);
    if (memory.order.size() > kRememberedMax) {
      memory.keys.erase(memory.order.front());
      memory.order.pop_front();
    }
    return true;
  }

  // The same remote message has the same id on the mesh, also after a restart, so the daemon recognises a repetition.
  // Two rounds of FNV-1a with different bases: unique enough for ids, and no secret.
  static std::string client_id(const std::string& text) {
    constexpr std::uint64_t kPrime = 0x100000001b3;
    constexpr std::array<std::uint64_t, 2> kBases = {0xcbf29ce484222325, 0x84222325cbf29ce4};
    std::string id = CM_BRIDGE_CLIENT_ID_PREFIX;
    for (std::uint64_t hash : kBases) {
      for (const char c : text) {
        hash = (hash ^ static_cast<unsigned char>(c)) * kPrime;
      }
      for (int shift = 60; shift >= 0; shift -= 4) {
        id += "0123456789abcdef"[(hash >> shift) & 15];
      }
    }
    return id;
  }

  static constexpr std::size_t kRememberedMax = std::size_t{4} * CM_BRIDGE_REMEMBERED;
  struct Memory {
    std::set<std::string> keys;
    std::deque<std::string> order;
  };

  std::string mark_;
  BridgeStyle style_;
  std::map<std::string, BridgeMapping> mappings_;
  std::array<Memory, 2> memory_;
};

}  // namespace cm
