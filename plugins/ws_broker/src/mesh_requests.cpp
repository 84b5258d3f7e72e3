// Requests about the mesh as a whole: its summary and its audit log (wire/02 sections 17 and 20).
#include <algorithm>
#include <set>

#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/object_writer.hpp"

namespace cm::broker {

using protocol::JsonValue;
using protocol::ObjectWriter;

namespace {

constexpr double kAuditLimitDefault = 50;
constexpr double kAuditLimitMax = 500;

std::int64_t clamped(const JsonValue& frame, std::string_view name, double fallback, double min, double max) {
  const JsonValue* value = frame.find(name);
  const double* number = value == nullptr ? nullptr : value->as_number();
  return static_cast<std::int64_t>(std::clamp(number == nullptr ? fallback : *number, min, max));
}

std::string audit_result(const AuditPage& page, const JsonValue& frame) {
  std::string out;
  ObjectWriter object(out, "audit_result");
  object.key("entries");
  out.push_back('[');
  for (std::size_t i = 0; i < page.rows.size(); ++i) {
    const AuditRow& row = page.rows[i];
    if (i != 0) {
      out.push_back(',');
    }
    ObjectWriter entry(out);
    entry.integer("id", row.id);
    entry.text("eventType", row.entry.event_type);
    row.entry.actor_member_id.empty() ? entry.raw("actor", "null") : entry.text("actor", row.entry.actor_member_id);
    entry.raw("payload", row.entry.payload_json);
    entry.text("hash", row.hash);
    entry.text("createdAt", row.entry.created_at);
    entry.close();
  }
  out.push_back(']');
  object.integer("total", page.total);
  object.text_if("_reqId", request_id(frame));
  object.close();
  return out;
}

std::string verify_result(const AuditVerdict& verdict, const JsonValue& frame) {
  std::string out;
  ObjectWriter object(out, "audit_verify_result");
  object.boolean("valid", !verdict.broken_at.has_value());
  object.integer("entries", verdict.entries);
  if (verdict.broken_at) {
    object.integer("brokenAt", *verdict.broken_at);
  }
  object.text_if("_reqId", request_id(frame));
  object.close();
  return out;
}

void end_audit_read(Broker& broker, const std::string& mesh_id) {
  Broker::AuditReads& reads = broker.audit_reads();
  reads.meshes.erase(mesh_id);
  reads.waiting.pop_front();
  if (!reads.waiting.empty()) {
    const std::function<void()> next = reads.waiting.front();
    next();
  }
}

// Reads with `read` after everything that was to be written is written; the reply keeps its place. An audit log may be
// long: read more than one at a time, and a member who asks again and again would keep the store's readers from the
// messages of all meshes.
void answer_from_store(Broker& broker, Connection& connection, const JsonValue& frame, std::string_view error_code,
                       SqlWork read, std::function<std::string()> reply) {
  Broker::AuditReads& reads = broker.audit_reads();
  const std::string mesh_id = connection.presence->mesh->id;
  if (!reads.meshes.insert(mesh_id).second) {
    connection.reply(error_frame(error_code, "the audit log is being read for another request; ask again after it",
                                 request_id(frame)));
    return;
  }
  const Connection::Ticket ticket = connection.reserve();
  const std::uint64_t number = connection.number();
  const auto answered = [&broker, number, ticket, frame, error_code, mesh_id, reply = std::move(reply)](Status status) {
    if (Connection* waiting = broker.find_connection(number)) {
      waiting->answer(ticket, status.ok()
                                  ? reply()
                                  : error_frame(error_code, "the audit log cannot be read now", request_id(frame)));
    }
    end_audit_read(broker, mesh_id);
  };
  reads.waiting.emplace_back([&broker, read = std::move(read), answered] {
    broker.writes().flush([&broker, read, answered] { broker.context().storage.read(read, answered); });
  });
  if (reads.waiting.size() == 1) {
    const std::function<void()> first = reads.waiting.front();
    first();
  }
}

}  // namespace

void handle_audit_query(Broker& broker, Connection& connection, const JsonValue& frame) {
  const std::int64_t limit = clamped(frame, "limit", kAuditLimitDefault, 1, kAuditLimitMax);
  const std::int64_t offset = clamped(frame, "offset", 0, 0, 1e12);
  auto page = std::make_shared<AuditPage>();
  answer_from_store(
      broker, connection, frame, "audit_query_error",
      [sql = broker.context().sql, mesh_id = connection.presence->mesh->id,
       type = std::string(text_member(frame, "eventType")), limit, offset,
       page](SqlTransaction& tx) { return sql->audit_page(tx, mesh_id, type, limit, offset, *page); },
      [page, frame] { return audit_result(*page, frame); });
}

void handle_audit_verify(Broker& broker, Connection& connection, const JsonValue& frame) {
  auto verdict = std::make_shared<AuditVerdict>();
  answer_from_store(
      broker, connection, frame, "audit_verify_error",
      [sql = broker.context().sql, mesh_id = connection.presence->mesh->id, verdict](SqlTransaction& tx) {
        return sql->verify_audit(tx, mesh_id, *verdict);
      },
      [verdict, frame] { return verify_result(*verdict, frame); });
}

void handle_mesh_info(Broker& broker, Connection& connection, const JsonValue& frame) {
  const Presence& caller = *connection.presence;
  std::set<std::string> groups;
  std::int64_t peers = 0;
  for (const auto& [number, presence] : caller.mesh->presences) {
    if (presence->visible || presence->member == caller.member) {
      ++peers;
      for (const protocol::GroupMembership& group : presence->groups) {
        groups.insert("@" + group.name);
      }
    }
  }
  JsonValue::Array names;
  for (const std::string& group : groups) {
    names.emplace_back(group);
  }
  std::string out;
  ObjectWriter object(out, "mesh_info_result");
  object.text("mesh", caller.mesh->id);
  object.integer("peers", peers);
  object.raw("groups", protocol::to_json(JsonValue(std::move(names))));
  object.raw("stateKeys", "[]");
  object.integer("memoryCount", 0);
  object.integer("fileCount", 0);
  object.raw("tasks", R"({"open":0,"claimed":0,"done":0})");
  object.raw("streams", "[]");
  object.raw("tables", "[]");
  object.raw("collections", "[]");
  object.text("yourName", caller.display_name);
  object.raw("yourGroups", groups_json(caller.groups));
  object.text_if("_reqId", request_id(frame));
  object.close();
  if (broker.messages().has_contributors("mesh_info")) {
    broker.messages().contribute("mesh_info", caller, protocol::to_json(frame), out);
  }
  connection.reply(std::move(out));
}

}  // namespace cm::broker
