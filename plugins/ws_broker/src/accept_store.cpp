// The second half of the way of a send: one transaction, the ack after it, the way to the recipients.
#include <algorithm>
#include <iterator>

#include "plugins/ws_broker/src/accept.hpp"
#include "plugins/ws_broker/src/shared_frame.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

namespace {

constexpr std::int64_t kDayMs = 86'400'000;

std::string_view destination_kind(std::string_view target_spec) {
  const protocol::TargetSpec target = protocol::classify_target(target_spec);
  const bool topic = target.kind == protocol::TargetKind::kTopic;
  return protocol::to_string(topic ? protocol::DestinationKind::kTopic : protocol::DestinationKind::kDm);
}

}  // namespace

// --- B2 and B3 ------------------------------------------------------------------------------------------------------

void AcceptPipeline::store(SendRequestPtr request) {
  if (request->work != nullptr) {
    flush();  // a feature that refuses its message must not take others with it
  }
  const auto line = lines_.find(request->line);
  if (line != lines_.end()) {
    line->second.push_back(std::move(request));
    return;
  }
  enter_batch(std::move(request));
}

void AcceptPipeline::enter_batch(SendRequestPtr request) {
  Message& message = *request->message;
  message.seq = next_seq_++;
  if (message.id.empty()) {  // else the feature that routes it was told
    message.created_at_ms = context_.wall_ms();
    message.id = context_.ids.next(message.created_at_ms, context_.random);
  }
  const bool alone = request->work != nullptr;
  unsettled_.insert(unsettled_.end(), message.seq);
  if (!batch_) {
    batch_ = std::make_shared<std::vector<SendRequestPtr>>();
  }
  batch_->push_back(std::move(request));
  if (alone || batch_->size() >= kBatchMax) {
    flush();
  }
}

namespace {

// On the storage's thread: the rows of one message, or the record of the id that is taken.
Status write_accept(SqlTransaction& tx, const StoreSql& sql, SendRequest& request,
                    std::optional<std::int64_t> dedupe_retention_ms) {
  const Message& message = *request.message;
  AcceptRows rows;
  rows.message = &message;
  rows.fingerprint = request.fingerprint;
  rows.destination_kind = destination_kind(message.target_spec);
  rows.destination_ref = message.target_spec;
  if (dedupe_retention_ms) {
    rows.dedupe_expires_at_ms = message.created_at_ms + *dedupe_retention_ms;
  }
  rows.deliveries.reserve(request.route.recipients.size());
  for (const Recipient& recipient : request.route.recipients) {
    // Ids of members never change, so that reading one beside the loop is safe.
    rows.deliveries.push_back(DeliveryRow{recipient.member->id, recipient.key});
  }
  auto existing = sql.accept(tx, rows);
  if (!existing.ok()) {
    return existing.error();
  }
  request.existing = std::move(*existing);
  if (request.existing || request.work == nullptr || !request.work->writes()) {
    return {};
  }
  const cm_status worked = request.work->run(tx.raw(), tx.raw_sql());
  if (worked == CM_OK) {
    return {};
  }
  request.work_failure = error_from_status(worked == CM_GONE ? CM_INTERNAL : worked, "the feature refused the message");
  return *request.work_failure;
}

}  // namespace

void AcceptPipeline::flush() {
  if (!batch_) {
    return;
  }
  Batch batch;
  batch.swap(batch_);
  for (const SendRequestPtr& request : *batch) {
    lines_.try_emplace(request->line);
  }
  submit(batch);
}

void AcceptPipeline::submit(const Batch& batch) {
  std::optional<std::int64_t> dedupe_retention_ms;
  if (!context_.options.dedupe_permanent) {
    dedupe_retention_ms = context_.options.dedupe_retention_days * kDayMs;
  }
  submitting_ = true;
  context_.storage.submit(
      [sql = context_.sql, batch, dedupe_retention_ms](SqlTransaction& tx) {
        for (const SendRequestPtr& request : *batch) {
          Status status = write_accept(tx, *sql, *request, dedupe_retention_ms);
          if (!status.ok()) {
            return status;
          }
        }
        return Status();
      },
      [this, batch](Status status) {
        if (submitting_) {  // refused at once: not from in here, where the next sends are being handed over
          context_.host.post([this, batch, status] { committed(batch, status); });
          return;
        }
        committed(batch, status);
      });
  submitting_ = false;
}

// --- ack, route -----------------------------------------------------------------------------------------------------

void AcceptPipeline::committed(const Batch& batch, const Status& status) {
  if (!batch->front()->work_failure) {  // else the store did what it was told
    context_.health.write_ended(status, status.ok() ? 0 : batch->size());
  }
  for (const SendRequestPtr& request : *batch) {
    unsettled_.erase(request->message->seq);
    finish(*request, status);
  }
  release_lines(batch, status);
  delivery_.drain_touched();
  for (std::size_t i = 0; i < batch->size(); ++i) {
    leave();
  }
}

// What waited behind the batch follows it: to the store, or into the refusal.
void AcceptPipeline::release_lines(const Batch& batch, const Status& status) {
  // A message that its feature refused for good is out of the way; what is behind it may go on.
  const std::optional<Error>& failure = batch->front()->work_failure;
  const bool goes_on =
      status.ok() || (failure && (failure->code == ErrorCode::kInvalid || failure->code == ErrorCode::kDenied));
  std::vector<SendRequestPtr> followers;
  for (const SendRequestPtr& request : *batch) {
    auto line = lines_.extract(request->line);
    if (!line.empty()) {
      std::move(line.mapped().begin(), line.mapped().end(), std::back_inserter(followers));
    }
    if (!goes_on) {
      refuse_behind_hooks(request->connection);
    }
  }
  for (SendRequestPtr& follower : followers) {
    if (goes_on) {
      store(std::move(follower));
    } else {
      abandon(*follower);
    }
  }
  flush();
}

