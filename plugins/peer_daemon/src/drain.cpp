#include "plugins/peer_daemon/src/drain.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cm::daemon {
namespace {

cm_outbound outbound_view(const QueuedRow& row) {
  cm_outbound message = {};
  message.size = sizeof(message);
  message.priority = row.content->priority;
  message.client_message_id = to_pview(row.client_message_id);
  message.request_fingerprint = to_pview(row.content->fingerprint_hex);
  message.target = to_pview(row.content->target);
  message.nonce = to_pview(row.content->nonce);
  message.ciphertext = to_pview(row.content->ciphertext);
  message.reply_to_id = to_pview(row.content->reply_to_id);
  return message;
}

std::string failure_text(const cm_send_result& result) {
  const std::string_view code = to_view(result.code);
  const std::string_view error = to_view(result.error);
  if (code.empty() || error.empty()) {
    return std::string(code.empty() ? error : code);
  }
  return std::string(code) + ": " + std::string(error);
}

}  // namespace

void Drain::bind(const HostApi& host, OutboxStore& store, DrainOptions options, DrainMetrics metrics) {
  host_ = &host;
  steady_offset_ms_ = host.unix_ms() - static_cast<std::int64_t>(host.monotonic_us() / 1000);
  clock_.bind(host);
  store_ = &store;
  options_ = std::move(options);
  metrics_ = metrics;
  sweep_.bind(host);
  sweep_.every_ms(kAgeSweepMs, [this] { sweep(); });
}

void Drain::close() {
  closed_ = true;
  sweep_.cancel();
  for (const auto& [key, lane] : lanes_) {
    lane->wake->cancel();
    lane->links = nullptr;
  }
}

