// What may cross: mapping, echo, once, loops. No input and no output, so it can be tested by itself.
#pragma once
#include <claudemesh/ext/bridge.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

struct Mapping {
  std::uint32_t directions = CM_BRIDGE_TO_MESH | CM_BRIDGE_TO_REMOTE;
  std::string remote, mesh, target, options_json;
};

struct Message {
  std::uint32_t flags = 0;
  std::string channel, mesh, message_id, author_id, author_name, text, trail;
};

// One message and one mapping: `outcome` 0 means that it goes over, as `text` with `trail`.
struct Judgement {
  std::uint32_t outcome = 0;
  std::string mapping_id, channel, mesh, text, trail, new_id, reason;
};

class Rules {
 public:
  explicit Rules(std::string mark) : mark_(std::move(mark)) {}
  const std::string& mark() const { return mark_; }
  const std::map<std::string, Mapping>& mappings() const { return mappings_; }

  cm_status map(const std::string& id, Mapping mapping) {
    const auto wrong = [](unsigned char c) { return !std::isalnum(c) && c != '_' && c != '-'; };
    if (id.empty() || id.size() > 64 || std::any_of(id.begin(), id.end(), wrong) || mapping.remote.empty() ||
        mapping.target.empty() || mapping.directions == 0 || mapping.directions > 3) {
      return CM_INVALID;
    }
    for (const auto& [other, joint] : mappings_) {
      if (other != id && joint.remote == mapping.remote && joint.target == mapping.target &&
          joint.mesh == mapping.mesh) {
        return CM_INVALID;
      }
    }
    if (mappings_.size() >= CM_BRIDGE_MAPPINGS_MAX && mappings_.count(id) == 0) {
      return CM_BUSY;
    }
    mappings_[id] = std::move(mapping);
    return CM_OK;
  }
  bool unmap(const std::string& id) { return mappings_.erase(id) != 0; }

  // One judgement for each mapping that the channel has, or the one that it has none.
  std::vector<Judgement> judge(std::uint32_t direction, Message message) {
    take_trail_line(message);
    std::vector<Judgement> all;
    for (const auto& [id, mapping] : mappings_) {
      if (covers(direction, mapping, message)) {
        all.push_back(judge_one(direction, id, mapping, message));
      }
    }
    if (all.empty()) {
      all.push_back(dropped(CM_BRIDGE_UNMAPPED, "no mapping has " + message.channel));
    }
    return all;
  }

 private:
  // On the mesh a target may be the name or the key of the sender; an empty slug fits every mesh.
  static bool covers(std::uint32_t direction, const Mapping& mapping, const Message& message) {
    if (direction == CM_BRIDGE_TO_MESH) {
      return mapping.remote == message.channel;
    }
    const bool same_mesh = mapping.mesh.empty() || message.mesh.empty() || mapping.mesh == message.mesh;
    return same_mesh && (mapping.target == message.channel || mapping.target == message.author_id ||
                         mapping.target == message.author_name);
  }

  static Judgement dropped(std::uint32_t outcome, std::string reason) {
    Judgement judgement;
    judgement.outcome = outcome;
    judgement.reason = std::move(reason);
    return judgement;
  }

  Judgement judge_one(std::uint32_t direction, const std::string& id, const Mapping& mapping, const Message& message) {
    Judgement result;
    const bool to_mesh = direction == CM_BRIDGE_TO_MESH;
    if ((message.flags & CM_BRIDGE_FROM_SELF) != 0 || message.author_id == mark_) {
      result = dropped(CM_BRIDGE_ECHO, "the bridge itself wrote it");
    } else if ((mapping.directions & direction) == 0) {
      result = dropped(CM_BRIDGE_FILTERED, "the mapping has the other direction only");
    } else if (message.text.empty()) {
      result = dropped(CM_BRIDGE_FILTERED, "it has no text");
    } else if (goes_round(message.trail)) {
      result = dropped(CM_BRIDGE_LOOP, "its trail is " + message.trail);
    } else if (!remember(direction, id + ' ' + message.message_id)) {
      result = dropped(CM_BRIDGE_DUPLICATE, "it has crossed before");
    } else {
      result.trail = message.trail.empty() ? mark_ : message.trail + ' ' + mark_;
      result.channel = to_mesh ? mapping.target : mapping.remote;
      result.mesh = to_mesh ? mapping.mesh : std::string();
      // The service carries the trail beside the text; on the mesh a message is one text, so it is the last line.
      result.text = message.author_name + ": " + message.text;
      if (to_mesh) {
        result.text += CM_BRIDGE_TRAIL_LINE + result.trail;
      }
      result.new_id =
          to_mesh ? CM_BRIDGE_CLIENT_ID_PREFIX + fingerprint(mark_ + ' ' + id + ' ' + message.message_id) : "";
      if (result.text.size() > CM_BRIDGE_TEXT_BYTES_MAX) {
        result = dropped(CM_BRIDGE_FILTERED, "it is too long");
      }
    }
    result.mapping_id = id;
    return result;
  }

  static void take_trail_line(Message& message) {
    const std::string_view line = CM_BRIDGE_TRAIL_LINE;
    const std::size_t at = message.text.rfind(line);
    if (at == std::string::npos || message.text.find('\n', at + 1) != std::string::npos) {
      return;
    }
    if (message.trail.empty()) {
      message.trail = message.text.substr(at + line.size());
    }
    message.text.resize(at);
  }

  bool goes_round(const std::string& trail) const {
    const std::string framed = ' ' + trail + ' ';
    const auto marks = trail.empty() ? 0 : std::count(trail.begin(), trail.end(), ' ') + 1;
    return marks >= static_cast<std::ptrdiff_t>(CM_BRIDGE_HOPS_MAX) ||
           framed.find(' ' + mark_ + ' ') != std::string::npos;
  }

  // False when it is remembered already. The oldest is forgotten: memory has a bound.
  bool remember(std::uint32_t direction, const std::string& key) {
    Memory& memory = memory_[direction == CM_BRIDGE_TO_MESH ? 0 : 1];
    if (!memory.keys.insert(key).second) {
      return false;
    }
    memory.order.push_back(key);
    if (memory.order.size() > 4 * CM_BRIDGE_REMEMBERED) {
      memory.keys.erase(memory.order.front());
      memory.order.pop_front();
    }
    return true;
  }

  // The same remote message gives the same id, also after a restart: the daemon then recognises the repetition.
  static std::string fingerprint(const std::string& text) {
    std::string result;
    for (std::uint64_t seed : {0xcbf29ce484222325U, 0x84222325cbf29ce4U}) {
      for (const unsigned char c : text) {
        seed = (seed ^ c) * 0x100000001b3U;
      }
      for (int shift = 60; shift >= 0; shift -= 4) {
        result += "0123456789abcdef"[(seed >> shift) & 15];
      }
    }
    return result;
  }

  struct Memory {
    std::set<std::string> keys;
    std::deque<std::string> order;
  };
  std::string mark_;
  std::map<std::string, Mapping> mappings_;
  Memory memory_[2];
};
