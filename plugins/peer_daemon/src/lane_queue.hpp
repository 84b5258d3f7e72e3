// The outgoing queue of one lane: the undelivered messages of one sender identity in one mesh, in their order. Pure:
// time and randomness are arguments. Holds no plaintext.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace cm::daemon {

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
inline constexpr std::int64_t kRateLimitPauseMs = 1'000;
// So often a message may fail for a passing reason before younger ones overtake it: until then the sender's order is
// kept, after that one message that always fails must not hold up the others.
inline constexpr std::uint32_t kOrderedAttemptsMax = 8;

// What was frozen at accept: identical at every attempt.
struct FrozenMessage {
  std::string target;
  std::string nonce;
  std::string ciphertext;
  std::string fingerprint_hex;
  std::string reply_to_id;
  std::uint32_t priority = 2;  // CM_PRIORITY_*
};

struct QueuedRow {
  std::int64_t seq = 0;  // the order of the accepts; unique
  std::string client_message_id;
  std::string target;
  std::int64_t enqueued_at_ms = 0;
  std::int64_t next_attempt_ms = 0;
  std::uint32_t attempts = 0;
  std::size_t transport = 0;                     // which of the lane's transports comes next
  std::shared_ptr<const FrozenMessage> content;  // null: to be read from the store
};

// Why a message comes back.
enum class RetryCause : std::uint8_t {
  kClosed,       // the connection ended: due again at once, not its fault
  kRateLimited,  // the whole lane waits and slows down
  kNoRecipient,  // all messages for that target wait
  kOther,        // the whole lane waits, so that the order is kept
};
RetryCause retry_cause(std::string_view code);

struct RetryPlan {
  std::int64_t next_attempt_ms = 0;
  std::uint32_t attempts = 0;
};

// Rows are due, set aside until their time, or in flight. Rows that are due leave in the order of their seq. A failure
// that passes pauses the whole lane, so that nothing overtakes; only a row that failed kOrderedAttemptsMax times is set
// aside and waits alone. Rows for a target that is known to be away wait together.
class LaneQueue {
 public:
  explicit LaneQueue(std::size_t window_max) : window_max_(window_max), window_(static_cast<double>(window_max)) {}

  void add(QueuedRow row);
  // Marks up to as many due rows as the window allows as in flight and returns them, oldest first.
  std::vector<QueuedRow*> take(std::int64_t now_ms);
  // The link did not take it after all: due again.
  void give_back(std::int64_t seq);
  // The link answered "again". `random` is uniform.
  RetryPlan retry(std::int64_t seq, RetryCause cause, std::int64_t retry_after_ms, std::int64_t now_ms,
                  std::uint64_t random);
  // Accepted or rejected: the row is forgotten.
  void finish(std::int64_t seq, bool accepted);
  // A peer came: targets that were away may be there again.
  void forget_absences();

  // The link is gone and will not answer: everything is due again.
  void give_back_all();

  QueuedRow* find(std::int64_t seq);
  QueuedRow* find_inflight(std::string_view client_message_id);
  bool is_inflight(std::string_view client_message_id) const;
  // Rows that are not in flight and older than `max_age_ms`; they are forgotten here.
  std::vector<QueuedRow> take_expired(std::int64_t now_ms, std::int64_t max_age_ms);
  // The wall clock jumped by `jump_ms` and shows `now_ms`. Which of its times were right nobody knows: rows keep the
  // age they had, or get younger, so that none expires by a jump.
  void clock_jumped(std::int64_t jump_ms, std::int64_t now_ms);
  // Takes a row out that is not in flight; nothing when it is, or is unknown.
  std::optional<QueuedRow> remove(std::string_view client_message_id);
  // When take() may find something new; kNever when only an answer or a new row can bring work.
  std::int64_t next_wake_ms(std::int64_t now_ms) const;

  std::size_t size() const noexcept { return rows_.size(); }
  std::size_t inflight() const noexcept { return inflight_.size(); }
  std::size_t window() const noexcept;

 private:
  struct Hold {
    std::int64_t until_ms = 0;
    std::uint32_t attempts = 0;
  };
  void wait(const QueuedRow& row);

  std::size_t window_max_;
  double window_;
  std::int64_t paused_until_ms_ = 0;
  std::map<std::int64_t, QueuedRow> rows_;                   // by seq
  std::set<std::int64_t> due_;                               // seq
  std::set<std::pair<std::int64_t, std::int64_t>> waiting_;  // time, seq
  std::unordered_map<std::string, std::int64_t> inflight_;   // client message id -> seq
  std::unordered_map<std::string, std::int64_t> idle_;       // the others
  std::unordered_map<std::string, Hold> away_;               // target
};

}  // namespace cm::daemon
