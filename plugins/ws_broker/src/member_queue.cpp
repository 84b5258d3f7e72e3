#include "plugins/ws_broker/src/member_queue.hpp"

namespace cm::broker {

bool MemberQueue::insert(QueueRow row, std::int64_t now_ms) {
  const std::int64_t seq = row.message->seq;
  if (contains(seq)) {
    return false;
  }
  bytes_ += row.message->bytes();
  by_message_id_.emplace(row.message->id, seq);
  if (!row.message->client_message_id.empty()) {
    by_client_id_.emplace(row.message->client_message_id, seq);
  }
  Rows& rows = row.claim_until_ms > now_ms ? claimed : waiting;
  rows.emplace(seq, std::move(row));
  return true;
}

void MemberQueue::claim(Rows::iterator waiting_row) {
  claimed.insert(waiting.extract(waiting_row));
}

void MemberQueue::release(Rows::iterator claimed_row) {
  claimed_row->second.claimed_by = 0;
  claimed_row->second.claim_until_ms = 0;
  waiting.insert(claimed.extract(claimed_row));
}

void MemberQueue::erase(std::int64_t seq) {
  for (Rows* rows : {&waiting, &claimed}) {
    const auto found = rows->find(seq);
    if (found != rows->end()) {
      forget(found->second);
      rows->erase(found);
      return;
    }
  }
}

void MemberQueue::forget(const QueueRow& row) {
  bytes_ -= row.message->bytes();
  by_message_id_.erase(row.message->id);
  by_client_id_.erase(row.message->client_message_id);
}

QueueRow* MemberQueue::find(std::string_view message_id, std::string_view client_message_id) {
  const std::int64_t* seq = nullptr;
  if (const auto by_id = by_message_id_.find(message_id); !message_id.empty() && by_id != by_message_id_.end()) {
    seq = &by_id->second;
  } else if (const auto by_client = by_client_id_.find(client_message_id);
             !client_message_id.empty() && by_client != by_client_id_.end()) {
    seq = &by_client->second;
  }
  if (seq == nullptr) {
    return nullptr;
  }
  for (Rows* rows : {&waiting, &claimed}) {
    const auto found = rows->find(*seq);
    if (found != rows->end()) {
      return &found->second;
    }
  }
  return nullptr;
}

}  // namespace cm::broker
