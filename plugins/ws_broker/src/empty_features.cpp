// Requests of features that this broker does not serve get the reply that an empty feature gives (wire/02), so that a
// 1.37.0 client goes on at once instead of waiting for its time-out. What would have to be kept is refused by name.
#include <array>
#include <string>
#include <string_view>

#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/object_writer.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

using protocol::JsonValue;

namespace {

enum class Kind : std::uint8_t {
  kSilent,    // no reply in the protocol
  kEmpty,     // `body` is the reply without type and request id
  kEcho,      // as kEmpty, and `field` of the request is repeated
  kTopic,     // topic_not_found for `field`
  kNotFound,  // not_found "file not found"
};

struct EmptyFeature {
  std::string_view request;
  Kind kind;
  std::string_view reply_type = {};
  std::string_view body = {};  // members after the type, without the braces; may be empty
  std::string_view field = {};
};

constexpr std::array kFeatures = {
    EmptyFeature{"topic_list", Kind::kEmpty, "topic_list_response", R"("topics":[])"},
    EmptyFeature{"topic_join", Kind::kTopic, {}, {}, "topic"},
    EmptyFeature{"topic_leave", Kind::kTopic, {}, {}, "topic"},
    EmptyFeature{"topic_members", Kind::kTopic, {}, {}, "topic"},
    EmptyFeature{"topic_history", Kind::kTopic, {}, {}, "topic"},
    EmptyFeature{"topic_mark_read", Kind::kTopic, {}, {}, "topic"},
    EmptyFeature{"apikey_list", Kind::kEmpty, "apikey_list_response", R"("keys":[])"},
    EmptyFeature{"apikey_revoke", Kind::kEmpty, "apikey_revoke_response", R"("status":"not_found")"},
    EmptyFeature{"set_state", Kind::kSilent},
    EmptyFeature{"get_state", Kind::kEcho, "state_result", R"("value":null,"updatedBy":"","updatedAt":"")", "key"},
    EmptyFeature{"list_state", Kind::kEmpty, "state_list", R"("entries":[])"},
    EmptyFeature{"recall", Kind::kEmpty, "memory_results", R"("memories":[])"},
    EmptyFeature{"get_file", Kind::kNotFound},
    EmptyFeature{"list_files", Kind::kEmpty, "file_list", R"("files":[])"},
    EmptyFeature{"file_status", Kind::kEcho, "file_status_result", R"("accesses":[])", "fileId"},
    EmptyFeature{"get_context", Kind::kEmpty, "context_results", R"("contexts":[])"},
    EmptyFeature{"list_contexts", Kind::kEmpty, "context_list", R"("contexts":[])"},
    EmptyFeature{"list_tasks", Kind::kEmpty, "task_list", R"("tasks":[])"},
    EmptyFeature{"publish", Kind::kSilent},
    EmptyFeature{"unsubscribe", Kind::kSilent},
    EmptyFeature{"list_streams", Kind::kEmpty, "stream_list", R"("streams":[])"},
    EmptyFeature{"vector_search", Kind::kEmpty, "vector_results", R"("results":[])"},
    EmptyFeature{"list_collections", Kind::kEmpty, "collection_list", R"("collections":[])"},
    EmptyFeature{"mesh_schema", Kind::kEmpty, "mesh_schema_result", R"("tables":[])"},
    EmptyFeature{"list_scheduled", Kind::kEmpty, "scheduled_list", R"("messages":[])"},
    EmptyFeature{"cancel_scheduled", Kind::kEcho, "cancel_scheduled_ack", R"("ok":false)", "scheduledId"},
    EmptyFeature{"audit_query", Kind::kEmpty, "audit_result", R"("entries":[],"total":0)"},
    EmptyFeature{"mcp_unregister", Kind::kSilent},
    EmptyFeature{"mcp_list", Kind::kEmpty, "mcp_list_result", R"("servers":[])"},
    EmptyFeature{"mcp_call_response", Kind::kSilent},
    EmptyFeature{"mcp_logs", Kind::kEcho, "mcp_logs_result", R"("lines":[])", "server_name"},
    EmptyFeature{"mcp_schema", Kind::kEcho, "mcp_schema_result", R"("tools":[])", "server_name"},
    EmptyFeature{"mcp_catalog", Kind::kEmpty, "mcp_catalog_result", R"("services":[])"},
    EmptyFeature{"get_skill", Kind::kEmpty, "skill_data", R"("skill":null)"},
    EmptyFeature{"list_skills", Kind::kEmpty, "skill_list", R"("skills":[])"},
    EmptyFeature{"remove_skill", Kind::kEcho, "skill_ack", R"("action":"not_found")", "name"},
    EmptyFeature{"vault_list", Kind::kEmpty, "vault_list_result", R"("entries":[])"},
    EmptyFeature{"vault_delete", Kind::kEcho, "vault_ack", R"("action":"not_found")", "key"},
    EmptyFeature{"vault_get", Kind::kEmpty, "vault_get_result", R"("entries":[])"},
    EmptyFeature{"list_webhooks", Kind::kEmpty, "webhook_list", R"("webhooks":[])"},
    EmptyFeature{"watch_list", Kind::kEmpty, "watch_list_result", R"("watches":[])"},
    EmptyFeature{"peer_file_response", Kind::kSilent},
    EmptyFeature{"peer_dir_response", Kind::kSilent},
};

const EmptyFeature* find_feature(std::string_view request) {
  for (const EmptyFeature& feature : kFeatures) {
    if (feature.request == request) {
      return &feature;
    }
  }
  return nullptr;
}

std::string reply_of(const EmptyFeature& feature, const JsonValue& frame) {
  std::string out;
  protocol::ObjectWriter object(out, feature.reply_type);
  if (feature.kind == Kind::kEcho) {
    object.text(feature.field, text_member(frame, feature.field));
  }
  out.push_back(',');
  out += feature.body;
  object.text_if("_reqId", request_id(frame));
  object.close();
  return out;
}

// The original puts the request id into `id`; some clients look for `_reqId`: both are set.
std::string topic_not_found(std::string_view topic, const JsonValue& frame) {
  protocol::ErrorFrame error;
  error.code = "topic_not_found";
  error.message = "topic \"" + std::string(topic) + "\" not found";
  error.id = request_id(frame);
  error.req_id = request_id(frame);
  std::string out;
  protocol::write_error(out, error);
  return out;
}

std::string clock_status(const JsonValue& frame) {
  return error_frame("no_clock", "No clock running for this mesh", request_id(frame));
}

// Acks whose id is the object's id, also for unknown ids.
std::string object_ack(std::string_view id, const JsonValue& frame) {
  std::string out;
  protocol::ObjectWriter object(out, "ack");
  object.text("id", id);
  object.text("messageId", id);
  object.boolean("queued", false);
  object.text_if("_reqId", request_id(frame));
  object.close();
  return out;
}

}  // namespace

std::string empty_feature_reply(std::string_view type, const JsonValue& frame) {
  if (type == "forget") {
    return object_ack(text_member(frame, "memoryId"), frame);
  }
  if (type == "delete_file") {
    return object_ack(text_member(frame, "fileId"), frame);
  }
  if (type == "vector_delete") {
    return object_ack(text_member(frame, "id"), frame);
  }
  if (type == "pause_clock" || type == "resume_clock") {
    return clock_status(frame);
  }
  const EmptyFeature* feature = find_feature(type);
  if (feature == nullptr) {
    return error_frame("feature_unavailable", "this broker does not serve " + std::string(type), request_id(frame));
  }
  switch (feature->kind) {
    case Kind::kSilent:
      return {};
    case Kind::kTopic:
      return topic_not_found(text_member(frame, feature->field), frame);
    case Kind::kNotFound:
      return error_frame("not_found", "file not found", request_id(frame));
    case Kind::kEmpty:
    case Kind::kEcho:
      break;
  }
  return reply_of(*feature, frame);
}

}  // namespace cm::broker
