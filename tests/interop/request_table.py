"""Every request of wire/02 sections 5 to 28 with its reply type, the reply in an empty mesh, and its error codes.

A broker may leave a feature out: then it is silent. What it may not do is answer with another type, with an
undocumented error code, or close the socket.
"""

import dataclasses

ANY = object()  # The field must be there; its value is free.
LIST = []
TEXT = str
NUMBER = (int, float)


@dataclasses.dataclass(frozen=True)
class Request:
    """`reply` is None for fire-and-forget. `empty` holds the fields that a reply in a fresh mesh must have: a type
    to be an instance of, ANY, or the exact value. `also` are further frames that a broker may send for old daemons."""

    kind: str
    fields: dict = dataclasses.field(default_factory=dict)
    reply: str = None
    empty: dict = dataclasses.field(default_factory=dict)
    errors: tuple = ()
    also: tuple = ()


def silent(kind, **fields):
    return Request(kind, fields)


KEY = "ab" * 32
ID = "z" * 32
EMPTY_CLOCK = {"speed": 0, "paused": True, "tick": 0, "simTime": TEXT, "startedAt": TEXT}
EMPTY_MESH = {
    "mesh": TEXT, "peers": NUMBER, "groups": list, "stateKeys": ANY, "memoryCount": 0, "fileCount": 0,
    "tasks": {"open": 0, "claimed": 0, "done": 0}, "streams": LIST, "tables": LIST, "collections": LIST,
    "yourName": TEXT, "yourGroups": list,
}
NO_TOPIC = {"reply": None, "errors": ("topic_not_found",)}
MODERATION = ("forbidden", "invalid", "not_found")

READS = [
    Request("list_peers", {}, "peers_list", {"peers": list}),
    Request("topic_list", {}, "topic_list_response", {"topics": list}),
    Request("topic_members", {"topic": "nowhere"}, "topic_members_response", errors=("topic_not_found",)),
    Request("topic_history", {"topic": "nowhere", "limit": 10}, "topic_history_response", errors=("topic_not_found",)),
    Request("apikey_list", {}, "apikey_list_response", {"keys": LIST}),
    Request("get_state", {"key": "missing"}, "state_result",
            {"key": "missing", "value": None, "updatedBy": "", "updatedAt": ""},
            also=("state_value", "state_data")),
    Request("list_state", {}, "state_list", {"entries": LIST}),
    Request("recall", {"query": "nothing"}, "memory_results", {"memories": LIST}, also=("memory_recall_result",)),
    Request("list_files", {}, "file_list", {"files": LIST}),
    Request("get_file", {"fileId": ID}, "file_url", errors=("not_found",)),
    Request("file_status", {"fileId": ID}, "file_status_result", {"fileId": ID, "accesses": LIST},
            errors=("not_found",)),
    Request("get_context", {"query": "nothing"}, "context_results", {"contexts": LIST}),
    Request("list_contexts", {}, "context_list", {"contexts": LIST}),
    Request("list_tasks", {}, "task_list", {"tasks": LIST}),
    Request("list_streams", {}, "stream_list", {"streams": LIST}),
    Request("vector_search", {"collection": "c", "query": "q"}, "vector_results", {"results": LIST}),
    Request("list_collections", {}, "collection_list", {"collections": LIST}),
    Request("graph_query", {"cypher": "MATCH (n) RETURN n"}, "graph_result", {"records": LIST},
            errors=("graph_error",)),
    Request("mesh_query", {"sql": "SELECT 1"}, "mesh_query_result", {"columns": list, "rows": list, "rowCount": NUMBER},
            errors=("query_error",)),
    Request("mesh_schema", {}, "mesh_schema_result", {"tables": LIST}, errors=("schema_error",)),
    Request("mesh_info", {}, "mesh_info_result", EMPTY_MESH),
    Request("list_scheduled", {}, "scheduled_list", {"messages": LIST}),
    Request("get_clock", {}, "clock_status", EMPTY_CLOCK),
    Request("audit_query", {"limit": 5}, "audit_result", {"entries": list, "total": NUMBER},
            errors=("audit_query_error",)),
    Request("audit_verify", {}, "audit_verify_result", {"valid": True, "entries": NUMBER},
            errors=("audit_verify_error",)),
    Request("mcp_list", {}, "mcp_list_result", {"servers": LIST}),
    Request("mcp_catalog", {}, "mcp_catalog_result", {"services": LIST}, errors=("catalog_error",)),
    Request("mcp_logs", {"server_name": "s"}, "mcp_logs_result", {"server_name": "s", "lines": LIST}),
    Request("mcp_schema", {"server_name": "s"}, "mcp_schema_result", {"server_name": "s"}, errors=("schema_error",)),
    Request("mcp_scope", {"server_name": "s"}, "mcp_scope_result", {"server_name": "s", "scope": {"type": "peer"},
                                                                    "deployed_by": "unknown"}, errors=("scope_error",)),
    Request("list_skills", {}, "skill_list", {"skills": LIST}),
    Request("get_skill", {"name": "none"}, "skill_data", {"skill": None}),
    Request("vault_list", {}, "vault_list_result", {"entries": LIST}, errors=("vault_error",)),
    Request("vault_get", {"keys": ["k"]}, "vault_get_result", {"entries": LIST}, errors=("vault_error",)),
    Request("list_webhooks", {}, "webhook_list", {"webhooks": LIST}),
    Request("watch_list", {}, "watch_list_result", {"watches": LIST}),
    Request("list_bans", {}, "list_bans_result", {"bans": LIST}),
    Request("message_status", {"messageId": ID}, "message_status_result", errors=("not_found",)),
]

