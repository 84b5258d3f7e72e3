#include "plugins/ws_broker/src/delivery.hpp"

#include <algorithm>

#include "protocol/target.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

// --- pure rules -----------------------------------------------------------------------------------------------------

bool may_receive(const Presence& presence, const QueueRow& row) {
  const Message& message = *row.message;
  if (names_no_key(message.target_spec)) {
    return true;  // a feature listed this very member
  }
  const bool own_member = presence.member->id == message.sender_member_id;
  if (!row.multicast) {
    if (!row.key.empty() && presence.session_key != row.key) {
      return false;
    }
    // A session is known by its key, also under a presence that replaced the sending one: its client drops what carries
    // its own key, and does not confirm it. Connections without a session key share the member's.
    const bool by_number = message.sender_presence != 0 && presence.session_key.empty();
    const bool is_sender =
        by_number ? presence.number == message.sender_presence : presence.routing_key() == message.sender_pubkey;
    return !own_member || !is_sender;
  }
  if (own_member || !presence.visible) {
    return false;
  }
  const protocol::TargetSpec target = protocol::classify_target(message.target_spec);
  if (target.kind != protocol::TargetKind::kGroup) {
    return true;
  }
  const auto& defaults = presence.member->default_groups;
  return presence.in_group(target.value) ||
         std::any_of(defaults.begin(), defaults.end(), [&](const auto& group) { return group.name == target.value; });
}

bool suits_better(const Presence& a, const Presence& b, const Message& message) {
  if (a.acknowledges != b.acknowledges) {
    return a.acknowledges;
  }
  const bool a_is_target = a.routing_key() == message.target_spec;
  const bool b_is_target = b.routing_key() == message.target_spec;
  if (a_is_target != b_is_target) {
    return a_is_target;
  }
  const auto connection_number = [](const Presence& presence) {
    return presence.connection == nullptr ? 0 : presence.connection->number();
  };
  return connection_number(a) > connection_number(b);
}

bool names_no_key(std::string_view target_spec) {
  const protocol::TargetKind kind = protocol::classify_target(target_spec).kind;
  return kind == protocol::TargetKind::kTopic || kind == protocol::TargetKind::kName;
}

std::int64_t claim_duration_ms(std::uint32_t attempts_before, std::int64_t base_ms, std::int64_t max_ms) {
  std::int64_t duration_ms = base_ms;
  for (std::uint32_t i = 0; i < attempts_before && duration_ms < max_ms; ++i) {
    duration_ms *= 2;
  }
  return std::min(duration_ms, std::max(base_ms, max_ms));
}

void write_queued_push(std::string& out, const Message& message) {
  const std::string created_at = iso_time(message.created_at_ms);
  protocol::PushView push;
  push.message_id = message.id;
  push.mesh_id = message.mesh_id;
  push.sender_pubkey = message.sender_pubkey;
  if (protocol::classify_target(message.target_spec).kind != protocol::TargetKind::kKey) {
    push.target_spec = message.target_spec;
  }
  push.priority = message.priority;
  push.nonce = message.nonce;
  push.ciphertext = message.ciphertext;
  push.created_at = created_at;
  if (protocol::classify_target(message.target_spec).is_multicast()) {
    push.target_spec = message.target_spec;  // its body is not sealed, which nothing else in this frame tells
  }
  if (!message.client_message_id.empty()) {
    push.client_message_id = message.client_message_id;
  }
  if (!message.request_fingerprint.empty()) {
    push.request_fingerprint = message.request_fingerprint;
  }
  protocol::write_push(out, push);
}

// --- presences come and go ------------------------------------------------------------------------------------------

Delivery::Delivery(Context& context, WriteBehind& writes, std::function<std::int64_t()> first_unsettled_seq)
    : context_(context), writes_(writes), first_unsettled_seq_(std::move(first_unsettled_seq)) {}

bool Delivery::has_online(const Member& member) {
  return std::any_of(member.presences.begin(), member.presences.end(),
                     [](const Presence* presence) { return presence->online(); });
}

