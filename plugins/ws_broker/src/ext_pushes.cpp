// What features send and ask by themselves: pushes, facts, notices, the audit log.
#include <algorithm>

#include "plugins/ws_broker/src/ext_facts.hpp"
#include "plugins/ws_broker/src/ext_messages.hpp"
#include "plugins/ws_broker/src/handlers.hpp"
#include "plugins/ws_broker/src/shared_frame.hpp"
#include "protocol/ids.hpp"
#include "protocol/priority_number.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

namespace {

constexpr std::size_t kEventTextMax = 256;

// The newest connection with that session or member key.
Presence* by_key(Mesh& mesh, std::string_view key) {
  Presence* newest = nullptr;
  for (const auto& [number, presence] : mesh.presences) {
    const bool has_key = presence->session_key == key || presence->member->pubkey == key;
    if (has_key && presence->online() &&
        (newest == nullptr || presence->connection->number() > newest->connection->number())) {
      newest = presence.get();
    }
  }
  return newest;
}

}  // namespace

// --- pushes ---------------------------------------------------------------------------------------------------------

cm_status MessagesExtension::find_receivers(const cm_broker_to& to, std::vector<Presence*>& out) {
  const auto add = [&](Presence* presence) {
    if (presence != nullptr && presence->online() && presence->number != to.except) {
      out.push_back(presence);
    }
  };
  if (to.kind == CM_BROKER_TO_PRESENCE) {
    Presence* presence = broker_.registry().find(to.presence);
    add(presence);
    return presence == nullptr ? CM_GONE : CM_OK;
  }
  Mesh* mesh = broker_.cache().find(to_view(to.mesh_id));
  if (mesh == nullptr) {
    return CM_GONE;
  }
  switch (to.kind) {
    case CM_BROKER_TO_MEMBER: {
      const auto member = mesh->members.find(to_view(to.member_id));
      if (member != mesh->members.end()) {
        std::for_each(member->second->presences.begin(), member->second->presences.end(), add);
      }
      return CM_OK;
    }
    case CM_BROKER_TO_MESH:
      for (const auto& [number, presence] : mesh->presences) {
        add(presence.get());
      }
      return CM_OK;
    case CM_BROKER_TO_KEY:
      add(by_key(*mesh, to_view(to.member_id)));
      return CM_OK;
    default:
      return CM_INVALID;
  }
}

cm_status MessagesExtension::send_to(const std::vector<Presence*>& receivers, std::string frame,
                                     std::uint64_t* out_count) {
  Context& context = broker_.context();
  std::vector<std::uint64_t> numbers;
  for (const Presence* presence : receivers) {
    if (presence->congested) {
      context.metrics.drops.add("slow_consumer_event");
      continue;
    }
    numbers.push_back(presence->number);
  }
  if (out_count != nullptr) {
    *out_count = numbers.size();
  }
  if (numbers.empty()) {
    return CM_OK;
  }
  const auto send = [this, numbers = std::move(numbers), frame = std::move(frame)] {
    const SharedFrame shared(broker_.context().host, frame);
    for (const std::uint64_t number : numbers) {
      Presence* presence = broker_.registry().find(number);
      if (presence != nullptr && presence->online()) {
        presence->congested = shared.push_to(*presence->connection) == CM_BUSY || presence->congested;
      }
    }
  };
  if (notifying_ != 0) {
    context.host.post(send);
  } else {
    send();
  }
  return CM_OK;
}

cm_status MessagesExtension::push(const cm_broker_to& to, std::string_view json, std::uint64_t* out_count) {
  if (json.size() > CM_BROKER_FRAME_BYTES_MAX) {
    return CM_INVALID;
  }
  const auto tree = protocol::parse_json(json);
  if (!tree.ok() || text_member(*tree, "type").empty()) {
    return CM_INVALID;
  }
  std::vector<Presence*> receivers;
  const cm_status found = find_receivers(to, receivers);
  return found == CM_OK ? send_to(receivers, std::string(json), out_count) : found;
}

cm_status MessagesExtension::push_event(const cm_broker_to& to, const cm_broker_event& event,
                                        std::uint64_t* out_count) {
  const std::string_view json = to_view(event.event_json);
  const bool short_texts = to_view(event.sender).size() <= kEventTextMax &&
                           to_view(event.subtype).size() <= kEventTextMax &&
                           to_view(event.event).size() <= kEventTextMax;
  if (!short_texts || to_view(event.event).empty() || json.size() > CM_BROKER_FRAME_BYTES_MAX ||
      !protocol::parse_json(json).ok()) {
    return CM_INVALID;
  }
  std::vector<Presence*> receivers;
  if (const cm_status found = find_receivers(to, receivers); found != CM_OK) {
    return found;
  }
  Context& context = broker_.context();
  const Presence* target = broker_.registry().find(to.presence);
  const std::string mesh_id = to.kind == CM_BROKER_TO_PRESENCE ? target->mesh->id : std::string(to_view(to.mesh_id));
  const std::string id = protocol::generate_uuid_v4(context.random);
  const std::string created_at = iso_time(context.wall_ms());
  protocol::PushView push;
  push.message_id = id;
  push.mesh_id = mesh_id;
  push.sender_pubkey = to_view(event.sender);
  push.priority = protocol::priority_of(event.priority);
  push.created_at = created_at;
  push.subtype = to_view(event.subtype);
  push.event = to_view(event.event);
  push.event_data_json = json;
  std::string frame;
  protocol::write_push(frame, push);
  return send_to(receivers, std::move(frame), out_count);
}