WRITES = [
    silent("set_status", status="working"),
    silent("set_summary", summary="busy"),
    silent("set_stats", stats={"messagesIn": 0, "messagesOut": 0, "toolCalls": 0, "errors": 0, "uptime": 1}),
    silent("join_group", name="dev", role="lead"),
    silent("leave_group", name="dev"),
    Request("set_visible", {"visible": True}, "ack", {"queued": False}),
    Request("set_profile", {"title": "t"}, "ack", {"queued": False}),
    Request("topic_create", {"name": "general-2"}, "topic_created", {"topic": dict, "created": True}),
    Request("topic_join", {"topic": "nowhere"}, **NO_TOPIC),
    Request("topic_leave", {"topic": "nowhere"}, **NO_TOPIC),
    Request("topic_mark_read", {"topic": "nowhere"}, **NO_TOPIC),
    Request("apikey_create", {"label": "cli-read-1", "capabilities": ["read"]}, "apikey_created",
            {"id": TEXT, "secret": TEXT, "label": "cli-read-1", "prefix": TEXT, "capabilities": ["read"],
             "topicScopes": None}),
    Request("apikey_create", {"label": "", "capabilities": []}, "apikey_created", errors=("invalid_args",)),
    Request("apikey_revoke", {"id": "nothing"}, "apikey_revoke_response", {"status": "not_found"}),
    silent("set_state", key="k", value={"a": 1}),
    Request("remember", {"content": "the sky is blue", "tags": ["t"]}, "memory_stored", {"id": TEXT}),
    Request("forget", {"memoryId": ID}, "ack", {"id": ID, "messageId": ID, "queued": False}),
    Request("delete_file", {"fileId": ID}, "ack", {"queued": False}, errors=("not_found",)),
    Request("grant_file_access", {"fileId": ID, "peerPubkey": KEY, "sealedKey": "x"}, "grant_file_access_ok",
            errors=("not_found", "forbidden")),
    Request("share_context", {"summary": "s", "tags": ["t"]}, "context_shared", {"id": TEXT}),
    Request("create_task", {"title": "t"}, "task_created", {"id": TEXT}),
    Request("claim_task", {"taskId": ID}, "task_list", errors=("task_not_claimable",)),
    Request("complete_task", {"taskId": ID}, "task_list", errors=("task_not_found",)),
    Request("create_stream", {"name": "s"}, "stream_created", {"id": TEXT, "name": "s"}),
    Request("subscribe", {"stream": "s"}, "subscribed", {"stream": "s"}),
    silent("publish", stream="s", data={"n": 1}),
    silent("unsubscribe", stream="s"),
    Request("vector_store", {"collection": "c", "text": "t"}, "vector_stored", {"id": TEXT}, errors=("vector_error",)),
    Request("vector_delete", {"collection": "c", "id": ID}, "ack", {"queued": False}),
    Request("graph_execute", {"cypher": "CREATE (n)"}, "graph_result", {"records": list}, errors=("graph_error",)),
    Request("mesh_execute", {"sql": "CREATE TABLE t (a int)"}, "mesh_query_result", {"columns": LIST, "rows": LIST},
            errors=("execute_error",)),
    Request("schedule", {"to": "*", "message": "m", "deliverAt": 32503680000000}, "scheduled_ack",
            {"scheduledId": TEXT, "deliverAt": 32503680000000}, errors=("invalid_cron",)),
    Request("schedule", {"to": "*", "message": "m", "deliverAt": 0, "cron": "not a cron"}, "scheduled_ack",
            errors=("invalid_cron",)),
    Request("cancel_scheduled", {"scheduledId": ID}, "cancel_scheduled_ack", {"scheduledId": ID, "ok": False}),
    Request("pause_clock", {}, "clock_status", errors=("no_clock",)),
    Request("resume_clock", {}, "clock_status", errors=("no_clock",)),
    Request("mcp_register", {"serverName": "m", "description": "d", "tools": []}, "mcp_register_ack",
            {"serverName": "m", "toolCount": 0}),
    silent("mcp_unregister", serverName="m"),
    Request("mcp_call", {"serverName": "none", "toolName": "t", "args": {}}, "mcp_call_result",
            {"error": 'MCP server "none" not found in mesh'}),
    silent("mcp_call_response", callId="nobody asked", result=1),
    Request("mcp_deploy", {"server_name": "bad name!", "source": {"type": "npx", "package": "p"}}, "mcp_deploy_status",
            errors=("invalid_name", "deploy_error", "limit")),
    Request("mcp_undeploy", {"server_name": "none"}, "mcp_deploy_status", {"server_name": "none", "status": "stopped"},
            errors=("undeploy_error",)),
    Request("mcp_update", {"server_name": "none"}, "mcp_deploy_status", {"server_name": "none"},
            errors=("deploy_error",)),
    Request("skill_deploy", {"source": {"type": "git", "url": "x"}}, "skill_deploy_ack", {"files": list},
            errors=("deploy_error",)),
    Request("share_skill", {"name": "s", "description": "d", "instructions": "i"}, "skill_ack",
            {"name": "s", "action": "shared"}),
    Request("remove_skill", {"name": "none"}, "skill_ack", {"name": "none", "action": "not_found"}),
    Request("vault_set", {"key": "k", "ciphertext": "c", "nonce": "n", "sealed_key": "s", "entry_type": "env"},
            "vault_ack",
            {"key": "k", "action": "stored"}, errors=("vault_error",)),
    Request("vault_delete", {"key": "none"}, "vault_ack", {"key": "none", "action": "not_found"},
            errors=("vault_error",)),
    Request("create_webhook", {"name": "w"}, "webhook_ack", {"name": "w", "url": TEXT, "secret": TEXT},
            errors=("invalid_webhook", "webhook_exists")),
    Request("create_webhook", {"name": ""}, "webhook_ack", errors=("invalid_webhook",)),
    Request("delete_webhook", {"name": "none"}, "webhook_ack", {"name": "none", "url": "", "secret": ""}),
    Request("unwatch", {"watchId": "w_none"}, "watch_ack", {"watchId": "w_none", "interval": 0}),
    Request("peer_file_request", {"targetPubkey": KEY, "filePath": "a"}, "peer_file_response_forward",
            errors=("peer_not_found",)),
    Request("peer_dir_request", {"targetPubkey": KEY, "dirPath": "."}, "peer_dir_response_forward",
            errors=("peer_not_found",)),
    silent("peer_file_response", requesterPubkey=KEY, filePath="a", content=""),
    silent("peer_dir_response", requesterPubkey=KEY, dirPath=".", entries=[]),
    Request("kick", {"target": "nobody"}, "kick_ack", errors=MODERATION),
    Request("disconnect", {"target": "nobody"}, "disconnect_ack", errors=MODERATION),
    Request("ban", {"target": "nobody"}, "ban_ack", errors=MODERATION),
    Request("unban", {"target": "nobody"}, "unban_ack", errors=MODERATION),
    silent("client_ack"),
]


def shape_error(frame, request):
    """None when `frame` has the documented shape, else what is wrong with it."""
    for name, wanted in request.empty.items():
        if name not in frame:
            return f"{name} is missing"
        found = frame[name]
        if wanted is ANY:
            continue
        if isinstance(wanted, (type, tuple)):
            if not isinstance(found, wanted):
                return f"{name} is {found!r}, expected {wanted}"
        elif found != wanted or isinstance(found, bool) != isinstance(wanted, bool):
            return f"{name} is {found!r}, expected {wanted!r}"
    return None