void Delivery::presence_online(Presence& presence) {
  Member& member = *presence.member;
  presence.congested = false;
  if (!member.queue) {
    member.queue = std::make_unique<MemberQueue>();
    member.queue->generation = next_generation_++;
    member.queue->complete = !member.may_have_rows;
    active_.insert(&member);
  } else {
    take_over_claims(presence);
  }
  drain(member);
}

// A daemon that was restarted comes back under a new session id while its old connection may still look alive for a
// while. What that one has not acknowledged goes to the new one now, before anything newer does.
void Delivery::take_over_claims(const Presence& presence) {
  MemberQueue& queue = *presence.member->queue;
  for (const Presence* older : presence.member->presences) {
    const bool same_client = older != &presence && older->online() && older->acknowledges && presence.acknowledges &&
                             older->routing_key() == presence.routing_key() && older->channel == presence.channel &&
                             older->hostname == presence.hostname;
    if (!same_client) {
      continue;
    }
    for (auto row = queue.claimed.begin(); row != queue.claimed.end();) {
      const auto next = std::next(row);
      if (row->second.claimed_by == older->connection->number()) {
        queue.release(row);
      }
      row = next;
    }
  }
}

void Delivery::presence_offline(Presence& presence, std::uint64_t connection) {
  Member& member = *presence.member;
  if (!member.queue) {
    return;
  }
  MemberQueue& queue = *member.queue;
  for (auto row = queue.claimed.begin(); row != queue.claimed.end();) {
    const auto next = std::next(row);
    // What a client that acknowledges has not confirmed by now will not be confirmed on this connection any more. A
    // client that never does may have shown it: there the claim has to run out.
    if (row->second.claimed_by == connection && row->second.claimed_by_acknowledging) {
      queue.release(row);
    }
    row = next;
  }
  if (has_online(member)) {
    drain(member);
  } else {
    drop_queue(member);
  }
}

void Delivery::drop_queue(Member& member) {
  const MemberQueue& queue = *member.queue;
  const std::int64_t now_ms = context_.now_ms();
  const std::int64_t wall_ms = context_.wall_ms();
  for (const MemberQueue::Rows* rows : {&queue.waiting, &queue.claimed}) {
    for (const auto& [seq, row] : *rows) {
      const std::int64_t left_ms = std::max<std::int64_t>(row.claim_until_ms - now_ms, 0);
      if (left_ms == 0 && row.attempts < 2) {
        continue;
      }
      // What is free is stored as free: a time of now would hold the row back once a clock that ran ahead is set right.
      const std::int64_t expires_ms = left_ms == 0 ? 0 : wall_ms + left_ms;
      writes_.add([sql = context_.sql, row_seq = seq, member_id = member.id, attempts = row.attempts,
                   claimed_by = std::to_string(row.claimed_by), expires_ms](SqlTransaction& tx) {
        return sql->mark_claimed(tx, row_seq, member_id, attempts, claimed_by, expires_ms);
      });
    }
  }
  member.may_have_rows = queue.size() != 0 || !queue.complete;
  member.queue.reset();
  active_.erase(&member);
}

void Delivery::socket_drained(Presence& presence) {
  presence.congested = false;
  drain(*presence.member);
}

void Delivery::stop() {
  for (Member* member : active_) {
    member->queue.reset();
  }
  active_.clear();
  touched_.clear();
}

// --- rows come in ---------------------------------------------------------------------------------------------------

void Delivery::add(const MessagePtr& message, const std::vector<Recipient>& recipients, bool multicast,
                   const std::shared_ptr<const SharedFrame>& live) {
  add_depth(static_cast<std::int64_t>(recipients.size()));
  for (const Recipient& recipient : recipients) {
    Member& member = *recipient.member;
    if (!member.queue) {
      member.may_have_rows = true;
      if (waiting_) {
        waiting_(member);
      }
      continue;
    }
    MemberQueue& queue = *member.queue;
    if (!queue.complete) {
      queue.missed = true;
      continue;
    }
    if (queue.size() >= context_.options.member_queue_rows || queue.bytes() >= kQueueBytesMax) {
      queue.complete = false;
      continue;
    }
    QueueRow row;
    row.message = message;
    row.key = recipient.key;
    row.live = live;
    row.multicast = multicast;
    queue.cursor = message->seq;
    queue.insert(std::move(row), context_.now_ms());
    touched_.push_back(&member);
  }
}

