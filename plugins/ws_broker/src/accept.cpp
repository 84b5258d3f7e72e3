#include "plugins/ws_broker/src/accept.hpp"

#include <algorithm>
#include <cmath>

#include "plugins/ws_broker/src/shared_frame.hpp"
#include "protocol/encoding.hpp"
#include "protocol/ids.hpp"
#include "protocol/object_writer.hpp"
#include "protocol/wire_write.hpp"

namespace cm::broker {

namespace {

constexpr std::size_t kChargedIdsMax = 65'536;
constexpr std::int64_t kChargeWindowMs = 60'000;

std::string whole(double number) {
  return std::to_string(static_cast<std::int64_t>(std::llround(number)));
}

Refusal no_peer_refusal() {
  return Refusal{"no connected peer for target (not online, or targetSpec is your own key without another session)",
                 protocol::kAckNoRecipient, "no_recipient", false, std::nullopt};
}

Refusal topic_refusal() {
  // "invalid" is the one word that both kinds of sockets of a 1.37.0 daemon take for final; it looks at nothing else.
  return Refusal{"invalid target: this broker does not serve topics", protocol::kAckNotFound, "unsupported", false,
                 std::nullopt};
}

}  // namespace

AcceptPipeline::AcceptPipeline(Context& context, Delivery& delivery, AuditLog& audit, HookChain& hooks,
                               FindConnection find)
    : context_(context), delivery_(delivery), audit_(audit), hooks_(hooks), find_connection_(std::move(find)) {}

void AcceptPipeline::open(std::int64_t last_seq) {
  next_seq_ = last_seq + 1;
  const Options& options = context_.options;
  buckets_ = std::make_unique<protocol::KeyedBuckets>(
      protocol::BucketOptions{options.rate_limit_burst, options.rate_limit_per_min});
  repeat_reads_ =
      std::make_unique<protocol::KeyedBuckets>(protocol::BucketOptions{kRepeatReadsBurst, kRepeatReadsPerMinute});
  charged_ = std::make_unique<LruMap<std::int64_t>>(kChargedIdsMax);
  committed_ids_ = std::make_unique<LruMap<DedupeRecord>>(options.dedupe_cache_entries);
}

// --- parse, authorise -----------------------------------------------------------------------------------------------

void AcceptPipeline::handle_send(Connection& connection, const protocol::FrameReader& reader) {
  const std::string id(reader.id());
  auto send = reader.send();
  if (!send.ok()) {
    context_.metrics.messages_rejected.add("parse_or_handler");
    connection.reply(refused_ack(
        id, Refusal{"invalid send: " + send.error().message, protocol::kAckInvalid, "", false, std::nullopt}, {}));
    return;
  }
  SendRequestPtr request = parse(connection, *send);
  ++pending_;
  if (pending_ > kPendingMax) {
    refuse(*request, storage_refusal());
    leave();
    return;
  }
  begin(std::move(request));
}

SendRequestPtr AcceptPipeline::parse(Connection& connection, const protocol::SendView& send) {
  const Presence& presence = *connection.presence;
  auto request = std::make_unique<SendRequest>();
  request->connection = connection.number();
  request->ticket = connection.reserve();
  request->ack_id = send.id;
  request->mesh = presence.mesh;
  request->sender = presence.member;
  request->sender_name = presence.display_name;
  request->started_us = context_.host.monotonic_us();
  if (send.reply_to_id) {
    request->reply_to_id = std::string(*send.reply_to_id);
  }
  request->mentions.assign(send.mentions.begin(), send.mentions.end());
  request->body_version = send.body_version.value_or(1);
  request->message = std::make_shared<Message>();
  Message& message = *request->message;
  message.mesh_id = presence.mesh->id;
  message.sender_member_id = presence.member->id;
  message.sender_pubkey = presence.routing_key();
  message.sender_presence = presence.number;
  message.target_spec = send.target_spec;
  message.priority = send.priority;
  message.nonce = send.nonce;
  message.ciphertext = send.ciphertext;
  message.client_message_id = send.client_message_id.value_or(std::string_view());
  message.request_fingerprint = send.request_fingerprint.value_or(std::string_view());
  const auto given = protocol::parse_fingerprint(message.request_fingerprint);
  request->line = id_key(message.mesh_id, message.sender_pubkey);
  request->fingerprint = given ? *given : surrogate_fingerprint(message);
  return request;
}

void AcceptPipeline::begin(SendRequestPtr request) {
  if (answer_repeat(request)) {
    return;
  }
  if (const std::optional<Refusal> refusal = check_limits(*request)) {
    refuse_unless_repeat(std::move(request), *refusal);
    return;
  }
  const std::string& client_id = request->message->client_message_id;
  if (!client_id.empty()) {
    in_flight_.emplace(id_key(request->mesh->id, client_id), std::vector<SendRequestPtr>());
  }
  if (hooks_.empty() && !request->to_feature && at_hooks_.count(request->connection) == 0) {
    store(std::move(request));
  } else {
    stand_in_line(std::move(request));
  }
}

// --- B0 -------------------------------------------------------------------------------------------------------------

// True when the request was answered, or waits for a send with the same id; before any limit can refuse it.
bool AcceptPipeline::answer_repeat(SendRequestPtr& request) {
  const std::string& client_id = request->message->client_message_id;
  if (client_id.empty()) {
    return false;
  }
  const std::string key = id_key(request->mesh->id, client_id);
  if (const DedupeRecord* record = committed_ids_->find(key)) {
    const bool same = is_same_send(*request, *record);
    (same ? context_.metrics.dedupe_hits : context_.metrics.dedupe_mismatches).add();
    reply(*request, repeated_ack(*request, *record));
    leave();
    return true;
  }
  const auto flying = in_flight_.find(key);
  if (flying == in_flight_.end()) {
    return false;
  }
  flying->second.push_back(std::move(request));
  return true;
}

// A send that would be refused may still be the repetition of one that was accepted long ago: the table decides, or
// sender and broker would disagree for ever. A client that floods is slowed down: the refusal that it gets then is
// retryable whatever the first one was, so that a repetition still gets its answer later.
void AcceptPipeline::refuse_unless_repeat(SendRequestPtr request, Refusal refusal) {
  if (request->message->client_message_id.empty()) {
    refuse(*request, refusal);
    leave();
    return;
  }
  const std::int64_t now_ms = context_.now_ms();
  const std::string& member_id = request->sender->id;
  if (!repeat_reads_->take(member_id, now_ms)) {
    const std::int64_t wait_ms = repeat_reads_->retry_after_ms(member_id, now_ms);
    refuse(*request, rate_refusal(std::max(wait_ms, refusal.retry_after_ms.value_or(0))));
    leave();
    return;
  }
  auto found = std::make_shared<std::optional<DedupeRecord>>();
  const std::shared_ptr<SendRequest> shared(std::move(request));
  context_.storage.read(
      [sql = context_.sql, mesh_id = shared->mesh->id, client_id = shared->message->client_message_id,
       found](SqlTransaction& tx) {
        auto record = sql->find_dedupe(tx, mesh_id, client_id);
        if (!record.ok()) {
          return Status(record.error());
        }
        *found = std::move(*record);
        return Status();
      },
      [this, shared, found, refusal = std::move(refusal)](Status status) {
        if (!status.ok()) {
          refuse(*shared, storage_refusal());
        } else if (found->has_value()) {
          const bool same = is_same_send(*shared, **found);
          (same ? context_.metrics.dedupe_hits : context_.metrics.dedupe_mismatches).add();
          reply(*shared, repeated_ack(*shared, **found));
        } else {
          refuse(*shared, refusal);
        }
        leave();
      });
}

// --- B1 -------------------------------------------------------------------------------------------------------------

std::optional<Refusal> AcceptPipeline::check_limits(SendRequest& request) {
  if (auto refusal = consume_rate(request)) {
    return refusal;
  }
  const Message& message = *request.message;
  const std::size_t bytes = message.ciphertext.size() + message.nonce.size() + message.target_spec.size();
  if (bytes > context_.options.max_message_bytes) {
    // Measured as JavaScript measures texts, which is never more than the bytes.
    const std::size_t units = protocol::utf16_length(message.ciphertext) + protocol::utf16_length(message.nonce) +
                              protocol::utf16_length(message.target_spec);
    if (units > context_.options.max_message_bytes) {
      context_.metrics.rate_then_refused.add();
      return Refusal{"payload too large: " + std::to_string(units) +
                         " bytes > MAX_MESSAGE_BYTES=" + std::to_string(context_.options.max_message_bytes),
                     protocol::kAckPayloadTooLarge, "too_large", false, std::nullopt};
    }
  }
  if (features_ != nullptr && features_->serves_target(message.target_spec)) {
    request.to_feature = true;
    return std::nullopt;
  }
  Connection* connection = find_connection_(request.connection);
  const RouteInput input{request.mesh, connection->presence, message.target_spec, context_.wall_ms(),
                         context_.options.session_retention_ms};
  request.route = find_route(input);
  if (request.route.fault == RouteFault::kNone) {
    return std::nullopt;
  }
  context_.metrics.rate_then_refused.add();
  return request.route.fault == RouteFault::kTopic ? topic_refusal() : no_peer_refusal();
}

std::optional<Refusal> AcceptPipeline::consume_rate(const SendRequest& request) {
  const std::int64_t now_ms = context_.now_ms();
  const std::string& member_id = request.sender->id;
  const std::string& client_id = request.message->client_message_id;
  const std::string charge = client_id.empty() ? std::string() : id_key(member_id, client_id);
  if (!charge.empty()) {
    const std::int64_t* paid_ms = charged_->find(charge);
    if (paid_ms != nullptr && now_ms - *paid_ms < kChargeWindowMs) {
      return std::nullopt;  // at most one unit per id and window (specification v10 section 4.6.4)
    }
  }
  if (buckets_->take(member_id, now_ms)) {
    if (!charge.empty()) {
      charged_->put(charge, now_ms);
    }
    return std::nullopt;
  }
  return rate_refusal(buckets_->retry_after_ms(member_id, now_ms));
}

Refusal AcceptPipeline::rate_refusal(std::int64_t retry_after_ms) const {
  return Refusal{"rate_limit: max " + whole(context_.options.rate_limit_per_min) + " msg/min (burst " +
                     whole(context_.options.rate_limit_burst) + ") — slow down",
                 protocol::kAckRateLimited, "rate_limit", true, retry_after_ms};
}

// --- idle, end ------------------------------------------------------------------------------------------------------

std::int64_t AcceptPipeline::first_unsettled_seq() const {
  return unsettled_.empty() ? next_seq_ : *unsettled_.begin();
}

void AcceptPipeline::leave() {
  --pending_;
  if (pending_ == 0 && idle_) {
    auto idle = std::move(idle_);
    idle_ = nullptr;
    idle();
  }
}

void AcceptPipeline::when_idle(std::function<void()> idle) {
  if (pending_ == 0) {
    idle();
    return;
  }
  idle_ = std::move(idle);
}

void AcceptPipeline::forget_idle() {
  buckets_->sweep(context_.now_ms());
  repeat_reads_->sweep(context_.now_ms());
}

void AcceptPipeline::stop() {
  idle_ = nullptr;
  batch_.reset();
  in_flight_.clear();
  at_hooks_.clear();
  lines_.clear();
}

}  // namespace cm::broker
