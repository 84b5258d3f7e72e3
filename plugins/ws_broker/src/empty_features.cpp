// Requests of features that this broker does not serve get the reply that an empty feature gives (wire/02), so that a
// 1.37.0 client goes on at once instead of waiting for its time-out. Where the protocol has an error code it is used;
// a request that would have to be kept and has no error code in the protocol stays without a reply, as a success would
// be a lie and an unknown code would end a session.
#include "plugins/ws_broker/src/empty_features.hpp"

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
  kReply,  // type, the repeated field, body
  kAck,    // an ack whose id and messageId are the field
  kError,  // type is the code, body the message
  kTopic,  // topic_not_found for the field
};

struct EmptyFeature {
  std::string_view request;
  Kind kind;
  std::string_view type = {};
  std::string_view body = {};   // members without braces; may be empty
  std::string_view field = {};  // of the request; empty: none
};

constexpr std::array kFeatures = {
    EmptyFeature{"topic_list", Kind::kReply, "topic_list_response", R"("topics":[])"},
    EmptyFeature{"topic_join", Kind::kTopic, {}, {}, "topic"},
    EmptyFeature{"topic_leave", Kind::kTopic, {}, {}, "topic"},
    EmptyFeature{"topic_members", Kind::kTopic, {}, {}, "topic"},
    EmptyFeature{"topic_history", Kind::kTopic, {}, {}, "topic"},
    EmptyFeature{"topic_mark_read", Kind::kTopic, {}, {}, "topic"},
    EmptyFeature{"apikey_list", Kind::kReply, "apikey_list_response", R"("keys":[])"},
    EmptyFeature{"apikey_revoke", Kind::kReply, "apikey_revoke_response", R"("status":"not_found")"},
    EmptyFeature{"get_state", Kind::kReply, "state_result", R"("value":null,"updatedBy":"","updatedAt":"")", "key"},
    EmptyFeature{"list_state", Kind::kReply, "state_list", R"("entries":[])"},
    EmptyFeature{"recall", Kind::kReply, "memory_results", R"("memories":[])"},
    EmptyFeature{"forget", Kind::kAck, {}, {}, "memoryId"},
    EmptyFeature{"get_file", Kind::kError, "not_found", "file not found"},
    EmptyFeature{"list_files", Kind::kReply, "file_list", R"("files":[])"},
    EmptyFeature{"file_status", Kind::kReply, "file_status_result", R"("accesses":[])", "fileId"},
    EmptyFeature{"delete_file", Kind::kAck, {}, {}, "fileId"},
    EmptyFeature{"grant_file_access", Kind::kError, "not_found", "file not found"},
    EmptyFeature{"get_context", Kind::kReply, "context_results", R"("contexts":[])"},
    EmptyFeature{"list_contexts", Kind::kReply, "context_list", R"("contexts":[])"},
    EmptyFeature{"list_tasks", Kind::kReply, "task_list", R"("tasks":[])"},
    EmptyFeature{"claim_task", Kind::kError, "task_not_claimable", "task is not open or does not exist"},
    EmptyFeature{"complete_task", Kind::kError, "task_not_found", "task not found in this mesh"},
    EmptyFeature{"list_streams", Kind::kReply, "stream_list", R"("streams":[])"},
    EmptyFeature{"vector_store", Kind::kError, "vector_error", "this broker keeps no vectors"},
    EmptyFeature{"vector_search", Kind::kReply, "vector_results", R"("results":[])"},
    EmptyFeature{"vector_delete", Kind::kAck, {}, {}, "id"},
    EmptyFeature{"list_collections", Kind::kReply, "collection_list", R"("collections":[])"},
    EmptyFeature{"graph_query", Kind::kError, "graph_error", "this broker keeps no graph"},
    EmptyFeature{"graph_execute", Kind::kError, "graph_error", "this broker keeps no graph"},
    EmptyFeature{"mesh_query", Kind::kError, "query_error", "this broker keeps no tables for meshes"},
    EmptyFeature{"mesh_execute", Kind::kError, "execute_error", "this broker keeps no tables for meshes"},
    EmptyFeature{"mesh_schema", Kind::kReply, "mesh_schema_result", R"("tables":[])"},
    EmptyFeature{"list_scheduled", Kind::kReply, "scheduled_list", R"("messages":[])"},
    EmptyFeature{"cancel_scheduled", Kind::kReply, "cancel_scheduled_ack", R"("ok":false)", "scheduledId"},
    EmptyFeature{"pause_clock", Kind::kError, "no_clock", "No clock running for this mesh"},
    EmptyFeature{"resume_clock", Kind::kError, "no_clock", "No clock running for this mesh"},
    EmptyFeature{"mcp_list", Kind::kReply, "mcp_list_result", R"("servers":[])"},
    EmptyFeature{"mcp_deploy", Kind::kError, "deploy_error", "this broker runs no services"},
    EmptyFeature{"mcp_undeploy", Kind::kReply, "mcp_deploy_status", R"("status":"stopped")", "server_name"},
    EmptyFeature{"mcp_update", Kind::kError, "deploy_error", "this broker runs no services"},
    EmptyFeature{"mcp_logs", Kind::kReply, "mcp_logs_result", R"("lines":[])", "server_name"},
    EmptyFeature{"mcp_scope", Kind::kReply, "mcp_scope_result", R"("scope":{"type":"peer"},"deployed_by":"unknown")",
                 "server_name"},
    EmptyFeature{"mcp_schema", Kind::kReply, "mcp_schema_result", R"("tools":[])", "server_name"},
    EmptyFeature{"mcp_catalog", Kind::kReply, "mcp_catalog_result", R"("services":[])"},
    EmptyFeature{"skill_deploy", Kind::kError, "deploy_error", "this broker runs no services"},
    EmptyFeature{"get_skill", Kind::kReply, "skill_data", R"("skill":null)"},
    EmptyFeature{"list_skills", Kind::kReply, "skill_list", R"("skills":[])"},
    EmptyFeature{"remove_skill", Kind::kReply, "skill_ack", R"("action":"not_found")", "name"},
    EmptyFeature{"vault_set", Kind::kError, "vault_error", "this broker keeps no vault"},
    EmptyFeature{"vault_list", Kind::kReply, "vault_list_result", R"("entries":[])"},
    EmptyFeature{"vault_delete", Kind::kReply, "vault_ack", R"("action":"not_found")", "key"},
    EmptyFeature{"vault_get", Kind::kReply, "vault_get_result", R"("entries":[])"},
    EmptyFeature{"create_webhook", Kind::kError, "invalid_webhook", "this broker serves no webhooks"},
    EmptyFeature{"list_webhooks", Kind::kReply, "webhook_list", R"("webhooks":[])"},
    EmptyFeature{"delete_webhook", Kind::kReply, "webhook_ack", R"("url":"","secret":"")", "name"},
    EmptyFeature{"unwatch", Kind::kReply, "watch_ack", R"("url":"","mode":"","interval":0)", "watchId"},
    EmptyFeature{"watch_list", Kind::kReply, "watch_list_result", R"("watches":[])"},
    EmptyFeature{"peer_file_request", Kind::kError, "peer_not_found", "target peer not connected"},
    EmptyFeature{"peer_dir_request", Kind::kError, "peer_not_found", "target peer not connected"},
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
  protocol::ObjectWriter object(out, feature.type);
  if (!feature.field.empty()) {
    object.text(feature.field, text_member(frame, feature.field));
  }
  out.push_back(',');
  out += feature.body;
  object.text_if("_reqId", request_id(frame));
  object.close();
  return out;
}

