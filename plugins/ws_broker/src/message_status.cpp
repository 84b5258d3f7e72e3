// `message_status` (wire/02 section 4.3): the one request that reads the store. Its reply keeps its place behind the
// acks of earlier sends, and it sees what was acknowledged before it came.
#include <algorithm>

#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/encoding.hpp"
#include "protocol/ids.hpp"
#include "protocol/wire_parse.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

namespace {

constexpr std::size_t kPubkeyHint = 16;  // characters shown of a target that is not connected

struct Lookup {
  std::vector<StatusRow> messages;
  std::vector<StatusDelivery> deliveries;
};

// All delivered: when the last one was. A message without recipients counts as delivered when it was accepted.
std::optional<std::int64_t> delivered_at(const StatusRow& message, const std::vector<StatusDelivery>& deliveries) {
  std::int64_t latest = message.created_at_ms;
  for (const StatusDelivery& delivery : deliveries) {
    if (!delivery.delivered_at_ms) {
      return std::nullopt;
    }
    latest = std::max(latest, *delivery.delivered_at_ms);
  }
  return latest;
}

// A presence whose member the message was not for, its sender's above all, has the state of the whole message: it is
// listed too, as in the original, and would else be shown as waiting for ever.
std::string_view recipient_status(const Presence& presence, const Lookup& found, bool all_delivered) {
  const auto delivery = std::find_if(found.deliveries.begin(), found.deliveries.end(),
                                     [&](const StatusDelivery& row) { return row.member_id == presence.member->id; });
  const bool done = delivery == found.deliveries.end() ? all_delivered : delivery->delivered_at_ms.has_value();
  return done ? "delivered" : "held";
}

std::vector<protocol::MessageRecipient> recipients_of(const Mesh& mesh, const StatusRow& message, const Lookup& found,
                                                      bool all_delivered) {
  std::vector<protocol::MessageRecipient> recipients;
  const protocol::TargetSpec target = protocol::classify_target(message.target_spec);
  const bool multicast = target.kind == protocol::TargetKind::kBroadcast || target.kind == protocol::TargetKind::kGroup;
  for (const auto& [number, presence] : mesh.presences) {
    const bool meant = multicast ? target.kind == protocol::TargetKind::kBroadcast || presence->in_group(target.value)
                                 : presence->routing_key() == message.target_spec;
    if (meant) {
      recipients.push_back({presence->display_name, presence->routing_key(),
                            std::string(recipient_status(*presence, found, all_delivered))});
      if (!multicast) {
        return recipients;
      }
    }
  }
  if (!multicast) {
    recipients.push_back({"unknown", message.target_spec.substr(0, kPubkeyHint), "disconnected"});
  }
  return recipients;
}

std::string answer(const Mesh& mesh, const protocol::MessageStatusRequest& request, const Lookup& found) {
  if (found.messages.empty()) {
    return error_frame("not_found", "message not found", request.req_id);
  }
  if (found.messages.size() > 1) {
    return error_frame("ambiguous_prefix",
                       "prefix matched " + std::to_string(found.messages.size()) + " messages — use a longer id",
                       request.req_id);
  }
  const StatusRow& message = found.messages.front();
  protocol::MessageStatusResult result;
  result.message_id = request.message_id;
  result.target_spec = message.target_spec;
  if (const auto at_ms = delivered_at(message, found.deliveries)) {
    result.delivered = true;
    result.delivered_at = iso_time(*at_ms);
  }
  result.recipients = recipients_of(mesh, message, found, result.delivered);
  result.req_id = request.req_id;
  std::string out;
  protocol::write_message_status_result(out, result);
  return out;
}

Status look_up(SqlTransaction& tx, const StoreSql& sql, const std::string& mesh_id, const std::string& prefix,
               Lookup& out) {
  const Status status = sql.find_messages(tx, mesh_id, prefix, out.messages);
  if (!status.ok() || out.messages.size() != 1) {
    return status;
  }
  return sql.deliveries_of(tx, out.messages.front().seq, out.deliveries);
}

}  // namespace

void handle_message_status(Broker& broker, Connection& connection, const protocol::JsonValue& frame) {
  const auto parsed = protocol::parse_message_status(frame);
  protocol::MessageStatusRequest request;
  if (parsed.ok()) {
    request = *parsed;
  } else {
    request.req_id = request_id(frame);
  }
  if (!protocol::is_message_id_or_prefix(request.message_id)) {
    connection.reply(error_frame(
        "invalid_argument",
        "messageId must be 8-32 base62 chars (got " + std::to_string(protocol::utf16_length(request.message_id)) + ")",
        request.req_id));
    return;
  }
  Mesh& mesh = *connection.presence->mesh;
  const Connection::Ticket ticket = connection.reserve();
  const std::uint64_t number = connection.number();
  // A send that came before on any connection may still be collected; what was acknowledged must be written.
  broker.flush_accepts();
  broker.writes().flush([&broker, &mesh, number, ticket, request] {
    auto found = std::make_shared<Lookup>();
    Context& context = broker.context();
    context.storage.read(
        [sql = context.sql, mesh_id = mesh.id, prefix = request.message_id, found](SqlTransaction& tx) {
          return look_up(tx, *sql, mesh_id, prefix, *found);
        },
        [&broker, &mesh, number, ticket, request, found](Status status) {
          Connection* waiting = broker.find_connection(number);
          if (waiting == nullptr) {
            return;
          }
          waiting->answer(
              ticket, status.ok() ? answer(mesh, request, *found)
                                  : error_frame("internal", "the store cannot be read now; ask again", request.req_id));
        });
  });
}

}  // namespace cm::broker
