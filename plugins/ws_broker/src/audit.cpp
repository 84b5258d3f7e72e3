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
  writes_.add([sql = sql_, entry = std::move(entry)](SqlTransaction& tx) { return sql->append_audit(tx, {entry}); });
}

}  // namespace cm::broker
