// What waits for one connected member, in memory. The store has the same rows and more: the queue is a window on it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "plugins/ws_broker/src/model.hpp"

namespace cm::broker {

// One push frame for many sockets: a host buffer that is released with the last copy.
class SharedFrame;

struct QueueRow {
  MessagePtr message;
  std::string key;                          // only the presence with this session key; empty: any of the member
  std::shared_ptr<const SharedFrame> live;  // a multicast that was accepted just now and not pushed yet
  bool multicast = false;
  std::uint32_t attempts = 0;

  // The claim: pushed on that connection and waiting for its acknowledgement. 0: a connection of an earlier run.
  std::uint64_t claimed_by = 0;
  std::int64_t claim_until_ms = 0;  // monotonic
  bool claimed_by_acknowledging = false;
};

// The rows of one member. `waiting` and `claimed` are disjoint and ordered by the sequence of acceptance.
struct MemberQueue {
  using Rows = std::map<std::int64_t, QueueRow>;
  Rows waiting;
  Rows claimed;

  std::uint64_t generation = 0;  // tells an answer of the store for an earlier queue apart
  std::int64_t cursor = 0;       // rows up to here are in memory, or are not undelivered any more
  bool complete = true;          // the store has no undelivered rows behind the cursor
  bool loading = false;
  bool missed = false;  // a row was accepted behind the cursor while loading

  std::size_t size() const noexcept { return waiting.size() + claimed.size(); }
  std::size_t bytes() const noexcept { return bytes_; }
  bool contains(std::int64_t seq) const noexcept { return waiting.count(seq) != 0 || claimed.count(seq) != 0; }

  // Adds a row to `waiting` (or to `claimed` when its claim is still running); false if it is there already.
  bool insert(QueueRow row, std::int64_t now_ms);
  // Moves between the two maps.
  void claim(Rows::iterator waiting_row);
  void release(Rows::iterator claimed_row);
  // Forgets a row; both ids are forgotten too.
  void erase(std::int64_t seq);

  // The row of a message id or a client message id, or null.
  QueueRow* find(std::string_view message_id, std::string_view client_message_id);

 private:
  void forget(const QueueRow& row);

  std::size_t bytes_ = 0;
  // Views into the messages of the rows.
  std::unordered_map<std::string_view, std::int64_t> by_message_id_;
  std::unordered_map<std::string_view, std::int64_t> by_client_id_;
};

}  // namespace cm::broker
