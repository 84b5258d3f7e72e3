// The names of all wire messages (wire/02): the 101 that a client of 1.37.0 may send, the 73 that a broker emits, and
// the two of feature negotiation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

// clang-format off
// Client to broker, in the order of the protocol description.
#define CM_CLIENT_WIRE_TYPES(X) \
  X(kHello, "hello") \
  X(kSessionHello, "session_hello") \
  X(kSend, "send") \
  X(kClientAck, "client_ack") \
  X(kMessageStatus, "message_status") \
  X(kListPeers, "list_peers") \
  X(kSetStatus, "set_status") \
  X(kSetSummary, "set_summary") \
  X(kSetStats, "set_stats") \
  X(kSetVisible, "set_visible") \
  X(kSetProfile, "set_profile") \
  X(kJoinGroup, "join_group") \
  X(kLeaveGroup, "leave_group") \
  X(kTopicCreate, "topic_create") \
  X(kTopicList, "topic_list") \
  X(kTopicJoin, "topic_join") \
  X(kTopicLeave, "topic_leave") \
  X(kTopicMembers, "topic_members") \
  X(kTopicHistory, "topic_history") \
  X(kTopicMarkRead, "topic_mark_read") \
  X(kApikeyCreate, "apikey_create") \
  X(kApikeyList, "apikey_list") \
  X(kApikeyRevoke, "apikey_revoke") \
  X(kSetState, "set_state") \
  X(kGetState, "get_state") \
  X(kListState, "list_state") \
  X(kRemember, "remember") \
  X(kRecall, "recall") \
  X(kForget, "forget") \
  X(kGetFile, "get_file") \
  X(kListFiles, "list_files") \
  X(kFileStatus, "file_status") \
  X(kDeleteFile, "delete_file") \
  X(kGrantFileAccess, "grant_file_access") \
  X(kShareContext, "share_context") \
  X(kGetContext, "get_context") \
  X(kListContexts, "list_contexts") \
  X(kCreateTask, "create_task") \
  X(kClaimTask, "claim_task") \
  X(kCompleteTask, "complete_task") \
  X(kListTasks, "list_tasks") \
  X(kCreateStream, "create_stream") \
  X(kPublish, "publish") \
  X(kSubscribe, "subscribe") \
  X(kUnsubscribe, "unsubscribe") \
  X(kListStreams, "list_streams") \
  X(kVectorStore, "vector_store") \
  X(kVectorSearch, "vector_search") \
  X(kVectorDelete, "vector_delete") \
  X(kListCollections, "list_collections") \
  X(kGraphQuery, "graph_query") \
  X(kGraphExecute, "graph_execute") \
  X(kMeshQuery, "mesh_query") \
  X(kMeshExecute, "mesh_execute") \
  X(kMeshSchema, "mesh_schema") \
  X(kMeshInfo, "mesh_info") \
  X(kSchedule, "schedule") \
  X(kListScheduled, "list_scheduled") \
  X(kCancelScheduled, "cancel_scheduled") \
  X(kSetClock, "set_clock") \
  X(kPauseClock, "pause_clock") \
  X(kResumeClock, "resume_clock") \
  X(kGetClock, "get_clock") \
  X(kAuditQuery, "audit_query") \
  X(kAuditVerify, "audit_verify") \
  X(kMcpRegister, "mcp_register") \
  X(kMcpUnregister, "mcp_unregister") \
  X(kMcpList, "mcp_list") \
  X(kMcpCall, "mcp_call") \
  X(kMcpCallResponse, "mcp_call_response") \
  X(kMcpDeploy, "mcp_deploy") \
  X(kMcpUndeploy, "mcp_undeploy") \
  X(kMcpUpdate, "mcp_update") \
  X(kMcpLogs, "mcp_logs") \
  X(kMcpScope, "mcp_scope") \
  X(kMcpSchema, "mcp_schema") \
  X(kMcpCatalog, "mcp_catalog") \
  X(kSkillDeploy, "skill_deploy") \
  X(kShareSkill, "share_skill") \
  X(kGetSkill, "get_skill") \
  X(kListSkills, "list_skills") \
  X(kRemoveSkill, "remove_skill") \
  X(kVaultSet, "vault_set") \
  X(kVaultList, "vault_list") \
  X(kVaultDelete, "vault_delete") \
  X(kVaultGet, "vault_get") \
  X(kCreateWebhook, "create_webhook") \
  X(kListWebhooks, "list_webhooks") \
  X(kDeleteWebhook, "delete_webhook") \
  X(kWatch, "watch") \
  X(kUnwatch, "unwatch") \
  X(kWatchList, "watch_list") \
  X(kPeerFileRequest, "peer_file_request") \
  X(kPeerFileResponse, "peer_file_response") \
  X(kPeerDirRequest, "peer_dir_request") \
  X(kPeerDirResponse, "peer_dir_response") \
  X(kKick, "kick") \
  X(kDisconnect, "disconnect") \
  X(kBan, "ban") \
  X(kUnban, "unban") \
  X(kListBans, "list_bans")

