// cm.broker.delivery/1: offers of waiting messages to the ways that reach members without a connection. Nothing is kept
// of a message but while an offer of it is open; what waits is read from the store again. So a crash repeats offers and
// loses none: a row leaves the store only when a way confirms that it was delivered.
#pragma once

#include <claudemesh/ext/broker.h>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "plugins/ws_broker/src/context.hpp"
#include "plugins/ws_broker/src/delivery.hpp"
#include "plugins/ws_broker/src/mesh_cache.hpp"
#include "plugins/ws_broker/src/write_behind.hpp"

namespace cm::broker {

class Ways {
 public:
  static constexpr std::int64_t kPageRows = 32;
  static constexpr std::size_t kOpenPerMember = 32;      // open offers of one member: more wait their turn
  static constexpr std::size_t kReadsMax = 4;            // members that are read at a time
  static constexpr std::size_t kNotesPerMember = 1'024;  // rows with a pause or a rejection that are remembered
  static constexpr std::int64_t kPauseMs = 5'000;        // after the first failure; doubles
  static constexpr std::int64_t kPauseMaxMs = 3'600'000;

  Ways(Context& context, WriteBehind& writes, Delivery& delivery, MeshCache& cache,
       std::function<std::int64_t()> first_unsettled_seq);

  // --- for the broker ---
  bool empty() const noexcept { return ways_.empty(); }
  // A message waits for a member that has no connection, or its last connection ended.
  void member_waits(Member& member);
  // It has a connection (or is no member any more): its offers are void.
  void member_reached(Member& member);
  // Messages that were accepted before are gone.
  void expire(std::int64_t accepted_before_ms);
  void tick(std::int64_t now_ms);
  void stop();

  // --- functions of the table ---
  cm_status add_way(cm_handle caller, const cm_broker_way& way, void* user, cm_handle* out_way);
  void remove_way(cm_handle caller, cm_handle way);
  cm_status confirm(cm_handle caller, cm_handle offer, std::uint32_t outcome, std::uint64_t retry_after_ms,
                    std::string_view reason);
  cm_status reachable(cm_handle caller, cm_handle way, std::string_view mesh_id, std::string_view member_id);

 private:
  struct Way {
    cm_handle caller = CM_NO_HANDLE;
    std::string name;
    std::int32_t order = 0;
    decltype(cm_broker_way::offer) offer = nullptr;
    decltype(cm_broker_way::withdrawn) withdrawn = nullptr;
    void* user = nullptr;
    std::size_t open = 0;
  };
  struct Offer {
    cm_handle way = CM_NO_HANDLE;
    Member* member = nullptr;
    std::int64_t seq = 0;
    std::int64_t created_at_ms = 0;
    std::int64_t deadline_ms = 0;
  };
  // What is remembered of a row between two looks at it.
  struct Note {
    std::uint32_t attempts = 0;
    std::int64_t not_before_ms = 0;
    std::set<cm_handle> rejected;  // ways that will never take it
    cm_handle offer = CM_NO_HANDLE;
  };
  // A member that waits.
  struct Desk {
    std::map<std::int64_t, Note> notes;
    std::set<cm_handle> refused;     // ways that do not reach it
    std::set<std::int64_t> settled;  // delivered since the last read began
    std::size_t open = 0;
    std::int64_t cursor = 0;
    std::int64_t due_ms = 0;  // when it is to be looked at again
    std::uint64_t generation = 0;
    bool queued = false;  // stands in ready_ or is being read
    bool again = false;   // something changed meanwhile
  };

  std::vector<cm_handle> ways_in_order() const;
  bool usable(Member& member, const Desk& desk) const;
  void wake(Member& member, Desk& desk);
  void plan();
  void run_ready();
  void read(Member& member, Desk& desk);
  void looked(Member& member, std::uint64_t generation, const std::vector<WaitingRow>& rows, const Status& status);
  // False when no further row can be offered now.
  bool look_at(Member& member, Desk& desk, const WaitingRow& row);
  bool offer_to(cm_handle way, Member& member, Desk& desk, Note& note, const WaitingRow& row);
  std::uint32_t ask(const Way& way, cm_handle handle, const Member& member, const WaitingRow& row,
                    std::uint32_t attempt);
  bool check_way(cm_handle way);
  void drop_way(cm_handle way);
  // Forgets an open offer; the note and the desk know nothing of it afterwards.
  Offer take_offer(cm_handle handle);
  void withdraw(cm_handle handle);
  void pause(Desk& desk, Note& note, std::int64_t at_least_ms);
  void delivered(Member& member, std::int64_t seq);

  Context& context_;
  WriteBehind& writes_;
  Delivery& delivery_;
  MeshCache& cache_;
  std::function<std::int64_t()> first_unsettled_seq_;
  std::map<cm_handle, Way> ways_;
  std::unordered_map<cm_handle, Offer> offers_;
  std::map<Member*, Desk> desks_;
  std::deque<Member*> ready_;
  std::size_t reading_ = 0;
  bool planned_ = false;
  bool stopped_ = false;
  cm_handle next_handle_ = 1;  // of ways and offers; never used twice
  std::uint64_t next_generation_ = 1;
  std::string frame_;  // reused
};

}  // namespace cm::broker
