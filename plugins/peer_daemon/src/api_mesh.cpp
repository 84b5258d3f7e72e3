// Handlers of the local API: what the broker of a mesh knows. Both families of replies are understood, those that
// brokers send and those that the daemon of 1.37.0 waited for (wire/06 section 3.2).
#include <algorithm>
#include <utility>

#include "plugins/peer_daemon/src/json_out.hpp"
#include "plugins/peer_daemon/src/local_api.hpp"
#include "protocol/ids.hpp"

namespace cm::daemon {
namespace {

using protocol::JsonValue;

std::string text_of(const JsonValue* object, std::string_view key) {
  const JsonValue* value = object == nullptr ? nullptr : object->find(key);
  return value != nullptr && value->as_string() != nullptr ? *value->as_string() : std::string();
}

ApiAnswer unreachable(std::string_view detail) {
  return api_error(502, "broker_unreachable", detail);
}

// An `error` frame as an answer; nothing for any other frame.
std::optional<ApiAnswer> broker_error(const JsonValue& frame) {
  if (text_of(&frame, "type") != "error") {
    return std::nullopt;
  }
  const std::string code = text_of(&frame, "code");
  const std::uint32_t status = code == "not_found" ? 404 : code == "forbidden" ? 403 : 400;
  return api_error(status, code.empty() ? "broker_error" : code, text_of(&frame, "message"));
}

std::string with_mesh(JsonValue item, const std::string& mesh) {
  item.set("mesh", JsonValue(mesh));
  return protocol::to_json(item);
}

// The objects of the first of `names` that is an array in the frame, each with its mesh.
std::vector<std::string> items_of(const std::string& frame, const std::vector<std::string_view>& names,
                                  const std::string& mesh) {
  std::vector<std::string> items;
  const Result<JsonValue> tree = protocol::parse_json(frame);
  for (const std::string_view name : names) {
    const JsonValue* list = tree ? tree->find(name) : nullptr;
    if (list == nullptr || list->as_array() == nullptr) {
      continue;
    }
    for (const JsonValue& item : *list->as_array()) {
      items.push_back(with_mesh(item, mesh));
    }
    break;
  }
  return items;
}

std::string simple_request(std::string_view type) {
  return JsonObject().text("type", type).finish();
}

// What several meshes answer, put together in the order of the meshes.
struct Gathering {
  std::map<std::string, std::vector<std::string>> items;
  std::vector<std::string> unreachable;
  std::size_t waiting = 0;
  std::string first_error;
};

// What was said to several meshes without waiting for replies.
struct Announcement {
  std::string applied;  // JSON
  std::vector<std::string> reached;
  std::size_t waiting = 0;
};

ApiAnswer answer_announcement(const Announcement& announcement) {
  if (announcement.reached.empty()) {
    return unreachable("nothing was applied: no broker is connected; try again when one is");
  }
  std::vector<std::string> names = announcement.reached;
  std::sort(names.begin(), names.end());
  JsonArray meshes;
  for (const std::string& name : names) {
    meshes.add_text(name);
  }
  return {
      200,
      JsonObject().boolean("ok", true).raw("applied", announcement.applied).raw("meshes", meshes.finish()).finish()};
}

}  // namespace

std::vector<std::string> LocalApi::context_meshes(const ApiCall& call) {
  const std::string asked = call.query("mesh");
  const std::string& wanted = asked.empty() ? call.caller.mesh : asked;
  std::vector<std::string> slugs = parts_.membership->slugs();
  if (slugs.empty()) {
    call.answer(
        api_error(503, "broker not initialised", "no mesh is joined; run `claudemesh join <invite-url>` first"));
    return {};
  }
  if (wanted.empty()) {
    return slugs;
  }
  if (parts_.membership->find(wanted) == nullptr) {
    call.answer({404, JsonObject().text("error", "mesh_not_attached").text("mesh", wanted).finish()});
    return {};
  }
  return {wanted};
}

Mesh* LocalApi::chosen_mesh(const ApiCall& call, std::string_view asked) {
  const ParsedOr<Mesh*> mesh = choose_mesh(*parts_.membership, asked, call.caller.mesh);
  if (!mesh.value.has_value()) {
    call.answer(mesh.refusal);
    return nullptr;
  }
  return *mesh.value;
}

// No answer is not the same as an empty one: when no broker answers it is an error, and when some do not they are
// named.
void LocalApi::ask_all(const ApiCall& call, const std::vector<std::string>& meshes, std::string frame,
                       std::string list_name, Collect collect) {
  auto gathering = std::make_shared<Gathering>();
  gathering->waiting = meshes.size();
  const auto finish = [gathering, call, list_name] {
    if (gathering->items.empty()) {
      call.answer(unreachable(gathering->first_error));
      return;
    }
    JsonArray all;
    for (const auto& [mesh, items] : gathering->items) {
      for (const std::string& item : items) {
        all.add(item);
      }
    }
    JsonObject body;
    body.raw(list_name, all.finish());
    if (!gathering->unreachable.empty()) {
      JsonArray names;
      for (const std::string& name : gathering->unreachable) {
        names.add_text(name);
      }
      body.raw("unreachable", names.finish());
    }
    call.answer({200, body.finish()});
  };
  for (const std::string& slug : meshes) {
    Mesh* mesh = parts_.membership->find(slug);
    mesh->links().request(frame, kRequestTimeoutMs,
                          [gathering, finish, collect, slug](const Result<std::string>& reply) {
                            if (reply) {
                              gathering->items[slug] = collect(slug, *reply);
                            } else {
                              gathering->unreachable.push_back(slug);
                              gathering->first_error = reply.error().message;
                            }
                            if (--gathering->waiting == 0) {
                              finish();
                            }
                          });
  }
}

// Every answer of a broker about one thing goes through here; `answered` gets a reply that is no error.
void LocalApi::ask_one(const ApiCall& call, Mesh& mesh, std::string frame, Answered answered,
                       std::string_view unreachable_word) {
  mesh.links().request(std::move(frame), kRequestTimeoutMs,
                       [call, answered = std::move(answered), unreachable_word](const Result<std::string>& reply) {
                         const Result<JsonValue> tree =
                             reply ? protocol::parse_json(*reply) : Result<JsonValue>(reply.error());
                         if (!tree) {
                           call.answer(api_error(502, unreachable_word, tree.error().message));
                           return;
                         }
                         const std::optional<ApiAnswer> error = broker_error(*tree);
                         call.answer(error.has_value() ? *error : answered(*tree));
                       });
}

// One list of all meshes in question; `names` are what brokers call it.
void LocalApi::ask_list(const ApiCall& call, std::string frame, std::string list_name,
                        std::vector<std::string_view> names) {
  const std::vector<std::string> meshes = context_meshes(call);
  if (!meshes.empty()) {
    ask_all(call, meshes, std::move(frame), std::move(list_name),
            [names = std::move(names)](const std::string& mesh, const std::string& answer) {
              return items_of(answer, names, mesh);
            });
  }
}

std::optional<JsonValue> LocalApi::body_of(const ApiCall& call) {
  Result<JsonValue> body = protocol::parse_json(call.request.body());
  if (!body || !body->is_object()) {
    call.answer(api_error(400, body ? "expected JSON object" : "Error: invalid_json"));
    return std::nullopt;
  }
  return std::move(*body);
}

void LocalApi::list_peers(const ApiCall& call) {
  const std::vector<std::string> meshes = context_meshes(call);
  if (!meshes.empty()) {
    for (const std::string& slug : meshes) {
      parts_.membership->find(slug)->peers().invalidate();
    }
    ask_all(call, meshes, simple_request("list_peers"), "peers",
            [this](const std::string& slug, const std::string& frame) {
              if (Mesh* mesh = parts_.membership->find(slug); mesh != nullptr) {
                mesh->peers().take(frame);
              }
              return items_of(frame, {"peers"}, slug);
            });
  }
}

// The id of a broker or the beginning of one, or the same of an id that the sender chose: what `POST /v1/send` answered
// can be asked for although no broker has the message yet.
void LocalApi::message_status(const ApiCall& call) {
  const std::string id(call.request.path_parameter("id"));
  const ApiAnswer invalid =
      api_error(400, "invalid_argument", "messageId must be 8-32 base62 chars (got " + std::to_string(id.size()) + ")");
  if (id.size() < protocol::kMessageIdPrefixMin || !protocol::is_client_message_id(id)) {
    call.answer(invalid);
    return;
  }
  parts_.outbox->find_sent(
      id, [this, call, id, asked = call.query("mesh"), invalid](const Result<std::vector<SentMessage>>& found) {
        const std::size_t count = found ? found->size() : 0;
        if (count > 1) {
          call.answer(api_error(400, "ambiguous_prefix",
                                "several messages have an id that begins with \"" + id + "\"; give more of it"));
          return;
        }
        const SentMessage* sent = count == 1 ? &found->front() : nullptr;
        if (sent == nullptr && !protocol::is_message_id_or_prefix(id)) {
          call.answer(invalid);
          return;
        }
        if (sent != nullptr && sent->broker_message_id.empty()) {
          call.answer(unsent_status(*sent));
          return;
        }
        Mesh* mesh = chosen_mesh(call, sent != nullptr && asked.empty() ? sent->mesh : asked);
        if (mesh != nullptr) {
          ask_status(call, *mesh, sent != nullptr ? sent->broker_message_id : id);
        }
      });
}

ApiAnswer LocalApi::unsent_status(const SentMessage& sent) const {
  const bool on_its_way = sent.status == OutboxStatus::kPending && parts_.drain->is_inflight(sent.client_message_id);
  return {200, JsonObject()
                   .text("messageId", sent.client_message_id)
                   .text("targetSpec", sent.target_spec)
                   .boolean("delivered", false)
                   .null("deliveredAt")
                   .raw("recipients", "[]")
                   .text("outbox", to_string(on_its_way ? OutboxStatus::kInflight : sent.status))
                   .text_or_null("lastError", sent.last_error)
                   .text("mesh", sent.mesh)
                   .finish()};
}

void LocalApi::ask_status(const ApiCall& call, Mesh& mesh, const std::string& message_id) {
  std::string frame = JsonObject().text("type", "message_status").text("messageId", message_id).finish();
  ask_one(call, mesh, std::move(frame), [slug = mesh.slug()](const JsonValue& reply) -> ApiAnswer {
    JsonValue::Object members;
    for (const protocol::JsonMember& member : *reply.as_object()) {
      if (member.key != "_reqId" && member.key != "type") {
        members.push_back(member);
      }
    }
    return {200, with_mesh(JsonValue(std::move(members)), slug)};
  });
}

// --- state -----------------------------------------------------------------------------------------------------------

void LocalApi::read_state(const ApiCall& call) {
  const std::string key = call.query("key");
  if (key.empty()) {
    ask_list(call, simple_request("list_state"), "entries", {"entries"});
    return;
  }
  Mesh* mesh = chosen_mesh(call, call.query("mesh"));
  if (mesh == nullptr) {
    return;
  }
  std::string frame = JsonObject().text("type", "get_state").text("key", key).finish();
  ask_one(call, *mesh, std::move(frame), [key, slug = mesh->slug()](const JsonValue& reply) -> ApiAnswer {
    const JsonValue* row = reply.find("state") != nullptr ? reply.find("state") : reply.find("row");
    row = row == nullptr ? &reply : row;
    const JsonValue* value = row->find("value");
    const bool missing = (value == nullptr || value->is_null()) && text_of(row, "updatedAt").empty();
    if (missing) {
      return {404, JsonObject().text("error", "state_not_found").text("key", key).finish()};
    }
    JsonValue::Object state;
    state.push_back({"key", JsonValue(key)});
    state.push_back({"value", value == nullptr ? JsonValue() : *value});
    state.push_back({"updatedBy", JsonValue(text_of(row, "updatedBy"))});
    state.push_back({"updatedAt", JsonValue(text_of(row, "updatedAt"))});
    return {200, JsonObject().raw("state", with_mesh(JsonValue(std::move(state)), slug)).finish()};
  });
}

void LocalApi::write_state(const ApiCall& call) {
  const std::optional<JsonValue> body = body_of(call);
  if (!body.has_value()) {
    return;
  }
  const std::string key = text_of(&*body, "key");
  if (key.empty()) {
    call.answer(api_error(400, "missing 'key' (string)"));
    return;
  }
  Mesh* mesh = chosen_mesh(call, text_of(&*body, "mesh"));
  if (mesh == nullptr) {
    return;
  }
  const JsonValue* value = body->find("value");
  const std::string frame = JsonObject()
                                .text("type", "set_state")
                                .text("key", key)
                                .raw("value", value == nullptr ? "null" : protocol::to_json(*value))
                                .finish();
  mesh->links().notify({frame}, [call, key, slug = mesh->slug()](bool sent) {
    if (!sent) {
      call.answer(unreachable("the state was not written: the broker is not connected; try again when it is"));
      return;
    }
    call.answer({200, JsonObject().boolean("ok", true).text("key", key).text("mesh", slug).finish()});
  });
}

// --- memory ----------------------------------------------------------------------------------------------------------

void LocalApi::recall(const ApiCall& call) {
  ask_list(call, JsonObject().text("type", "recall").text("query", call.query("q")).finish(), "matches",
           {"memories", "matches"});
}

void LocalApi::remember(const ApiCall& call) {
  const std::optional<JsonValue> body = body_of(call);
  if (!body.has_value()) {
    return;
  }
  const std::string content = text_of(&*body, "content");
  if (content.empty()) {
    call.answer(api_error(400, "missing 'content' (string)"));
    return;
  }
  Mesh* mesh = chosen_mesh(call, text_of(&*body, "mesh"));
  if (mesh == nullptr) {
    return;
  }
  JsonObject frame;
  frame.text("type", "remember").text("content", content);
  if (const JsonValue* tags = body->find("tags"); tags != nullptr && tags->as_array() != nullptr) {
    frame.raw("tags", protocol::to_json(*tags));
  }
  const auto answered = [slug = mesh->slug()](const JsonValue& reply) -> ApiAnswer {
    const std::string id = text_of(&reply, "id").empty() ? text_of(&reply, "memoryId") : text_of(&reply, "id");
    return {200, JsonObject().text("id", id).text("mesh", slug).finish()};
  };
  ask_one(call, *mesh, frame.finish(), answered, "remember_timeout");
}

void LocalApi::forget(const ApiCall& call) {
  const std::string id(call.request.path_parameter("id"));
  Mesh* mesh = chosen_mesh(call, call.query("mesh"));
  if (mesh == nullptr) {
    return;
  }
  std::string frame = JsonObject().text("type", "forget").text("memoryId", id).finish();
  ask_one(call, *mesh, std::move(frame), [id, slug = mesh->slug()](const JsonValue&) -> ApiAnswer {
    return {200, JsonObject().boolean("ok", true).text("id", id).text("mesh", slug).finish()};
  });
}

// --- skills and profile ----------------------------------------------------------------------------------------------

void LocalApi::list_skills(const ApiCall& call) {
  ask_list(call, JsonObject().text("type", "list_skills").text_if("query", call.query("query")).finish(), "skills",
           {"skills"});
}

void LocalApi::get_skill(const ApiCall& call) {
  const std::string name(call.request.path_parameter("name"));
  const std::vector<std::string> meshes = context_meshes(call);
  if (meshes.empty()) {
    return;
  }
  struct Search {
    std::size_t waiting = 0;
    std::size_t answers = 0;
    bool found = false;
  };
  auto search = std::make_shared<Search>();
  search->waiting = meshes.size();
  const std::string frame = JsonObject().text("type", "get_skill").text("name", name).finish();
  for (const std::string& slug : meshes) {
    parts_.membership->find(slug)->links().request(
        frame, kRequestTimeoutMs, [search, call, name, slug](const Result<std::string>& reply) {
          const Result<JsonValue> tree = reply ? protocol::parse_json(*reply) : Result<JsonValue>(reply.error());
          const JsonValue* skill = tree ? tree->find("skill") : nullptr;
          search->answers += tree ? 1 : 0;
          if (!search->found && skill != nullptr && skill->is_object()) {
            search->found = true;
            call.answer({200, JsonObject().raw("skill", with_mesh(*skill, slug)).finish()});
          }
          if (--search->waiting == 0 && !search->found) {
            call.answer(
                search->answers == 0
                    ? unreachable("no broker answered")
                    : ApiAnswer{404, JsonObject().text("error", "skill_not_found").text("name", name).finish()});
          }
        });
  }
}

void LocalApi::set_profile(const ApiCall& call) {
  const std::optional<JsonValue> body = body_of(call);
  if (!body.has_value()) {
    return;
  }
  std::vector<std::string> slugs = parts_.membership->slugs();
  const std::string asked = text_of(&*body, "mesh").empty() ? call.caller.mesh : text_of(&*body, "mesh");
  if (!asked.empty()) {
    if (chosen_mesh(call, asked) == nullptr) {
      return;
    }
    slugs = {asked};
  }
  JsonObject profile;
  bool has_profile = false;
  std::vector<std::string> frames;
  JsonArray applied;
  profile.text("type", "set_profile");
  for (const protocol::JsonMember& member : *body->as_object()) {
    const std::string value = protocol::to_json(member.value);
    if (member.key == "summary" || member.key == "status") {
      frames.push_back(JsonObject().text("type", "set_" + member.key).raw(member.key, value).finish());
    } else if (member.key == "visible") {
      frames.push_back(JsonObject().text("type", "set_visible").raw("visible", value).finish());
    } else if (member.key == "avatar" || member.key == "title" || member.key == "bio" || member.key == "capabilities") {
      profile.raw(member.key, value);
      has_profile = true;
    } else {
      continue;
    }
    applied.add_text(member.key);
  }
  if (has_profile) {
    frames.push_back(profile.finish());
  }
  auto announcement = std::make_shared<Announcement>();
  announcement->applied = applied.finish();
  announcement->waiting = slugs.size();
  if (slugs.empty()) {
    call.answer(answer_announcement(*announcement));
    return;
  }
  for (const std::string& slug : slugs) {
    // A session speaks of its own presence, not of the member's.
    SessionPresence* presence =
        call.caller.mesh == slug ? parts_.membership->presence(slug, call.caller.session_pubkey) : nullptr;
    IdentityLinks& links = presence != nullptr ? presence->links() : parts_.membership->find(slug)->links();
    links.notify(frames, [call, announcement, slug](bool sent) {
      if (sent) {
        announcement->reached.push_back(slug);
      }
      if (--announcement->waiting == 0) {
        call.answer(answer_announcement(*announcement));
      }
    });
  }
}

}  // namespace cm::daemon
