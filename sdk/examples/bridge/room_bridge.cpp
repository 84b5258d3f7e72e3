// A bridge in C++. The other side is as small as can be: rooms in memory, which remember what was said. What is shown
// is what every bridge must do in between: mappings, echoes, repetitions, loops and marks (claudemesh/ext/bridge.h).
//
//   [plugins.rooms]
//   use = "room_bridge"
//   daemon = "daemon"
#include <claudemesh/ext/bridge.h>
#include <claudemesh/ext/peer.h>
#include <claudemesh/cpp/plugin.hpp>

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <string>

namespace {

// One joint, with the messages that it has carried.
struct Mapping {
  std::string remote;
  std::string mesh;
  std::string target;
  std::string options;
  std::uint32_t directions = 0;

  // The last ids of one direction.
  class Memory {
   public:
    // False: it is known already.
    bool remember(const std::string& id) {
      if (!ids_.insert(id).second) {
        return false;
      }
      order_.push_back(id);
      if (order_.size() > CM_BRIDGE_REMEMBERED) {
        ids_.erase(order_.front());
        order_.pop_front();
      }
      return true;
    }

   private:
    std::set<std::string> ids_;
    std::deque<std::string> order_;
  };
  Memory from_remote;
  Memory from_mesh;
};

// A crossing that was decided, with text of its own: it is told later, when the message is gone.
struct Told {
  std::uint32_t outcome = 0;
  std::uint32_t direction = 0;
  std::uint32_t flags = 0;
  std::string mapping_id, message_id, reason, channel, mesh, author, text, trail, new_id;
};

std::string text_of(cm_text_pview view) {
  return view.size == 0 ? std::string() : std::string(view.data, view.size);
}

// "a:1 b:2": the marks that came with a message, beside its text or as the text's last line, which is then taken off.
std::string take_trail(std::string& text, std::string beside) {
  const auto line = text.rfind(CM_BRIDGE_TRAIL_LINE);
  const std::size_t length = sizeof(CM_BRIDGE_TRAIL_LINE) - 1;
  if (line != std::string::npos && text.find('\n', line + length) == std::string::npos) {
    beside += (beside.empty() ? "" : " ") + text.substr(line + length);
    text.erase(line);
  }
  return beside;
}

// Does the trail contain the mark, or too many of them?
bool is_loop(const std::string& trail, const std::string& mark) {
  const std::string padded = " " + trail + " ";
  const auto marks = trail.empty() ? 0 : std::count(trail.begin(), trail.end(), ' ') + 1;
  return padded.find(" " + mark + " ") != std::string::npos || marks >= static_cast<long>(CM_BRIDGE_HOPS_MAX);
}

bool is_id(const std::string& id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-';
  });
}

class RoomBridge final : public cm::PluginInstance {
 public:
  explicit RoomBridge(const cm_host* host) : PluginInstance(host) {}

  std::vector<cm::TableNeed> required_tables() const override {
    return {cm::need<cm_config_v1>(CM_CONFIG_ID), cm::need<cm_loop_v1>(CM_LOOP_ID),
            cm::need<cm_registry_v1>(CM_REGISTRY_ID)};
  }

  cm::Status configure() override {
    std::string name = host().option_text("name");
    std::erase_if(name, [](unsigned char c) { return std::islower(c) == 0 && std::isdigit(c) == 0 && c != '-'; });
    mark_ = "room:" + (name.empty() ? std::string("rooms") : name);
    daemon_name_ = host().option_text("daemon");
    return {};
  }

  void start(Done started) override {
    if (!daemon_name_.empty()) {
      auto daemon = cm::Extension<cm_peer_v1>::acquire(host(), daemon_name_, CM_PEER_ID);
      if (!daemon) {
        return started(daemon.error());
      }
      daemon_ = std::move(daemon).value();
    }
    up_ = true;
    started(cm::Status());
  }

  void stop() override {
    up_ = false;
    observers_.clear();
    daemon_.release();
  }

  const void* extension(std::string_view id) override { return id == CM_BRIDGE_ID ? &table_ : nullptr; }

 private:
  static RoomBridge& self(void* instance) { return *static_cast<RoomBridge*>(static_cast<PluginInstance*>(instance)); }

  // --- what others see ---
  static cm_text_hview network(void*) noexcept { return cm::to_hview(std::string_view("room")); }

  static cm_status status(void* instance, cm_bridge_status* out) noexcept {
    RoomBridge& bridge = self(instance);
    cm_bridge_status now = bridge.counters_;
    now.size = out->size;
    now.state = bridge.up_ ? CM_BRIDGE_UP : CM_BRIDGE_STOPPED;
    now.mark = cm::to_hview(std::string_view(bridge.mark_));
    now.mappings = bridge.mappings_.size();
    std::memcpy(out, &now, std::min<std::size_t>(out->size, sizeof(now)));
    return CM_OK;
  }