// --- facts ----------------------------------------------------------------------------------------------------------

cm_status MessagesExtension::meshes(cm_broker_mesh_row row, void* user) {
  for (const auto& [id, mesh] : broker_.cache().meshes()) {
    if (!mesh->archived_at_ms) {
      const cm_broker_mesh facts = mesh_facts(*mesh);
      row(user, &facts);
    }
  }
  return CM_OK;
}

cm_status MessagesExtension::members(std::string_view mesh_id, cm_broker_member_row row, void* user) {
  const Mesh* mesh = broker_.cache().find(mesh_id);
  if (mesh == nullptr) {
    return CM_GONE;
  }
  for (const auto& [id, member] : mesh->members) {
    const MemberFacts facts(*member);
    row(user, facts.get());
  }
  return CM_OK;
}

cm_status MessagesExtension::presences(std::string_view mesh_id, cm_broker_presence_row row, void* user) {
  const Mesh* mesh = broker_.cache().find(mesh_id);
  if (mesh == nullptr) {
    return CM_GONE;
  }
  for (const auto& [number, presence] : mesh->presences) {
    const SenderFacts facts(*presence);
    row(user, facts.get());
  }
  return CM_OK;
}

cm_status MessagesExtension::presence(cm_handle presence, cm_broker_presence_row row, void* user) {
  const Presence* found = broker_.registry().find(presence);
  if (found == nullptr) {
    return CM_GONE;
  }
  const SenderFacts facts(*found);
  row(user, facts.get());
  return CM_OK;
}

cm_status MessagesExtension::audit(std::string_view mesh_id, std::string_view event_type,
                                   std::string_view actor_member_id, std::string_view payload_json) {
  const Mesh* mesh = broker_.cache().find(mesh_id);
  if (mesh == nullptr) {
    return CM_GONE;
  }
  const auto payload = protocol::parse_json(payload_json);
  const auto actor = mesh->members.find(actor_member_id);
  const bool unknown_actor = !actor_member_id.empty() && actor == mesh->members.end();
  if (event_type.empty() || event_type.size() > CM_BROKER_TYPE_BYTES_MAX || !payload.ok() || !payload->is_object() ||
      payload_json.size() > broker_.context().options.max_message_bytes || unknown_actor) {
    return CM_INVALID;
  }
  broker_.audit().append(*mesh, event_type, actor_member_id.empty() ? nullptr : actor->second.get(), *payload);
  return CM_OK;
}

// --- notices --------------------------------------------------------------------------------------------------------

cm_status MessagesExtension::watch(cm_handle caller, const cm_broker_watch& callbacks, void* user,
                                   cm_handle* out_watch) {
  if (watches_.size() >= kWatchesMax) {
    return CM_BUSY;
  }
  Watch watch;
  watch.caller = caller;
  watch.user = user;
  std::copy_n(reinterpret_cast<const std::uint8_t*>(&callbacks),
              std::min<std::size_t>(callbacks.size, sizeof(cm_broker_watch)),
              reinterpret_cast<std::uint8_t*>(&watch.callbacks));
  *out_watch = next_handle_++;
  watches_.emplace(*out_watch, watch);
  return CM_OK;
}

void MessagesExtension::unwatch(cm_handle caller, cm_handle watch) {
  const auto found = watches_.find(watch);
  if (found != watches_.end() && found->second.caller == caller) {
    watches_.erase(found);
  }
}

// A notice may end or add watches: the handles are taken first.
template <typename Call>
void MessagesExtension::notify(Call&& call) {
  if (watches_.empty()) {
    return;
  }
  std::vector<cm_handle> handles;
  for (const auto& [handle, watch] : watches_) {
    handles.push_back(handle);
  }
  ++notifying_;
  for (const cm_handle handle : handles) {
    const auto found = watches_.find(handle);
    if (found != watches_.end() && check_caller(found->second.caller)) {
      const Watch watch = found->second;
      call(watch);
    }
  }
  --notifying_;
}

void MessagesExtension::presence_joined(const Presence& presence) {
  notify([&](const Watch& watch) {
    if (watch.callbacks.presence_joined != nullptr) {
      const SenderFacts facts(presence);
      watch.callbacks.presence_joined(watch.user, facts.get());
    }
  });
}

void MessagesExtension::presence_left(const Presence& presence) {
  notify([&](const Watch& watch) {
    if (watch.callbacks.presence_left != nullptr) {
      const SenderFacts facts(presence);
      watch.callbacks.presence_left(watch.user, facts.get());
    }
  });
}

void MessagesExtension::member_joined(const Member& member) {
  notify([&](const Watch& watch) {
    if (watch.callbacks.member_joined != nullptr) {
      const MemberFacts facts(member);
      watch.callbacks.member_joined(watch.user, facts.get());
    }
  });
}

void MessagesExtension::member_removed(const Member& member) {
  notify([&](const Watch& watch) {
    if (watch.callbacks.member_removed != nullptr) {
      const MemberFacts facts(member);
      watch.callbacks.member_removed(watch.user, facts.get());
    }
  });
}

void MessagesExtension::mesh_created(const Mesh& mesh) {
  notify([&](const Watch& watch) {
    if (watch.callbacks.mesh_created != nullptr) {
      const cm_broker_mesh facts = mesh_facts(mesh);
      watch.callbacks.mesh_created(watch.user, &facts);
    }
  });
}

}  // namespace cm::broker