std::uint64_t Drain::random() const {
  std::uint64_t value = 0;
  std::uint8_t bytes[sizeof(value)];
  host_->fill_random(bytes, sizeof(bytes));
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

Drain::Lane& Drain::lane(const LaneKey& key) {
  auto& place = lanes_[key];
  if (place == nullptr) {
    place = std::make_unique<Lane>(Lane{key, LaneQueue(options_.window), nullptr, false, nullptr});
    place->wake = std::make_unique<Timer>(*host_);
  }
  return *place;
}

void Drain::load(LoadedOutbox loaded) {
  dead_ = loaded.dead;
  metrics_.pending.add(static_cast<std::int64_t>(loaded.pending.size()));
  for (PendingRow& pending : loaded.pending) {
    lane(LaneKey{pending.mesh, pending.sender_session_pubkey}).queue.add(std::move(pending.row));
  }
  sweep();
}

void Drain::enqueue(OutboxRow row) {
  Lane& target = lane(LaneKey{row.mesh, row.sender_session_pubkey});
  QueuedRow queued;
  queued.seq = row.seq;
  queued.client_message_id = std::move(row.client_message_id);
  queued.target = row.message.target;
  queued.enqueued_at_ms = row.enqueued_at_ms;
  queued.next_attempt_ms = row.enqueued_at_ms;
  if (target.queue.size() < kContentRowsMax) {
    queued.content = std::make_shared<const FrozenMessage>(std::move(row.message));
  }
  target.queue.add(std::move(queued));
  metrics_.pending.add(1);
  pump(target);
}

void Drain::enqueue(PendingRow pending) {
  Lane& target = lane(LaneKey{pending.mesh, pending.sender_session_pubkey});
  target.queue.add(std::move(pending.row));
  metrics_.pending.add(1);
  pump(target);
}

void Drain::attach(IdentityLinks& links) {
  Lane& target = lane(links.lane());
  target.links = &links;
  pump(target);
}

void Drain::detach(const LaneKey& key) {
  const auto place = lanes_.find(key);
  if (place == lanes_.end()) {
    return;
  }
  Lane& target = *place->second;
  target.links = nullptr;
  target.wake->cancel();
  // No answer follows from a closed link.
  target.queue.give_back_all();
}

void Drain::link_changed(IdentityLinks& links) {
  const auto place = lanes_.find(links.lane());
  if (place != lanes_.end() && links.any_open()) {
    pump(*place->second);
  }
}

void Drain::peer_came(std::string_view mesh) {
  for (const auto& [key, lane] : lanes_) {
    if (key.mesh == mesh) {
      lane->queue.forget_absences();
      pump(*lane);
    }
  }
}

// --- sending ---------------------------------------------------------------------------------------------------------

void Drain::pump(Lane& lane) {
  if (closed_ || lane.loading || lane.links == nullptr || !lane.links->any_open()) {
    return;
  }
  const std::vector<QueuedRow*> rows = lane.queue.take(steady_ms());
  std::vector<std::int64_t> missing;
  for (const QueuedRow* row : rows) {
    if (row->content == nullptr) {
      missing.push_back(row->seq);
    }
  }
  if (missing.empty()) {
    dispatch(lane, rows);
    arm(lane);
    return;
  }
  // All wait for the one that has to be read: nobody overtakes.
  std::vector<std::int64_t> seqs;
  for (const QueuedRow* row : rows) {
    seqs.push_back(row->seq);
  }
  load_then_dispatch(lane, std::move(seqs));
}

void Drain::load_then_dispatch(Lane& lane, std::vector<std::int64_t> seqs) {
  lane.loading = true;
  const LaneKey key = lane.key;
  store_->load_content(seqs, [this, key, seqs](auto contents) {
    Lane& target = this->lane(key);
    target.loading = false;
    if (!contents) {
      host_->log(LogLevel::kError, "the outbox cannot be read", {{"detail", contents.error().message}});
      for (const std::int64_t seq : seqs) {
        target.queue.give_back(seq);
      }
      target.wake->start_ms(kStoreRetryMs, [this, key] { pump(this->lane(key)); });
      return;
    }
    for (auto& [seq, content] : *contents) {
      if (QueuedRow* row = target.queue.find(seq); row != nullptr) {
        row->content = std::move(content);
      }
    }
    std::vector<QueuedRow*> rows;
    for (const std::int64_t seq : seqs) {
      QueuedRow* row = target.queue.find(seq);
      if (row != nullptr && row->content != nullptr) {
        rows.push_back(row);
      } else {
        target.queue.finish(seq, false);  // settled or retired meanwhile
      }
    }
    dispatch(target, rows);
    pump(target);
  });
}

void Drain::dispatch(Lane& lane, const std::vector<QueuedRow*>& rows) {
  std::size_t next = 0;
  while (next < rows.size()) {
    const std::size_t transport = lane.links == nullptr ? 0 : lane.links->pick_open(rows[next]->transport);
    if (lane.links == nullptr || transport >= lane.links->count()) {
      break;
    }
    std::vector<cm_outbound> batch;
    std::size_t end = next;
    while (end < rows.size() && lane.links->pick_open(rows[end]->transport) == transport) {
      batch.push_back(outbound_view(*rows[end]));
      ++end;
    }
    std::uint64_t taken = 0;
    const cm_status status = lane.links->send(transport, batch, &taken);
    next += taken;
    if (status != CM_OK || next < end) {
      break;  // the link's window is full or it closed; its next answer or state wakes us
    }
  }
  for (; next < rows.size(); ++next) {
    lane.queue.give_back(rows[next]->seq);
  }
}

void Drain::arm(Lane& lane) {
  const std::int64_t now_ms = steady_ms();
  const std::int64_t wake_ms = lane.queue.next_wake_ms(now_ms);
  if (wake_ms == kNever) {
    lane.wake->cancel();
    return;
  }
  // What is due but was not taken waits for the link: an answer or a new state wakes it.
  if (wake_ms <= now_ms) {
    lane.wake->start_ms(kStoreRetryMs, [this, key = lane.key] { pump(this->lane(key)); });
    return;
  }
  lane.wake->start_ms(static_cast<std::uint64_t>(wake_ms - now_ms), [this, key = lane.key] { pump(this->lane(key)); });
}

// --- answers ---------------------------------------------------------------------------------------------------------

void Drain::sent(IdentityLinks& links, std::size_t transport, std::span<const cm_send_result> results) {
  Lane& target = lane(links.lane());
  const std::int64_t now_ms = steady_ms();
  std::vector<Settlement> settlements;
  for (const cm_send_result& result : results) {
    QueuedRow* row = target.queue.find_inflight(to_view(result.client_message_id));
    if (row == nullptr) {
      continue;
    }
    Settlement entry;
    entry.seq = row->seq;
    entry.attempts = row->attempts + 1;
    entry.broker_message_id = std::string(to_view(result.message_id));
    switch (result.outcome) {
      case CM_SEND_ACCEPTED:
      case CM_SEND_DUPLICATE:
        entry.status = OutboxStatus::kDone;
        break;
      case CM_SEND_REJECTED:
        entry.status = OutboxStatus::kDead;
        entry.error = failure_text(result);
        break;
      default: {
        const std::string_view code = to_view(result.code);
        metrics_.retries.add();
        if (code == "unreachable" && transport + 1 < links.count()) {
          row->transport = transport + 1;
          target.queue.give_back(row->seq);
          continue;
        }
        row->transport = 0;
        const RetryCause cause = retry_cause(code);
        const RetryPlan plan =
            target.queue.retry(row->seq, cause, static_cast<std::int64_t>(result.retry_after_ms), now_ms, random());
        if (cause == RetryCause::kClosed) {
          continue;  // nothing happened to the message: nothing to write down
        }
        row->content.reset();
        entry.error = failure_text(result);
        entry.attempts = plan.attempts;
        entry.next_attempt_ms = plan.next_attempt_ms;
        break;
      }
    }
    settlements.push_back(std::move(entry));
  }
  settle(target.key, std::move(settlements));
  pump(target);
  check_idle();
}

// One transaction for all answers that came together. A row leaves the queue only when its end is durable.
void Drain::settle(const LaneKey& key, std::vector<Settlement> settlements) {
  if (settlements.empty()) {
    return;
  }
  auto shared = std::make_shared<const std::vector<Settlement>>(std::move(settlements));
  store_->settle(*shared, host_->unix_ms(),
                 [this, key, shared](const Status& status) { settled(key, *shared, status); });
}

void Drain::settled(const LaneKey& key, const std::vector<Settlement>& settlements, const Status& status) {
  Lane& target = lane(key);
  if (!status.ok()) {
    host_->log(LogLevel::kError, "the outbox cannot be written", {{"detail", status.error().message}});
  }
  for (const Settlement& entry : settlements) {
    if (entry.status == OutboxStatus::kPending) {
      continue;
    }
    if (!status.ok()) {
      // Sent again later; the broker knows the id and answers "duplicate".
      if (target.queue.find(entry.seq) != nullptr) {
        target.queue.retry(entry.seq, RetryCause::kOther, 0, steady_ms(), random());
      }
      continue;
    }
    const bool done = entry.status == OutboxStatus::kDone;
    (done ? metrics_.done : metrics_.dead).add();
    metrics_.pending.add(-1);
    dead_ += done ? 0 : 1;
    target.queue.finish(entry.seq, done);
  }
  pump(target);
  check_idle();
}

void Drain::sweep() {
  const std::int64_t now_ms = host_->unix_ms();
  if (const std::int64_t jump_ms = clock_.jump_ms(); jump_ms != 0) {
    host_->log(LogLevel::kWarn, "the clock jumped; messages that wait keep the age that they had",
               {{"jump_s", jump_ms / 1000}});
    for (const auto& [key, lane] : lanes_) {
      lane->queue.clock_jumped(jump_ms, now_ms);
    }
  }
  for (const auto& [key, lane] : lanes_) {
    const std::vector<QueuedRow> expired = lane->queue.take_expired(now_ms, options_.max_age_ms(key.mesh));
    std::vector<Settlement> settlements;
    for (const QueuedRow& row : expired) {
      Settlement entry;
      entry.seq = row.seq;
      entry.status = OutboxStatus::kDead;
      entry.error = "max_age";
      entry.attempts = row.attempts;
      settlements.push_back(std::move(entry));
    }
    if (!settlements.empty()) {
      host_->log(LogLevel::kWarn, "messages are too old to be delivered",
                 {{"mesh", key.mesh}, {"count", settlements.size()}});
    }
    settle(key, std::move(settlements));
  }
}

// --- state -----------------------------------------------------------------------------------------------------------

bool Drain::is_inflight(std::string_view client_message_id) const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [&](const auto& entry) { return entry.second->queue.is_inflight(client_message_id); });
}