  static cm_status mappings(void* instance, cm_bridge_mapping_row row, void* user) noexcept {
    for (const auto& [id, mapping] : self(instance).mappings_) {
      const cm_bridge_mapping told = {sizeof(told),
                                      mapping.directions,
                                      cm::to_pview(id),
                                      cm::to_pview(mapping.remote),
                                      cm::to_pview(mapping.mesh),
                                      cm::to_pview(mapping.target),
                                      cm::to_pview(mapping.options)};
      row(user, &told);
    }
    return CM_OK;
  }

  static cm_status map(void* instance, const cm_bridge_mapping* wanted) noexcept {
    RoomBridge& bridge = self(instance);
    const std::string id = text_of(wanted->id);
    Mapping mapping;
    mapping.remote = text_of(wanted->remote);
    mapping.mesh = text_of(wanted->mesh);
    mapping.target = text_of(wanted->target);
    mapping.options = text_of(wanted->options_json);
    mapping.directions = wanted->directions;
    const bool joined = std::any_of(bridge.mappings_.begin(), bridge.mappings_.end(), [&](const auto& other) {
      return other.first != id && other.second.remote == mapping.remote && other.second.target == mapping.target;
    });
    if (!is_id(id) || mapping.remote.empty() || mapping.target.empty() || joined ||
        (mapping.directions & ~(CM_BRIDGE_TO_MESH | CM_BRIDGE_TO_REMOTE)) != 0) {
      bridge.host().set_error("a mapping needs an id of [A-Za-z0-9_-], a room and a target that are not joined yet");
      return CM_INVALID;
    }
    if (bridge.mappings_.size() >= CM_BRIDGE_MAPPINGS_MAX && !bridge.mappings_.contains(id)) {
      return CM_BUSY;
    }
    bridge.mappings_[id] = std::move(mapping);
    return CM_OK;
  }

  static cm_status unmap(void* instance, cm_text_pview id) noexcept {
    return self(instance).mappings_.erase(text_of(id)) != 0 ? CM_OK : CM_GONE;
  }

  static cm_status observe(void* instance, cm_bridge_crossed crossed, void* user, cm_handle* out) noexcept {
    *out = ++self(instance).last_observer_;
    self(instance).observers_[*out] = {crossed, user};
    return CM_OK;
  }
  static void unobserve(void* instance, cm_handle observer) noexcept { self(instance).observers_.erase(observer); }

  static cm_status deliver_remote(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                                  void* user) noexcept {
    return self(instance).deliver(*message, CM_BRIDGE_TO_MESH, crossed, user);
  }
  static cm_status deliver_mesh(void* instance, const cm_bridge_message* message, cm_bridge_crossed crossed,
                                void* user) noexcept {
    return self(instance).deliver(*message, CM_BRIDGE_TO_REMOTE, crossed, user);
  }

  // --- the crossing ---
  cm_status deliver(const cm_bridge_message& message, std::uint32_t direction, cm_bridge_crossed crossed, void* user) {
    if (message.message_id.size == 0 || message.text.size > CM_BRIDGE_TEXT_BYTES_MAX) {
      host().set_error("a message needs an id, and at most CM_BRIDGE_TEXT_BYTES_MAX bytes of text");
      return CM_INVALID;
    }
    const std::string channel = text_of(message.channel);
    bool any = false;
    for (auto& [id, mapping] : mappings_) {
      if (channel == (direction == CM_BRIDGE_TO_MESH ? mapping.remote : mapping.target)) {
        any = true;
        tell(cross(message, direction, id, mapping), crossed, user);
      }
    }
    if (!any) {
      Told told = begin(message, direction, "");
      drop(told, CM_BRIDGE_UNMAPPED, "no mapping has this channel");
      tell(std::move(told), crossed, user);
    }
    return CM_OK;
  }

  static Told begin(const cm_bridge_message& message, std::uint32_t direction, const std::string& mapping_id) {
    Told told;
    told.direction = direction;
    told.flags = message.flags & CM_BRIDGE_REHEARSAL;
    told.mapping_id = mapping_id;
    told.message_id = text_of(message.message_id);
    return told;
  }

  void drop(Told& told, std::uint32_t outcome, std::string reason) {
    told.outcome = outcome;
    told.reason = std::move(reason);
    std::uint64_t& counter = outcome == CM_BRIDGE_UNMAPPED    ? counters_.dropped_unmapped
                             : outcome == CM_BRIDGE_ECHO      ? counters_.dropped_echo
                             : outcome == CM_BRIDGE_DUPLICATE ? counters_.dropped_duplicate
                             : outcome == CM_BRIDGE_LOOP      ? counters_.dropped_loop
                             : outcome == CM_BRIDGE_FILTERED  ? counters_.dropped_filtered
                                                              : counters_.failed;
    ++counter;
  }