void AcceptPipeline::abandon(SendRequest& request) {
  refuse(request, storage_refusal());
  settle_waiting(request, nullptr, storage_refusal());
  leave();
}

void AcceptPipeline::work_refused(SendRequest& request) {
  const Error& failure = *request.work_failure;
  Refusal refusal{"the feature that serves this target cannot store the message now; send it again",
                  protocol::kAckStorage, "feature", true, kStorageRetryMs};
  if (failure.code == ErrorCode::kInvalid) {
    refusal = {"invalid: the feature that serves this target refused the message", protocol::kAckInvalid, "feature",
               false, std::nullopt};
  } else if (failure.code == ErrorCode::kDenied) {
    refusal = {"forbidden: the feature that serves this target refused the message", protocol::kAckForbidden, "feature",
               false, std::nullopt};
  }
  refuse(request, refusal);
  settle_waiting(request, nullptr, refusal);
}

void AcceptPipeline::finish(SendRequest& request, const Status& status) {
  const Message& message = *request.message;
  if (request.work != nullptr) {
    const bool stored = status.ok() && !request.existing;
    request.work->tell(stored        ? CM_OK
                       : status.ok() ? CM_INVALID
                                     : status_from_error(status.error()),
                       stored        ? ""
                       : status.ok() ? "the client message id was used before"
                                     : status.error().message);
  }
  if (request.work_failure) {
    work_refused(request);
    return;
  }
  if (!status.ok()) {
    refuse(request, storage_refusal());
    settle_waiting(request, nullptr, storage_refusal());
    return;
  }
  if (request.existing) {
    const bool same = is_same_send(request, *request.existing);
    (same ? context_.metrics.dedupe_hits : context_.metrics.dedupe_mismatches).add();
    reply(request, repeated_ack(request, *request.existing));
    settle_waiting(request, &*request.existing, storage_refusal());
    return;
  }
  reply(request, accepted_ack(request));
  const DedupeRecord record{message.sender_member_id, message.id, request.fingerprint, message.created_at_ms, true};
  settle_waiting(request, &record, storage_refusal());
  context_.metrics.accept_latency_us.observe(context_.host.monotonic_us() - request.started_us);
  context_.metrics.messages_routed.add(protocol::to_string(message.priority));
  if (context_.options.audit_messages) {
    protocol::JsonValue payload;
    payload.set("targetSpec", protocol::JsonValue(message.target_spec));
    payload.set("priority", protocol::JsonValue(protocol::to_string(message.priority)));
    audit_.append(*request.mesh, "message_sent", request.sender, payload);
  }
  route(request);
}

// Answers the sends that came with the same id meanwhile. `record`: what the id stands for now; null: for nothing, and
// they are refused for the same reason.
void AcceptPipeline::settle_waiting(const SendRequest& request, const DedupeRecord* record, const Refusal& refusal) {
  const std::string& client_id = request.message->client_message_id;
  if (client_id.empty()) {
    return;
  }
  const std::string key = id_key(request.mesh->id, client_id);
  if (record != nullptr) {
    committed_ids_->put(key, *record);
  }
  auto node = in_flight_.extract(key);
  if (node.empty()) {
    return;
  }
  for (SendRequestPtr& waiting : node.mapped()) {
    if (record != nullptr) {
      const bool same = is_same_send(*waiting, *record);
      (same ? context_.metrics.dedupe_hits : context_.metrics.dedupe_mismatches).add();
      reply(*waiting, repeated_ack(*waiting, *record));
    } else {
      refuse(*waiting, refusal);
    }
    leave();
  }
}

void AcceptPipeline::route(SendRequest& request) {
  const Message& message = *request.message;
  std::shared_ptr<const SharedFrame> live;
  if (request.route.multicast && !request.route.recipients.empty()) {
    const std::string created_at = iso_time(context_.wall_ms());
    protocol::PushView push;
    push.message_id = message.id;
    push.mesh_id = message.mesh_id;
    push.sender_pubkey = message.sender_pubkey;
    push.sender_member_pubkey = request.sender->pubkey;
    push.sender_member_id = request.sender->id;
    push.sender_name = request.sender_name;
    if (request.reply_to_id) {
      push.reply_to_id = *request.reply_to_id;
    }
    if (!request.topic.empty()) {
      push.topic = request.topic;
    }
    push.priority = message.priority;
    push.nonce = message.nonce;
    push.ciphertext = message.ciphertext;
    push.created_at = created_at;
    if (!message.client_message_id.empty()) {
      // A repetition from the queue has it: without it here, a daemon of 1.37.0 would store the message a second time.
      push.client_message_id = message.client_message_id;
    }
    frame_.clear();
    protocol::write_push(frame_, push);
    live = std::make_shared<const SharedFrame>(context_.host, frame_);
  }
  delivery_.add(request.message, request.route.recipients, request.route.multicast, live);
}

void AcceptPipeline::reply(const SendRequest& request, std::string frame) {
  if (Connection* connection = find_connection_(request.connection)) {
    connection->answer(request.ticket, std::move(frame));
  }
}

void AcceptPipeline::refuse(const SendRequest& request, const Refusal& refusal) {
  context_.metrics.messages_rejected.add(refusal.metric);
  reply(request, refused_ack(request.ack_id, refusal, request.message->client_message_id));
}

}  // namespace cm::broker
