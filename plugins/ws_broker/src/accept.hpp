// The way of a `send` from its frame to the acknowledgement (specification v10 section 4.6 and 4.7):
//
//   parse -> authorise -> B0 answer a repetition -> B1 limits and audience -> hooks -> B2/B3 one transaction -> ack ->
//   route
//
// The ack leaves only after the commit is durable. The sends of one read travel to the store as one work. Of one sender
// one work is on its way at a time; when it fails, what came behind it is refused as well, or a repetition of the first
// would arrive after its followers.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "plugins/ws_broker/src/audit.hpp"
#include "plugins/ws_broker/src/connection.hpp"
#include "plugins/ws_broker/src/context.hpp"
#include "plugins/ws_broker/src/dedupe_cache.hpp"
#include "plugins/ws_broker/src/delivery.hpp"
#include "plugins/ws_broker/src/hooks.hpp"
#include "plugins/ws_broker/src/recipients.hpp"
#include "plugins/ws_broker/src/target_feature.hpp"
#include "protocol/rate.hpp"
#include "protocol/wire_reader.hpp"

namespace cm::broker {

// A send on its way. Everything it needs of the sender is copied: the connection and the presence may end meanwhile.
struct SendRequest {
  std::uint64_t connection = 0;
  Connection::Ticket ticket = 0;
  std::string ack_id;
  Mesh* mesh = nullptr;
  Member* sender = nullptr;
  std::string sender_name;
  std::shared_ptr<Message> message;
  std::optional<std::string> reply_to_id;  // live multicasts repeat it
  protocol::Fingerprint fingerprint{};
  Route route;
  bool to_feature = false;  // a feature names the recipients
  std::vector<std::string> mentions;
  std::int64_t body_version = 1;
  std::string topic;                  // for the pushes, as the feature gave it
  std::shared_ptr<FeatureWork> work;  // what the feature writes with the message; null: nothing
  std::optional<Error> work_failure;  // set by the transaction: the feature's work refused the message
  std::string refusal_code;           // text of a refusal's code that is no constant
  std::uint64_t started_us = 0;
  std::string line;        // mesh and key of the sender: what must stay in order
  bool overtakes = false;  // an earlier send of its connection was refused while this one was with the hooks
  std::optional<DedupeRecord> existing;  // filled by the transaction: the id was taken
};
using SendRequestPtr = std::unique_ptr<SendRequest>;

// Why a send is refused; the texts are those of 1.37.0 (wire/02 section 3.2) where it has one.
struct Refusal {
  std::string error;
  std::string_view code;
  std::string_view metric;
  bool retryable = false;
  std::optional<std::int64_t> retry_after_ms;
};

// --- the replies, pure ---
Refusal storage_refusal();
// A client message id within a mesh, or any other name within a scope.
std::string id_key(std::string_view scope, std::string_view name);
std::string accepted_ack(const SendRequest& request);
std::string refused_ack(std::string_view ack_id, const Refusal& refusal, std::string_view client_message_id);
// The answer to a repetition: the first acceptance, or that the id was used for something else. To another member
// nothing of the first message is told.
std::string repeated_ack(const SendRequest& request, const DedupeRecord& record);
bool is_same_send(const SendRequest& request, const DedupeRecord& record);
// What stands for a fingerprint that the client did not give: sha256 over target, priority, nonce and ciphertext.
protocol::Fingerprint surrogate_fingerprint(const Message& message);

class AcceptPipeline {
 public:
  static constexpr std::size_t kBatchMax = 256;
  static constexpr std::size_t kPendingMax = 65'536;  // sends that wait for the store; beyond it: refused, retryable
  static constexpr std::int64_t kStorageRetryMs = 1'000;
  // Refused sends of one member that are looked up in the table, because they may repeat an accepted one. Beyond it the
  // answer is a retryable refusal without a look.
  static constexpr double kRepeatReadsBurst = 64;
  static constexpr double kRepeatReadsPerMinute = 600;

