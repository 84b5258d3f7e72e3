#include "plugins/peer_daemon/src/lane_queue.hpp"

#include <algorithm>
#include <utility>

#include "protocol/backoff.hpp"

namespace cm::daemon {

RetryCause retry_cause(std::string_view code) {
  if (code == "closed" || code == "in_flight") {
    return RetryCause::kClosed;
  }
  if (code == "rate_limited" || code == "rate_limit") {
    return RetryCause::kRateLimited;
  }
  if (code == "no_recipient") {
    return RetryCause::kNoRecipient;
  }
  return RetryCause::kOther;
}

std::size_t LaneQueue::window() const noexcept {
  return std::max<std::size_t>(1, static_cast<std::size_t>(window_));
}

void LaneQueue::wait(const QueuedRow& row) {
  waiting_.emplace(row.next_attempt_ms, row.seq);
}

void LaneQueue::add(QueuedRow row) {
  const std::int64_t seq = row.seq;
  const auto [place, inserted] = rows_.emplace(seq, std::move(row));
  if (!inserted) {
    return;
  }
  idle_.emplace(place->second.client_message_id, seq);
  if (place->second.attempts < kOrderedAttemptsMax) {
    due_.insert(seq);  // whatever its time says: a clock that jumped must not let a younger row overtake
  } else {
    wait(place->second);
  }
}

std::vector<QueuedRow*> LaneQueue::take(std::int64_t now_ms) {
  std::vector<QueuedRow*> taken;
  while (!waiting_.empty() && waiting_.begin()->first <= now_ms) {
    due_.insert(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
  }
  if (paused_until_ms_ > now_ms) {
    return taken;
  }
  auto next = due_.begin();
  while (next != due_.end() && inflight_.size() < window()) {
    QueuedRow& row = rows_.at(*next);
    const auto hold = away_.find(row.target);
    if (hold != away_.end()) {
      // Only the oldest message knocks at the door of somebody who was away; the others keep their order behind it.
      if (hold->second.until_ms > now_ms) {
        ++next;
        continue;
      }
      hold->second.until_ms = now_ms + protocol::kOutboxRetryMaxMs;
    }
    next = due_.erase(next);
    idle_.erase(row.client_message_id);
    inflight_.emplace(row.client_message_id, row.seq);
    taken.push_back(&row);
  }
  return taken;
}

void LaneQueue::give_back(std::int64_t seq) {
  const auto place = rows_.find(seq);
  if (place == rows_.end()) {
    return;
  }
  inflight_.erase(place->second.client_message_id);
  idle_.emplace(place->second.client_message_id, seq);
  away_.erase(place->second.target);
  due_.insert(seq);
}

RetryPlan LaneQueue::retry(std::int64_t seq, RetryCause cause, std::int64_t retry_after_ms, std::int64_t now_ms,
                           std::uint64_t random) {
  QueuedRow& row = rows_.at(seq);
  inflight_.erase(row.client_message_id);
  idle_.emplace(row.client_message_id, seq);
  due_.erase(seq);
  waiting_.erase({row.next_attempt_ms, seq});
  std::int64_t delay_ms = 0;
  switch (cause) {
    case RetryCause::kClosed:
      away_.erase(row.target);
      break;
    case RetryCause::kRateLimited:
      ++row.attempts;
      window_ = std::max(1.0, window_ / 2);
      away_.erase(row.target);
      paused_until_ms_ = std::max(paused_until_ms_, now_ms + std::max(retry_after_ms, kRateLimitPauseMs));
      break;
    case RetryCause::kNoRecipient: {
      ++row.attempts;
      Hold& hold = away_[row.target];
      delay_ms = std::max(retry_after_ms, protocol::outbox_retry_delay_ms(hold.attempts, random));
      ++hold.attempts;
      hold.until_ms = now_ms + delay_ms;
      break;
    }
    case RetryCause::kOther:
      ++row.attempts;
      away_.erase(row.target);
      delay_ms = std::max(retry_after_ms, protocol::outbox_retry_delay_ms(row.attempts, random));
      if (row.attempts < kOrderedAttemptsMax) {
        paused_until_ms_ = std::max(paused_until_ms_, now_ms + delay_ms);
      }
      break;
  }
  row.next_attempt_ms = now_ms + delay_ms;
  if (cause == RetryCause::kOther && row.attempts >= kOrderedAttemptsMax) {
    wait(row);
  } else {
    // What delays it is the pause of the lane, or the hold of its target, which a peer who comes back ends at once.
    due_.insert(seq);
  }
  return RetryPlan{row.next_attempt_ms, row.attempts};
}

void LaneQueue::finish(std::int64_t seq, bool accepted) {
  const auto place = rows_.find(seq);
  if (place == rows_.end()) {
    return;
  }
  inflight_.erase(place->second.client_message_id);
  idle_.erase(place->second.client_message_id);
  away_.erase(place->second.target);
  if (accepted) {
    window_ = std::min(static_cast<double>(window_max_), window_ + 1.0 / window_);
  }
  due_.erase(seq);
  waiting_.erase({place->second.next_attempt_ms, seq});
  rows_.erase(place);
}

void LaneQueue::forget_absences() {
  away_.clear();
}

void LaneQueue::give_back_all() {
  std::vector<std::int64_t> seqs;
  for (const auto& [id, seq] : inflight_) {
    seqs.push_back(seq);
  }
  for (const std::int64_t seq : seqs) {
    give_back(seq);
  }
}

QueuedRow* LaneQueue::find(std::int64_t seq) {
  const auto place = rows_.find(seq);
  return place == rows_.end() ? nullptr : &place->second;
}

QueuedRow* LaneQueue::find_inflight(std::string_view client_message_id) {
  const auto place = inflight_.find(std::string(client_message_id));
  return place == inflight_.end() ? nullptr : &rows_.at(place->second);
}

bool LaneQueue::is_inflight(std::string_view client_message_id) const {
  return inflight_.contains(std::string(client_message_id));
}

std::vector<QueuedRow> LaneQueue::take_expired(std::int64_t now_ms, std::int64_t max_age_ms) {
  std::vector<QueuedRow> expired;
  for (const auto& [seq, row] : rows_) {
    if (row.enqueued_at_ms + max_age_ms > now_ms) {
      break;  // the order of the accepts is the order of their times, but for jumps of the clock
    }
    if (!inflight_.contains(row.client_message_id)) {
      expired.push_back(row);
    }
  }
  for (const QueuedRow& row : expired) {
    finish(row.seq, false);
  }
  return expired;
}

void LaneQueue::clock_jumped(std::int64_t jump_ms, std::int64_t now_ms) {
  for (auto& [seq, row] : rows_) {
    row.enqueued_at_ms = std::min(row.enqueued_at_ms + std::max<std::int64_t>(jump_ms, 0), now_ms);
  }
}

std::optional<QueuedRow> LaneQueue::remove(std::string_view client_message_id) {
  const auto place = idle_.find(std::string(client_message_id));
  if (place == idle_.end()) {
    return std::nullopt;
  }
  const std::int64_t seq = place->second;
  QueuedRow row = rows_.at(seq);
  finish(seq, false);
  return row;
}

std::int64_t LaneQueue::next_wake_ms(std::int64_t now_ms) const {
  if (inflight_.size() >= window()) {
    return kNever;
  }
  std::int64_t next_ms = waiting_.empty() ? kNever : waiting_.begin()->first;
  for (const std::int64_t seq : due_) {
    const auto hold = away_.find(rows_.at(seq).target);
    next_ms = std::min(next_ms, hold == away_.end() ? now_ms : hold->second.until_ms);
    if (next_ms <= now_ms) {
      break;
    }
  }
  return next_ms == kNever ? kNever : std::max(next_ms, paused_until_ms_);
}

}  // namespace cm::daemon
