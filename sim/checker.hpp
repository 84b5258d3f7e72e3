// Follows every message of a simulated mesh and says which contract of design part 4 was broken. Pure: no world, no
// plugins.
//
//   1. what was answered 202 is delivered, whatever crashed;
//   2. it reaches each recipient's inbox exactly once, with its own text;
//   3. an idempotency key keeps its first meaning: repeating it never makes a second message;
//   4. the audience never grows, and nobody but the recipients can read it; one sender's order is kept.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace cm::sim {

// A message as the scenario sent it.
struct SentMessage {
  std::string client_message_id;
  std::string sender;
  std::set<std::string> recipients;  // names; everybody who must get it, nobody else may
  std::string text;                  // unique
  bool accepted = false;             // the local API answered 202 or 200
  bool refused = false;              // it answered with a final refusal: must not arrive anywhere
  std::uint64_t order = 0;           // among the sender's messages; set when the answer came
  bool requeued = false;             // an operator gave it a new id: it may arrive once more under that id
};

// A row of a recipient's inbox.
struct ReceivedMessage {
  std::string client_message_id;
  std::string sender_name;
  std::string text;
  bool has_text = true;
};

class Checker {
 public:
  SentMessage& expect(SentMessage message);
  SentMessage* find(const std::string& client_message_id);
  std::vector<SentMessage*> messages();
  std::size_t accepted_count() const;

  // True when every accepted message is in the inbox of each of its recipients. `inboxes`: oldest first, by name.
  using Inboxes = std::map<std::string, std::vector<ReceivedMessage>>;
  bool complete(const Inboxes& inboxes) const;

  // All violations, as sentences. `broker_bytes`: everything the broker keeps on disk.
  std::vector<std::string> violations(const Inboxes& inboxes, const std::vector<std::string_view>& broker_bytes) const;

 private:
  void check_inbox(const std::string& name, const std::vector<ReceivedMessage>& inbox,
                   std::vector<std::string>& found) const;
  void check_order(const std::string& name, const std::vector<ReceivedMessage>& inbox,
                   std::vector<std::string>& found) const;

  std::map<std::string, SentMessage> by_id_;
  std::map<std::string, std::string> id_by_text_;
};

}  // namespace cm::sim