void Delivery::drain_touched() {
  std::vector<Member*> touched;
  touched.swap(touched_);
  std::sort(touched.begin(), touched.end(), [](const Member* a, const Member* b) { return a->id < b->id; });
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  for (Member* member : touched) {
    drain(*member);
  }
}

void Delivery::drain(Member& member) {
  if (!member.queue || !has_online(member)) {
    return;
  }
  MemberQueue& queue = *member.queue;
  for (auto row = queue.waiting.begin(); row != queue.waiting.end();) {
    const auto next = std::next(row);
    const std::int64_t seq = row->first;
    switch (push_row(member, row->second)) {
      case Push::kClaimed:
        queue.claim(row);
        break;
      case Push::kDelivered:
        delivered(member, seq);
        break;
      case Push::kNotPossible:
        break;
    }
    row = next;
  }
  load_more(member);
}

void Delivery::load_more(Member& member) {
  MemberQueue& queue = *member.queue;
  if (queue.complete || queue.loading || queue.size() * 2 > context_.options.member_queue_rows ||
      queue.bytes() * 2 > kQueueBytesMax) {
    return;
  }
  queue.loading = true;
  queue.missed = false;
  // Everything below the horizon is settled, so that the reader sees it; everything from there on passes add().
  const std::int64_t horizon = first_unsettled_seq_();
  // Acknowledgements that are still on their way to the store must be there before it is read.
  writes_.flush([this, &member, generation = queue.generation, cursor = queue.cursor, horizon] {
    read_page(member, generation, cursor, horizon);
  });
}

void Delivery::read_page(Member& member, std::uint64_t generation, std::int64_t cursor, std::int64_t horizon) {
  auto rows = std::make_shared<std::vector<WaitingRow>>();
  context_.storage.read(
      [sql = context_.sql, member_id = member.id, cursor, horizon, rows](SqlTransaction& tx) {
        return sql->waiting_rows(tx, member_id, cursor, horizon, kPageRows, *rows);
      },
      [this, &member, generation, horizon, rows](Status status) {
        if (!status.ok()) {
          context_.host.log(LogLevel::kWarn, "waiting messages could not be read", {{"error", status.error().message}});
          if (member.queue && member.queue->generation == generation) {
            member.queue->loading = false;  // the next drain or sweep tries again
          }
          return;
        }
        const bool page_full = rows->size() >= static_cast<std::size_t>(kPageRows);
        loaded(member, generation, horizon, page_full, std::move(*rows));
      });
}

void Delivery::loaded(Member& member, std::uint64_t generation, std::int64_t horizon, bool page_full,
                      std::vector<WaitingRow> rows) {
  if (!member.queue || member.queue->generation != generation) {
    return;
  }
  MemberQueue& queue = *member.queue;
  queue.loading = false;
  const std::int64_t now_ms = context_.now_ms();
  const std::int64_t wall_ms = context_.wall_ms();
  for (WaitingRow& stored : rows) {
    queue.cursor = std::max(queue.cursor, stored.message->seq);
    QueueRow row;
    row.multicast = protocol::classify_target(stored.message->target_spec).is_multicast() ||
                    names_no_key(stored.message->target_spec);
    row.message = std::move(stored.message);
    row.key = std::move(stored.key);
    row.attempts = stored.attempts;
    // A wall clock that jumped must not hold a row back for longer than a claim can last.
    const std::int64_t left_ms = stored.claim_expires_at_ms.value_or(0) - wall_ms;
    row.claim_until_ms = left_ms <= 0 ? 0 : now_ms + std::min(left_ms, context_.options.claim_lease_max_ms);
    queue.insert(std::move(row), now_ms);
  }
  if (!page_full) {
    queue.cursor = std::max(queue.cursor, horizon - 1);
    queue.complete = !queue.missed;
  }
  drain(member);
}

// --- push -----------------------------------------------------------------------------------------------------------

bool Delivery::takes_now(Presence& presence, const QueueRow& row) {
  if (!presence.online() || presence.congested || !may_receive(presence, row)) {
    return false;
  }
  if (row.multicast) {
    return true;
  }
  expire_status(presence.activity, context_.now_ms(), context_.options.status_ttl_ms);
  return takes(presence.activity, row.message->priority);
}

