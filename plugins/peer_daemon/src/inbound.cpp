#include "plugins/peer_daemon/src/inbound.hpp"

#include <utility>

#include "plugins/peer_daemon/src/json_out.hpp"
#include "protocol/ids.hpp"
#include "protocol/priority_number.hpp"

namespace cm::daemon {
namespace {

constexpr std::size_t kShortKeyLength = 8;
constexpr std::uint64_t kInboxRetryMs = 1'000;

// The members of an object, for an event.
std::string fields_of(JsonObject& object) {
  const std::string json = object.finish();
  return json.substr(1, json.size() - 2);
}

std::string meta_json(const Push& push) {
  JsonObject meta;
  meta.text_if("created_at", push.created_at).text_if("subtype", push.subtype).text_if("event", push.event);
  if (!push.event_json.empty()) {
    meta.raw("event_data", push.event_json);
  }
  return meta.finish();
}

// A queued message of 1.37.0 names no sender: the list of peers may, or whoever was seen before.
std::string known_name(Mesh& mesh, const KnownPeers& known, const Push& push) {
  const std::string& pubkey = push.sender_pubkey;
  if (const std::shared_ptr<const PeerList> list = mesh.peers().last(); list != nullptr) {
    for (const PeerView& peer : list->peers) {
      if (peer.pubkey == pubkey && !peer.display_name.empty()) {
        return peer.display_name;
      }
    }
  }
  const std::string& member = push.sender_member_pubkey.empty() ? pubkey : push.sender_member_pubkey;
  const std::string_view name = known.name_of(mesh.record().mesh_id, member);
  return name.empty() ? pubkey.substr(0, kShortKeyLength) : std::string(name);
}

std::optional<std::string> open_with(protocol::BoxOpener& opener, const Push& push, const protocol::PublicKey& sender) {
  Result<std::string> text = opener.open(push.nonce, push.ciphertext, sender);
  return text ? std::optional<std::string>(std::move(*text)) : std::nullopt;
}

}  // namespace

void Inbound::bind(const HostApi& host, Membership& membership, InboxStore& inbox, EventHub& events, HookChain& hooks,
                   KnownPeers& known, InboundMetrics metrics, std::function<void(std::string_view mesh)> peer_came) {
  host_ = &host;
  retry_.bind(host);
  membership_ = &membership;
  inbox_ = &inbox;
  events_ = &events;
  hooks_ = &hooks;
  known_ = &known;
  metrics_ = metrics;
  peer_came_ = std::move(peer_came);
}

InboundVerdict Inbound::classify(const Push& push, Mesh& mesh, SessionPresence* presence, const LaneKey& lane) {
  Receiver receiver;
  receiver.session = presence != nullptr;
  receiver.pubkey = presence != nullptr ? std::string_view(lane.session_pubkey) : mesh.record().pubkey;
  receiver.member_pubkey = mesh.record().pubkey;
  receiver.is_own_session = [&](std::string_view pubkey) { return membership_->is_own_session(lane.mesh, pubkey); };
  receiver.open = [&](const Push& sealed) -> std::optional<std::string> {
    const Result<protocol::PublicKey> sender =
        protocol::PublicKey::from_hex(sealed.sender_pubkey, protocol::HexCase::kAny);
    if (!sender) {
      return std::nullopt;
    }
    if (presence != nullptr) {
      if (std::optional<std::string> text = open_with(presence->opener(), sealed, *sender); text.has_value()) {
        return text;
      }
    }
    return open_with(mesh.opener(), sealed, *sender);
  };
  return classify_push(push, receiver);
}

InboxRow Inbound::make_row(const Push& push, const InboundVerdict& verdict, Mesh& mesh, const LaneKey& lane) const {
  const bool session = !lane.session_pubkey.empty();
  InboxRow row;
  row.id = protocol::generate_uuid_v4(
      [this](std::span<std::uint8_t> bytes) { host_->fill_random(bytes.data(), bytes.size()); });
  row.client_message_id = !push.client_message_id.empty() ? push.client_message_id
                          : !push.message_id.empty()      ? push.message_id
                                                          : row.id;
  row.broker_message_id = push.message_id;
  row.mesh = lane.mesh;
  row.topic = push.topic;
  row.sender_pubkey = push.sender_pubkey;
  row.sender_member_pubkey = push.sender_member_pubkey;
  row.sender_name = push.sender_name.empty() ? known_name(mesh, *known_, push) : push.sender_name;
  row.body = verdict.body;
  row.meta_json = meta_json(push);
  row.received_at_ms = host_->unix_ms();
  row.reply_to_id = push.reply_to_id;
  row.recipient_pubkey = session ? lane.session_pubkey : mesh.record().pubkey;
  row.recipient_kind = session ? "session" : "member";
  row.dedupe_scope = verdict.sealed ? std::string() : row.recipient_pubkey;
  row.sealed = verdict.sealed;
  return row;
}

void Inbound::receive(IdentityLinks& links, std::size_t transport, std::span<const cm_inbound> messages) {
  const LaneKey lane = links.lane();
  Mesh* mesh = membership_->find(lane.mesh);
  SessionPresence* presence =
      lane.session_pubkey.empty() ? nullptr : membership_->presence(lane.mesh, lane.session_pubkey);
  if (mesh == nullptr || (!lane.session_pubkey.empty() && presence == nullptr)) {
    return;
  }
  auto batch = std::make_shared<Batch>(Batch{lane, transport, {}});
  for (const cm_inbound& raw : messages) {
    Push push = copy_push(raw);
    const InboundVerdict verdict = classify(push, *mesh, presence, lane);
    switch (verdict.kind) {
      case InboundVerdict::Kind::kStore:
        if (!verdict.body.has_value() && !push.ciphertext.empty()) {
          metrics_.undecryptable.add();
        }
        batch->messages.push_back(Received{push, make_row(push, verdict, *mesh, lane)});
        break;
      case InboundVerdict::Kind::kNotice:
        notice(push, *mesh);
        break;
      case InboundVerdict::Kind::kDrop:
        metrics_.echoes.add();
        links.acknowledge(transport, push.message_id, push.client_message_id);
        break;
      case InboundVerdict::Kind::kIgnore:
        break;
    }
  }
  if (batch->messages.empty()) {
    return;
  }
  // Not acknowledged: the broker delivers it again, in order. Until then nothing of this lane may overtake it.
  const bool is_full = !waiting_.empty() && waiting_messages_ + batch->messages.size() > kWaitingMessagesMax;
  if (is_full || overflowed_.contains(lane)) {
    metrics_.not_stored.add(static_cast<std::int64_t>(batch->messages.size()));
    overflowed_.insert(lane);
    return;
  }
  waiting_messages_ += batch->messages.size();
  remember_senders(*batch);
  waiting_.push_back(std::move(batch));
  store_next();
}

// Only what was opened with the sender's key: a name beside a plain message proves less.
void Inbound::remember_senders(const Batch& batch) {
  const Mesh* mesh = membership_->find(batch.lane.mesh);
  std::vector<PeerView> senders;
  for (const Received& message : batch.messages) {
    if (message.row.sealed && message.row.body.has_value()) {
      const Push& push = message.push;
      senders.push_back(PeerView{push.sender_pubkey, push.sender_member_pubkey, push.sender_name, {}});
    }
  }
  if (mesh != nullptr && !senders.empty()) {
    known_->seen(mesh->record(), senders);
  }
}

void Inbound::close() {
  closed_ = true;
  retry_.cancel();
  waiting_.clear();
  waiting_messages_ = 0;
}

void Inbound::store_next() {
  if (storing_ || closed_ || retry_.active() || waiting_.empty()) {
    return;
  }
  auto batches = std::make_shared<Batches>(std::exchange(waiting_, {}));
  waiting_messages_ = 0;
  std::vector<InboxRow> rows;
  for (const auto& batch : *batches) {
    for (const Received& message : batch->messages) {
      rows.push_back(message.row);
    }
  }
  storing_ = true;
  inbox_->insert(std::move(rows), [this, batches](const Result<std::vector<bool>>& inserted) {
    storing_ = false;
    if (!inserted) {
      not_stored(*batches, inserted.error());
      return;
    }
    const std::vector<bool>& flags = *inserted;
    std::size_t next = 0;
    for (const auto& batch : *batches) {
      stored(*batch, flags, next);
      next += batch->messages.size();
    }
    store_next();
    call_back_overflowed();
  });
}

// A broker holds back what it delivered once, up to an hour; to a new connection it delivers at once.
void Inbound::call_back_overflowed() {
  if (closed_ || storing_ || !waiting_.empty()) {
    return;
  }
  for (const LaneKey& lane : std::exchange(overflowed_, {})) {
    host_->log(LogLevel::kInfo, "there is room again: the link is opened anew for the messages that found none",
               {{"mesh", lane.mesh}});
    membership_->reconnect(lane);
  }
}

void Inbound::not_stored(const Batches& batches, const Error& error) {
  if (closed_) {
    return;
  }
  std::size_t count = 0;
  for (const auto& batch : batches) {
    count += batch->messages.size();
  }
  metrics_.not_stored.add(static_cast<std::int64_t>(count));
  host_->log(LogLevel::kError, "received messages cannot be stored yet; they wait and are not acknowledged",
             {{"count", count}, {"detail", error.message}});
  waiting_.insert(waiting_.begin(), batches.begin(), batches.end());
  waiting_messages_ += count;
  retry_.start_ms(kInboxRetryMs, [this] { store_next(); });
}

void Inbound::notice(const Push& push, Mesh& mesh) {
  mesh.peers().invalidate();
  JsonObject fields;
  fields.text("mesh", mesh.slug()).text("event", push.event);
  std::string json = fields_of(fields);
  // The members of eventData stand beside mesh and event (wire/06 section 5).
  const Result<protocol::JsonValue> data = protocol::parse_json(push.event_json.empty() ? "{}" : push.event_json);
  if (data && data->is_object()) {
    for (const protocol::JsonMember& member : *data->as_object()) {
      if (member.key == "mesh" || member.key == "event" || member.key == "ts") {
        continue;
      }
      json += ',';
      protocol::append_json_string(json, member.key);
      json += ':';
      protocol::write_json(json, member.value);
    }
  }
  Event event;
  event.kind = std::string(notice_kind(push.event));
  event.fields = std::move(json);
  event.mesh = mesh.slug();
  events_->publish(event);
  if (push.event == "peer_joined" || push.event == "peer_returned") {
    peer_came_(mesh.slug());
  }
}

void Inbound::stored(const Batch& batch, const std::vector<bool>& inserted, std::size_t first) {
  for (std::size_t i = 0; i < batch.messages.size() && first + i < inserted.size(); ++i) {
    const Received& message = batch.messages[i];
    const bool is_new = inserted[first + i];
    // Looked up each time: what an event triggers may close the identity.
    if (IdentityLinks* links = membership_->links_of(batch.lane); links != nullptr) {
      links->acknowledge(batch.transport, message.push.message_id, message.push.client_message_id);
    }
    (is_new ? metrics_.stored : metrics_.duplicates).add();
    if (is_new) {
      announce(message);
    }
  }
}

void Inbound::announce(const Received& message) {
  const InboxRow& row = message.row;
  JsonObject fields;
  fields.text("id", row.id)
      .text("mesh", row.mesh)
      .text("client_message_id", row.client_message_id)
      .text_or_null("broker_message_id", row.broker_message_id)
      .text("sender_pubkey", row.sender_pubkey)
      .text_or_null("sender_member_pubkey", row.sender_member_pubkey)
      .text("sender_name", row.sender_name)
      .text_or_null("topic", row.topic)
      .text_or_null("reply_to_id", row.reply_to_id)
      .text("priority", protocol::priority_word(message.push.priority))
      .text_if("subtype", message.push.subtype);
  if (row.body.has_value()) {
    fields.text("body", *row.body);
  } else {
    fields.null("body");
  }
  fields.boolean("encrypted", row.sealed)
      .text_or_null("created_at", message.push.created_at)
      .text("recipient_pubkey", row.recipient_pubkey)
      .text("recipient_kind", row.recipient_kind);
  Event event;
  event.kind = "message";
  event.fields = fields_of(fields);
  event.mesh = row.mesh;
  event.recipient_kind = row.recipient_kind;
  event.recipient_pubkey = row.recipient_pubkey;
  event.message_key = row.mesh + ' ' + row.sender_pubkey + ' ' + row.client_message_id;
  events_->publish(event);
  if (!hooks_->empty()) {
    const std::string facts = JsonObject()
                                  .text("mesh", row.mesh)
                                  .text("from", row.sender_pubkey)
                                  .text("name", row.sender_name)
                                  .text("id", row.id)
                                  .finish();
    hooks_->run("daemon.received", facts, row.body.value_or(std::string()), [](const HookOutcome&) {});
  }
}

}  // namespace cm::daemon