  using FindConnection = std::function<Connection*(std::uint64_t)>;

  AcceptPipeline(Context& context, Delivery& delivery, AuditLog& audit, HookChain& hooks, FindConnection find);
  // Targets that features serve. Before open.
  void set_features(TargetFeatures* features) noexcept { features_ = features; }
  // After the options and the store are there.
  void open(std::int64_t last_seq);

  // A `send` of an authenticated connection. `reader` holds its frame.
  void handle_send(Connection& connection, const protocol::FrameReader& reader);
  // Hands what was collected to the store. Call at the end of each read.
  void flush();

  std::int64_t first_unsettled_seq() const;
  std::size_t pending() const noexcept { return pending_; }
  void when_idle(std::function<void()> idle);
  void forget_idle();
  void stop();

 private:
  using Batch = std::shared_ptr<std::vector<SendRequestPtr>>;

  SendRequestPtr parse(Connection& connection, const protocol::SendView& send);
  void begin(SendRequestPtr request);
  bool answer_repeat(SendRequestPtr& request);
  std::optional<Refusal> check_limits(SendRequest& request);
  std::optional<Refusal> consume_rate(const SendRequest& request);
  void refuse_unless_repeat(SendRequestPtr request, Refusal refusal);
  void stand_in_line(SendRequestPtr request);
  void run_next_hook(std::uint64_t connection);
  void hook_answered(std::uint64_t connection, HookOutcome outcome);
  void ask_feature(std::uint64_t connection);
  void feature_answered(std::uint64_t connection, TargetAnswer answer);
  SendRequestPtr leave_line(std::uint64_t connection);
  void refuse_first(std::uint64_t connection, const Refusal& refusal);
  Refusal rate_refusal(std::int64_t retry_after_ms) const;
  void store(SendRequestPtr request);
  void enter_batch(SendRequestPtr request);
  void submit(const Batch& batch);
  void release_lines(const Batch& batch, const Status& status);
  void work_refused(SendRequest& request);
  void refuse_behind_hooks(std::uint64_t connection);
  void abandon(SendRequest& request);
  void committed(const Batch& batch, const Status& status);
  void finish(SendRequest& request, const Status& status);
  void settle_waiting(const SendRequest& request, const DedupeRecord* record, const Refusal& refusal);
  void route(SendRequest& request);
  void reply(const SendRequest& request, std::string frame);
  void refuse(const SendRequest& request, const Refusal& refusal);
  void leave();

  Context& context_;
  Delivery& delivery_;
  AuditLog& audit_;
  HookChain& hooks_;
  FindConnection find_connection_;
  TargetFeatures* features_ = nullptr;

  std::unique_ptr<protocol::KeyedBuckets> buckets_;       // by member
  std::unique_ptr<protocol::KeyedBuckets> repeat_reads_;  // by member
  std::unique_ptr<LruMap<std::int64_t>> charged_;         // when member and client message id paid
  std::unique_ptr<LruMap<DedupeRecord>> committed_ids_;   // by mesh and client message id
  // Ids on their way to the store, with later sends of the same id that wait for the outcome.
  std::unordered_map<std::string, std::vector<SendRequestPtr>> in_flight_;
  // Sends of one connection behind a hook or a feature that has not answered, in order; the first one is with them.
  std::unordered_map<std::uint64_t, std::deque<SendRequestPtr>> at_hooks_;
  // By sender, while a batch with its sends is on its way: the later ones, which wait for how it ends.
  std::unordered_map<std::string, std::vector<SendRequestPtr>> lines_;
  Batch batch_;
  std::set<std::int64_t> unsettled_;
  std::int64_t next_seq_ = 1;
  std::size_t pending_ = 0;
  bool submitting_ = false;
  std::function<void()> idle_;
  std::string frame_;  // reused
};

}  // namespace cm::broker