Delivery::Push Delivery::push_row(Member& member, QueueRow& row) {
  return row.live != nullptr ? push_to_all(member, row) : push_to_one(member, row);
}

Delivery::Push Delivery::push_to_one(Member& member, QueueRow& row) {
  Presence* best = nullptr;
  for (Presence* presence : member.presences) {
    if (takes_now(*presence, row) && (best == nullptr || suits_better(*presence, *best, *row.message))) {
      best = presence;
    }
  }
  if (best == nullptr || !push_frame(*best, row)) {
    return Push::kNotPossible;
  }
  if (row.multicast && !best->acknowledges) {
    return Push::kDelivered;
  }
  set_claim(row, *best);
  return Push::kClaimed;
}

Delivery::Push Delivery::push_to_all(Member& member, QueueRow& row) {
  Presence* claimer = nullptr;
  bool reached = false;
  for (Presence* presence : member.presences) {
    if (!takes_now(*presence, row) || !push_frame(*presence, row)) {
      continue;
    }
    reached = true;
    if (presence->acknowledges && (claimer == nullptr || suits_better(*presence, *claimer, *row.message))) {
      claimer = presence;
    }
  }
  if (!reached) {
    return Push::kNotPossible;
  }
  row.live.reset();
  if (claimer == nullptr) {
    return Push::kDelivered;
  }
  set_claim(row, *claimer);
  return Push::kClaimed;
}

bool Delivery::push_frame(Presence& presence, QueueRow& row) {
  cm_status status = CM_GONE;
  if (row.live != nullptr) {
    status = row.live->push_to(*presence.connection);
  } else {
    frame_.clear();
    write_queued_push(frame_, *row.message);
    status = presence.connection->push(frame_);
  }
  presence.congested = presence.congested || status == CM_BUSY;
  if (status != CM_OK && status != CM_BUSY) {
    return false;
  }
  context_.metrics.pushes.add();
  if (row.attempts > 0) {
    context_.metrics.redeliveries.add();
  }
  return true;
}

void Delivery::set_claim(QueueRow& row, const Presence& presence) {
  const Options& options = context_.options;
  row.claimed_by = presence.connection->number();
  row.claimed_by_acknowledging = presence.acknowledges;
  row.claim_until_ms =
      context_.now_ms() + claim_duration_ms(row.attempts, options.claim_lease_ms, options.claim_lease_max_ms);
  ++row.attempts;
}

void Delivery::sweep() {
  const std::int64_t now_ms = context_.now_ms();
  const std::vector<Member*> members(active_.begin(), active_.end());
  for (Member* member : members) {
    MemberQueue& queue = *member->queue;
    bool released_acknowledging = false;
    bool released = false;
    for (auto row = queue.claimed.begin(); row != queue.claimed.end();) {
      const auto next = std::next(row);
      if (row->second.claim_until_ms <= now_ms) {
        released = true;
        released_acknowledging = released_acknowledging || row->second.claimed_by_acknowledging;
        queue.release(row);
      }
      row = next;
    }
    const bool acknowledging =
        released_acknowledging || std::any_of(member->presences.begin(), member->presences.end(),
                                              [](const Presence* p) { return p->online() && p->acknowledges; });
    // Clients that never acknowledge see a message again only when something else is delivered, as with 1.37.0.
    if (released && acknowledging) {
      drain(*member);
    } else {
      load_more(*member);
    }
  }
}

void Delivery::expire(std::int64_t accepted_before_ms) {
  for (Member* member : active_) {
    MemberQueue& queue = *member->queue;
    std::vector<std::int64_t> old;
    for (const MemberQueue::Rows* rows : {&queue.waiting, &queue.claimed}) {
      for (const auto& [seq, row] : *rows) {
        if (row.message->created_at_ms < accepted_before_ms) {
          old.push_back(seq);
        }
      }
    }
    for (const std::int64_t seq : old) {
      queue.erase(seq);
    }
  }
}

void Delivery::set_depth(std::int64_t depth) {
  depth_ = std::max<std::int64_t>(depth, 0);
  context_.metrics.queue_depth.set(depth_);
}

}  // namespace cm::broker