  Told cross(const cm_bridge_message& message, std::uint32_t direction, const std::string& id, Mapping& mapping) {
    const bool to_mesh = direction == CM_BRIDGE_TO_MESH;
    Told told = begin(message, direction, id);
    std::string text = text_of(message.text);
    const std::string trail = take_trail(text, text_of(message.trail));
    if ((message.flags & CM_BRIDGE_FROM_SELF) != 0) {
      drop(told, CM_BRIDGE_ECHO, "the bridge wrote it itself");
    } else if ((mapping.directions & direction) == 0) {
      drop(told, CM_BRIDGE_FILTERED, "the mapping does not go in this direction");
    } else if (is_loop(trail, mark_)) {
      drop(told, CM_BRIDGE_LOOP, "it has crossed here before, or too many bridges");
    } else if (!(to_mesh ? mapping.from_remote : mapping.from_mesh).remember(told.message_id)) {
      drop(told, CM_BRIDGE_DUPLICATE, "it has crossed already");
    } else {
      told.channel = to_mesh ? mapping.target : mapping.remote;
      told.mesh = to_mesh ? mapping.mesh : std::string();
      told.author = text_of(message.author_name);
      told.trail = trail.empty() ? mark_ : trail + " " + mark_;
      // The mesh has no place beside the text; a room has, so that people there do not see it.
      told.text = to_mesh ? told.author + ": " + text + CM_BRIDGE_TRAIL_LINE + told.trail : text;
      told.new_id = to_mesh ? CM_BRIDGE_CLIENT_ID_PREFIX + id + "-" + told.message_id : std::string();
      hand_over(told);
    }
    return told;
  }

  void hand_over(Told& told) {
    if ((told.flags & CM_BRIDGE_REHEARSAL) != 0) {
      told.outcome = CM_BRIDGE_REHEARSED;
      return;
    }
    if (told.direction == CM_BRIDGE_TO_REMOTE) {
      rooms_[told.channel].push_back(told.text);
      ++counters_.to_remote;
      told.outcome = CM_BRIDGE_FORWARDED;
      return;
    }
    const cm_peer_message message = {sizeof(message),         kPriorityNext,
                                     cm::to_pview(told.mesh), cm::to_pview(told.channel),
                                     cm::to_pview(told.text), cm::to_pview(told.new_id)};
    const bool sent = daemon_ && daemon_->send(daemon_.instance(), &message, nullptr, nullptr) == CM_OK;
    if (sent) {
      ++counters_.to_mesh;
      told.outcome = CM_BRIDGE_FORWARDED;
    } else {
      drop(told, CM_BRIDGE_FAILED, "the daemon took no message; set the option daemon");
    }
  }

  // Never from inside the call: by a post. Who observes hears everything.
  void tell(Told told, cm_bridge_crossed crossed, void* user) {
    host().post([this, told = std::move(told), crossed, user] {
      const cm_bridge_crossing crossing = {sizeof(crossing),
                                           told.outcome,
                                           told.direction,
                                           told.flags,
                                           cm::to_hview(told.mapping_id),
                                           cm::to_hview(told.message_id),
                                           cm::to_hview(told.reason),
                                           cm::to_hview(told.channel),
                                           cm::to_hview(told.mesh),
                                           cm::to_hview(told.author),
                                           cm::to_hview(told.text),
                                           cm::to_hview(told.trail),
                                           cm::to_hview(told.new_id)};
      if (crossed != nullptr) {
        crossed(user, &crossing);
      }
      for (const auto& [handle, observer] : observers_) {
        observer.first(observer.second, &crossing);
      }
    });
  }

  static constexpr std::uint32_t kPriorityNext = 2;  // "next"

  cm_bridge_v1 table_ = {sizeof(cm_bridge_v1), 0,        &network,  &status, &mappings, &map, &unmap, &deliver_remote,
                         &deliver_mesh,        &observe, &unobserve};
  std::string mark_;
  std::string daemon_name_;
  cm::Extension<cm_peer_v1> daemon_;
  bool up_ = false;
  cm_bridge_status counters_ = {};
  std::map<std::string, Mapping> mappings_;
  std::map<std::string, std::deque<std::string>> rooms_;
  std::map<cm_handle, std::pair<cm_bridge_crossed, void*>> observers_;
  cm_handle last_observer_ = 0;
};

}  // namespace

CM_DEFINE_PLUGIN(RoomBridge);