std::string ack_of(const EmptyFeature& feature, const JsonValue& frame) {
  const std::string_view id = text_member(frame, feature.field);
  const auto req_id = request_id(frame);
  protocol::AckView ack;
  ack.id = id;
  ack.message_id = id;
  if (req_id) {
    ack.req_id = *req_id;
  }
  std::string out;
  protocol::write_ack(out, ack);
  return out;
}

// The original puts the request id into `id`; newer clients look for `_reqId`: both are set.
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

std::string no_clock(const JsonValue& frame, std::int64_t wall_ms) {
  const std::string now = iso_time(wall_ms);
  std::string out;
  protocol::ObjectWriter object(out, "clock_status");
  object.integer("speed", 0);
  object.boolean("paused", true);
  object.integer("tick", 0);
  object.text("simTime", now);
  object.text("startedAt", now);
  object.text_if("_reqId", request_id(frame));
  object.close();
  return out;
}

std::string no_mcp_server(const JsonValue& frame) {
  std::string out;
  protocol::ObjectWriter object(out, "mcp_call_result");
  object.text("error", "MCP server \"" + std::string(text_member(frame, "serverName")) + "\" not found in mesh");
  object.text_if("_reqId", request_id(frame));
  object.close();
  return out;
}

}  // namespace

std::string empty_feature_daemon_reply(std::string_view type, const JsonValue& frame) {
  const bool state = type == "get_state";
  const auto req_id = request_id(frame);
  if ((!state && type != "recall") || !req_id) {
    return {};
  }
  std::string out;
  protocol::ObjectWriter object(out, state ? "state_value" : "memory_recall_result");
  state ? object.raw("state", "null") : object.raw("matches", "[]");
  object.text("_reqId", *req_id);
  object.close();
  return out;
}

std::string empty_feature_reply(std::string_view type, const JsonValue& frame, std::int64_t wall_ms) {
  if (type == "get_clock") {
    return no_clock(frame, wall_ms);
  }
  if (type == "mcp_call") {
    return no_mcp_server(frame);
  }
  const EmptyFeature* feature = find_feature(type);
  if (feature == nullptr) {
    return {};
  }
  switch (feature->kind) {
    case Kind::kReply:
      return reply_of(*feature, frame);
    case Kind::kAck:
      return ack_of(*feature, frame);
    case Kind::kError:
      return error_frame(feature->type, feature->body, request_id(frame));
    case Kind::kTopic:
      return topic_not_found(text_member(frame, feature->field), frame);
  }
  return {};
}

}  // namespace cm::broker