std::optional<PendingRow> Drain::take_out(std::string_view client_message_id) {
  for (const auto& [key, lane] : lanes_) {
    std::optional<QueuedRow> row = lane->queue.remove(client_message_id);
    if (row.has_value()) {
      metrics_.pending.add(-1);
      return PendingRow{key.mesh, key.session_pubkey, std::move(*row)};
    }
  }
  return std::nullopt;
}

void Drain::requeue(RequeueInput input, OutboxStore::Done<RequeueOutcome> done) {
  const std::string row_id = input.id;
  store_->client_id_of(row_id, [this, input = std::move(input), done = std::move(done)](const auto& found) {
    if (!found) {
      done(found.error());
      return;
    }
    requeue_known(input, *found, done);
  });
}

void Drain::requeue_known(RequeueInput input, const std::string& client_message_id,
                          OutboxStore::Done<RequeueOutcome> done) {
  if (client_message_id.empty() || is_inflight(client_message_id)) {
    RequeueOutcome outcome;
    outcome.kind = client_message_id.empty() ? RequeueOutcome::Kind::kNotFound : RequeueOutcome::Kind::kInFlight;
    done(outcome);
    return;
  }
  // Out of the queue first: it must not leave while it is being retired.
  auto taken = std::make_shared<std::optional<PendingRow>>(take_out(client_message_id));
  store_->requeue(std::move(input), [this, taken, done = std::move(done)](const Result<RequeueOutcome>& outcome) {
    const bool retired = outcome && outcome->kind == RequeueOutcome::Kind::kDone;
    if (!retired && taken->has_value()) {
      enqueue(std::move(**taken));
    }
    if (retired) {
      dead_ -= outcome->was_dead ? 1 : 0;
      enqueue(outcome->successor);
    }
    done(outcome);
  });
}

std::size_t Drain::pending() const {
  std::size_t count = 0;
  for (const auto& [key, lane] : lanes_) {
    count += lane->queue.size() - lane->queue.inflight();
  }
  return count;
}

std::size_t Drain::inflight() const {
  std::size_t count = 0;
  for (const auto& [key, lane] : lanes_) {
    count += lane->queue.inflight();
  }
  return count;
}

void Drain::when_idle(std::function<void()> idle) {
  idle_ = std::move(idle);
  check_idle();
}

void Drain::check_idle() {
  if (idle_ && inflight() == 0) {
    const std::function<void()> idle = std::exchange(idle_, {});
    idle();
  }
}

}  // namespace cm::daemon
