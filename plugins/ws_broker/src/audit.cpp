#include "plugins/ws_broker/src/audit.hpp"

#include "plugins/ws_broker/src/text.hpp"
#include "protocol/canonical_json.hpp"

namespace cm::broker {

void AuditLog::append(const Mesh& mesh, std::string_view event, const Member* actor,
                      const protocol::JsonValue& payload) {
  auto canonical = protocol::canonical_json_js(payload);
  if (!canonical.ok()) {
    host_.log(LogLevel::kError, "audit log insert failed", {{"error", canonical.error().message}});
    return;
  }
  AuditEntry entry;
  entry.mesh_id = mesh.id;
  entry.event_type = event;
  if (actor != nullptr) {
    entry.actor_member_id = actor->id;
    entry.actor_display_name = actor->display_name;
  }
  entry.payload_json = std::move(*canonical);
  entry.created_at = iso_time(host_.unix_ms());
  if (waiting_.size() >= kWaitingMax) {
    metrics_.drops.add("audit");
    return;
  }
  waiting_.push_back(std::move(entry));
  writes_.wake();
}

// All entries since the last batch in one write, so that the end of each chain is read once.
SqlWork AuditLog::collect() {
  auto entries = std::make_shared<const std::vector<AuditEntry>>(std::exchange(waiting_, {}));
  return [sql = sql_, entries = std::move(entries)](SqlTransaction& tx) { return sql->append_audit(tx, *entries); };
}

}  // namespace cm::broker
