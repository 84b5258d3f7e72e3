// The durable inbox in cm.storage/1 (wire/06 section 5).
//
// One message is stored once per recipient: the key is mesh, sender, the sender's message id and, for what went to
// many, the receiving identity. So neither can a peer suppress another's message by reusing its id, nor does a
// redelivery on another connection store a direct message twice. A listing shows a message once even if several
// identities got it.
#pragma once

#include <claudemesh/cpp/storage.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cm::daemon {

struct InboxRow {
  std::string id;                 // of the row
  std::string client_message_id;  // of the sender; the broker's id when there was none
  std::string broker_message_id;
  std::string mesh;
  std::string topic;
  std::string sender_pubkey;
  std::string sender_member_pubkey;
  std::string sender_name;
  std::optional<std::string> body;  // nullopt: undecryptable, or a notice without a text
  std::string meta_json;
  std::int64_t received_at_ms = 0;
  std::string reply_to_id;
  std::string recipient_pubkey;
  std::string recipient_kind;  // "member" or "session"
  std::string dedupe_scope;    // "" for an opened direct message, else recipient_pubkey
  bool sealed = false;         // the body came out of an authenticated box
};

// Whose rows a caller may see: everything of this user, or one session's and its member's.
struct InboxScope {
  bool session = false;
  std::string mesh;
  std::string session_pubkey;
};

struct InboxQuery {
  std::optional<std::int64_t> since_ms;
  std::string topic;
  std::string from;  // sender key
  std::string mesh;
  std::int64_t limit = 100;
  bool unread_only = false;
  bool mark_seen = true;
};
struct InboxListing {
  std::string items_json;  // an array
  std::int64_t marked_seen = 0;
};

// All functions are called on the daemon's loop; answers come back there.
class InboxStore {
 public:
  template <typename Value>
  using Done = std::function<void(Result<Value>)>;

  static std::vector<SqlMigration> migrations();
  void bind(StorageClient& storage);

  // Writes what is new, all in one transaction; the answer says per row whether it was new. Durable when `done` comes.
  void insert(std::vector<InboxRow> rows, Done<std::vector<bool>> done);
  void list(InboxQuery query, InboxScope scope, std::int64_t now_ms, Done<InboxListing> done);
  void mark_seen(std::vector<std::string> ids, InboxScope scope, std::int64_t now_ms, Done<std::int64_t> done);
  // The number of messages removed: 0 or 1.
  void remove(std::string id, InboxScope scope, Done<std::int64_t> done);
  void flush(std::string mesh, std::optional<std::int64_t> before_ms, InboxScope scope, Done<std::int64_t> done);
  void prune(std::int64_t before_ms, Done<std::int64_t> done);

 private:
  struct Statements {
    cm_statement insert = 0;
    cm_statement list = 0;
    cm_statement seen = 0;
    cm_statement remove = 0;
    cm_statement flush = 0;
    cm_statement prune = 0;
  };
  StorageClient* storage_ = nullptr;
  Statements statements_;
};

}  // namespace cm::daemon
