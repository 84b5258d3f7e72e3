// From stored rows to recipients: claim, push, wait for the acknowledgement, push again (wire/04 section 5).
//
// A row is pushed to one connection (a fresh multicast: to all connections of the member) and then claimed for a while.
// Only the recipient's client_ack makes it delivered, with one exception: a multicast that reached only clients which
// never acknowledge, as 1.37.0 treats it. Rows of members without a connection stay in the store.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "plugins/ws_broker/src/context.hpp"
#include "plugins/ws_broker/src/member_queue.hpp"
#include "plugins/ws_broker/src/shared_frame.hpp"
#include "plugins/ws_broker/src/write_behind.hpp"

namespace cm::broker {

// Whether a presence may get a row at all: addressed to it, not its own, visible for multicasts, in the group. Status
// and sockets are not looked at. Pure.
bool may_receive(const Presence& presence, const QueueRow& row);
// Whether a feature has named the recipients of such a target: it is neither a key nor a group. Pure.
bool names_no_key(std::string_view target_spec);
// How well it suits: clients that acknowledge first, then the one whose own key is the target, then the
// newest connection, because an older one may be dead without anybody having noticed. Pure.
bool suits_better(const Presence& a, const Presence& b, const Message& message);
// How long the claim of the n-th push lasts: `base` doubled each time, at most `max`. Pure.
std::int64_t claim_duration_ms(std::uint32_t attempts_before, std::int64_t base_ms, std::int64_t max_ms);
// The frame of a row that comes out of the queue (wire/02 section 3.3, column "queue drain"); a multicast
// also tells its target.
void write_queued_push(std::string& out, const Message& message);

class Delivery {
 public:
  static constexpr std::int64_t kPageRows = 256;
  static constexpr std::size_t kQueueBytesMax = 8 * 1024 * 1024;  // per member
  // Acknowledgements of unknown rows that one member may have on their way to the store over all its connections, also
  // those that ended; more are dropped and counted, and the rows are pushed again.
  static constexpr std::size_t kOpenAcksMax = 4'096;

  // `first_unsettled_seq`: messages from there on may still be uncommitted.
  Delivery(Context& context, WriteBehind& writes, std::function<std::int64_t()> first_unsettled_seq);

  // Told of each row for a member without a connection.
  void set_waiting(std::function<void(Member&)> waiting) { waiting_ = std::move(waiting); }
  // A presence got a connection (hello or reattach).
  void presence_online(Presence& presence);
  // Its connection `connection` ended, or the presence is about to be removed; it is not online any more.
  void presence_offline(Presence& presence, std::uint64_t connection);

  // An accepted message: a row for each recipient that is connected. Call drain_touched() afterwards.
  void add(const MessagePtr& message, const std::vector<Recipient>& recipients, bool multicast,
           const std::shared_ptr<const SharedFrame>& live);
  void drain_touched();
  void drain(Member& member);
  // True: the store has to look for the row; `settled` is called when it has.
  bool client_ack(Presence& presence, std::string_view message_id, std::string_view client_message_id,
                  std::function<void()> settled);
  void socket_drained(Presence& presence);
  // Expired claims go back to the queue.
  void sweep();
  // Rows of messages that were accepted before are forgotten; the store forgets them by itself.
  void expire(std::int64_t accepted_before_ms);
  void stop();

  void set_depth(std::int64_t depth);
  void add_depth(std::int64_t amount) { set_depth(depth_ + amount); }
  std::int64_t depth() const noexcept { return depth_; }

 private:
  using Row = MemberQueue::Rows::iterator;
  enum class Push { kClaimed, kDelivered, kNotPossible };

  Push push_row(Member& member, QueueRow& row);
  Push push_to_one(Member& member, QueueRow& row);
  Push push_to_all(Member& member, QueueRow& row);
  bool push_frame(Presence& presence, QueueRow& row);
  void set_claim(QueueRow& row, const Presence& presence);
  bool takes_now(Presence& presence, const QueueRow& row);
  void delivered(Member& member, std::int64_t seq);
  bool acknowledge_stored(Presence& presence, std::string_view message_id, std::string_view client_message_id,
                          std::function<void()> settled);
  void take_over_claims(const Presence& presence);
  void drop_queue(Member& member);
  void load_more(Member& member);
  void read_page(Member& member, std::uint64_t generation, std::int64_t cursor, std::int64_t horizon);
  void loaded(Member& member, std::uint64_t generation, std::int64_t horizon, bool page_full,
              std::vector<WaitingRow> rows);
  static bool has_online(const Member& member);

  Context& context_;
  WriteBehind& writes_;
  std::function<std::int64_t()> first_unsettled_seq_;
  std::function<void(Member&)> waiting_;
  std::unordered_set<Member*> active_;  // members with a queue
  std::vector<Member*> touched_;
  std::uint64_t next_generation_ = 1;
  std::int64_t depth_ = 0;
  std::string frame_;  // reused
};

}  // namespace cm::broker
