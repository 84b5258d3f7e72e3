// What recipients confirm: rows of the queue at once, others after the store has looked for them.
#include <utility>

#include "plugins/ws_broker/src/delivery.hpp"

namespace cm::broker {

bool Delivery::client_ack(Presence& presence, std::string_view message_id, std::string_view client_message_id,
                          std::function<void()> settled) {
  Member& member = *presence.member;
  presence.acknowledges = true;
  if (!member.queue || (message_id.empty() && client_message_id.empty())) {
    return false;
  }
  if (const QueueRow* row = member.queue->find(message_id, client_message_id)) {
    if (row->key.empty() || row->key == presence.session_key) {
      delivered(member, row->message->seq);
      load_more(member);
    }
    return false;
  }
  if (member.queue->complete) {
    return false;  // nothing undelivered is unknown here
  }
  return acknowledge_stored(presence, message_id, client_message_id, std::move(settled));
}

bool Delivery::acknowledge_stored(Presence& presence, std::string_view message_id, std::string_view client_message_id,
                                  std::function<void()> settled) {
  Member& member = *presence.member;
  if (member.open_acks >= kOpenAcksMax) {
    context_.metrics.drops.add("client_ack");
    return false;
  }
  SqlWork work = [sql = context_.sql, mesh_id = member.mesh->id, member_id = member.id, key = presence.session_key,
                  id = std::string(message_id), client_id = std::string(client_message_id),
                  at_ms = context_.wall_ms()](SqlTransaction& tx) {
    return sql->acknowledge(tx, mesh_id, member_id, key, id, client_id, at_ms);
  };
  const bool added = writes_.add(std::move(work), [&member, settled = std::move(settled)] {
    --member.open_acks;
    settled();
  });
  member.open_acks += added ? 1 : 0;
  return added;
}

void Delivery::delivered(Member& member, std::int64_t seq) {
  member.queue->erase(seq);
  context_.metrics.deliveries.add();
  add_depth(-1);
  writes_.add([sql = context_.sql, seq, member_id = member.id, at_ms = context_.wall_ms()](SqlTransaction& tx) {
    return sql->mark_delivered(tx, seq, member_id, at_ms);
  });
}

}  // namespace cm::broker