// Broker to client.
#define CM_SERVER_WIRE_TYPES(X) \
  X(kHelloAck, "hello_ack") \
  X(kAck, "ack") \
  X(kError, "error") \
  X(kPush, "push") \
  X(kMessageStatusResult, "message_status_result") \
  X(kPeersList, "peers_list") \
  X(kTopicCreated, "topic_created") \
  X(kTopicListResponse, "topic_list_response") \
  X(kTopicMembersResponse, "topic_members_response") \
  X(kTopicHistoryResponse, "topic_history_response") \
  X(kApikeyCreated, "apikey_created") \
  X(kApikeyListResponse, "apikey_list_response") \
  X(kApikeyRevokeResponse, "apikey_revoke_response") \
  X(kStateChange, "state_change") \
  X(kStateResult, "state_result") \
  X(kStateList, "state_list") \
  X(kMemoryStored, "memory_stored") \
  X(kMemoryResults, "memory_results") \
  X(kFileUrl, "file_url") \
  X(kFileList, "file_list") \
  X(kFileStatusResult, "file_status_result") \
  X(kGrantFileAccessOk, "grant_file_access_ok") \
  X(kContextShared, "context_shared") \
  X(kContextResults, "context_results") \
  X(kContextList, "context_list") \
  X(kTaskCreated, "task_created") \
  X(kTaskList, "task_list") \
  X(kStreamCreated, "stream_created") \
  X(kStreamData, "stream_data") \
  X(kSubscribed, "subscribed") \
  X(kStreamList, "stream_list") \
  X(kVectorStored, "vector_stored") \
  X(kVectorResults, "vector_results") \
  X(kCollectionList, "collection_list") \
  X(kGraphResult, "graph_result") \
  X(kMeshQueryResult, "mesh_query_result") \
  X(kMeshSchemaResult, "mesh_schema_result") \
  X(kMeshInfoResult, "mesh_info_result") \
  X(kScheduledAck, "scheduled_ack") \
  X(kScheduledList, "scheduled_list") \
  X(kCancelScheduledAck, "cancel_scheduled_ack") \
  X(kClockStatus, "clock_status") \
  X(kAuditResult, "audit_result") \
  X(kAuditVerifyResult, "audit_verify_result") \
  X(kMcpRegisterAck, "mcp_register_ack") \
  X(kMcpListResult, "mcp_list_result") \
  X(kMcpCallResult, "mcp_call_result") \
  X(kMcpCallForward, "mcp_call_forward") \
  X(kMcpDeployStatus, "mcp_deploy_status") \
  X(kMcpLogsResult, "mcp_logs_result") \
  X(kMcpScopeResult, "mcp_scope_result") \
  X(kMcpSchemaResult, "mcp_schema_result") \
  X(kMcpCatalogResult, "mcp_catalog_result") \
  X(kSkillDeployAck, "skill_deploy_ack") \
  X(kSkillAck, "skill_ack") \
  X(kSkillData, "skill_data") \
  X(kSkillList, "skill_list") \
  X(kVaultAck, "vault_ack") \
  X(kVaultListResult, "vault_list_result") \
  X(kVaultGetResult, "vault_get_result") \
  X(kWebhookAck, "webhook_ack") \
  X(kWebhookList, "webhook_list") \
  X(kWatchAck, "watch_ack") \
  X(kWatchListResult, "watch_list_result") \
  X(kPeerFileRequestForward, "peer_file_request_forward") \
  X(kPeerFileResponseForward, "peer_file_response_forward") \
  X(kPeerDirRequestForward, "peer_dir_request_forward") \
  X(kPeerDirResponseForward, "peer_dir_response_forward") \
  X(kKickAck, "kick_ack") \
  X(kDisconnectAck, "disconnect_ack") \
  X(kBanAck, "ban_ack") \
  X(kUnbanAck, "unban_ack") \
  X(kListBansResult, "list_bans_result")

// Additive: negotiated features.
#define CM_NEGOTIATION_WIRE_TYPES(X) \
  X(kFeatureNegotiationRequest, "feature_negotiation_request") \
  X(kFeatureNegotiationResponse, "feature_negotiation_response")
// clang-format on

namespace cm::protocol {

#define CM_WIRE_ENUMERATOR(name, text) name,
enum class WireType : std::uint16_t {
  CM_CLIENT_WIRE_TYPES(CM_WIRE_ENUMERATOR)  // numbers 0 to 100
  CM_SERVER_WIRE_TYPES(CM_WIRE_ENUMERATOR)  // from 101
  CM_NEGOTIATION_WIRE_TYPES(CM_WIRE_ENUMERATOR) kUnknown,
};
#undef CM_WIRE_ENUMERATOR

inline constexpr std::size_t kClientWireTypeCount = 101;
inline constexpr std::size_t kServerWireTypeCount = 73;
inline constexpr std::size_t kWireTypeCount = static_cast<std::size_t>(WireType::kUnknown);
static_assert(kWireTypeCount == kClientWireTypeCount + kServerWireTypeCount + 2);

// Binary search over a constant table; kUnknown for a name that is not listed.
WireType wire_type(std::string_view name);
// The name on the wire; "unknown" for kUnknown.
std::string_view to_string(WireType type);
// True for the 101 client messages and for feature_negotiation_request.
bool is_client_type(WireType type);
bool is_server_type(WireType type);

}  // namespace cm::protocol
