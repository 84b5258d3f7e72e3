#include "sim/checker.hpp"

#include <algorithm>
#include <utility>

namespace cm::sim {

SentMessage& Checker::expect(SentMessage message) {
  id_by_text_.emplace(message.text, message.client_message_id);
  const std::string id = message.client_message_id;
  return by_id_.emplace(id, std::move(message)).first->second;
}

SentMessage* Checker::find(const std::string& client_message_id) {
  const auto found = by_id_.find(client_message_id);
  return found == by_id_.end() ? nullptr : &found->second;
}

std::vector<SentMessage*> Checker::messages() {
  std::vector<SentMessage*> result;
  for (auto& [id, message] : by_id_) {
    result.push_back(&message);
  }
  return result;
}

std::size_t Checker::accepted_count() const {
  return static_cast<std::size_t>(
      std::count_if(by_id_.begin(), by_id_.end(), [](const auto& entry) { return entry.second.accepted; }));
}

bool Checker::complete(const Inboxes& inboxes) const {
  std::map<std::string, std::set<std::string>> texts;
  for (const auto& [name, inbox] : inboxes) {
    for (const ReceivedMessage& message : inbox) {
      texts[name].insert(message.text);
    }
  }
  for (const auto& [id, message] : by_id_) {
    for (const std::string& recipient : message.recipients) {
      if (message.accepted && !texts[recipient].contains(message.text)) {
        return false;
      }
    }
  }
  return true;
}

std::vector<std::string> Checker::violations(const Inboxes& inboxes,
                                             const std::vector<std::string_view>& broker_bytes) const {
  std::vector<std::string> found;
  for (const auto& [name, inbox] : inboxes) {
    check_inbox(name, inbox, found);
    check_order(name, inbox, found);
  }
  for (const auto& [id, message] : by_id_) {
    for (const std::string& recipient : message.recipients) {
      const auto inbox = inboxes.find(recipient);
      const bool there = inbox != inboxes.end() &&
                         std::any_of(inbox->second.begin(), inbox->second.end(),
                                     [&](const ReceivedMessage& received) { return received.text == message.text; });
      if (message.accepted && !there) {
        found.push_back("lost: " + id + " from " + message.sender + " was accepted and is not in the inbox of " +
                        recipient);
      }
    }
    const bool sealed = message.recipients.size() == 1;  // a broadcast of wire version 1 is not encrypted
    for (const std::string_view bytes : broker_bytes) {
      if (sealed && bytes.find(message.text) != std::string_view::npos) {
        found.push_back("readable: the broker's disk holds the text of " + id);
      }
    }
  }
  return found;
}

void Checker::check_inbox(const std::string& name, const std::vector<ReceivedMessage>& inbox,
                          std::vector<std::string>& found) const {
  std::map<std::string, int> count_by_text;
  for (const ReceivedMessage& received : inbox) {
    if (!received.has_text) {
      found.push_back("unreadable: " + received.client_message_id + " reached " + name + " but could not be opened");
      continue;
    }
    const auto id = id_by_text_.find(received.text);
    if (id == id_by_text_.end()) {
      found.push_back("invented: " + name + " has a text that nobody sent");
      continue;
    }
    const SentMessage& message = by_id_.at(id->second);
    if (!message.recipients.contains(name)) {
      found.push_back("leaked: " + id->second + " from " + message.sender + " is in the inbox of " + name);
    }
    if (message.refused) {
      found.push_back("refused, yet delivered: " + id->second + " is in the inbox of " + name);
    }
    const int allowed = message.requeued ? 2 : 1;
    if (++count_by_text[received.text] == allowed + 1) {
      found.push_back("twice: " + id->second + " is in the inbox of " + name + " more than once");
    }
  }
}

void Checker::check_order(const std::string& name, const std::vector<ReceivedMessage>& inbox,
                          std::vector<std::string>& found) const {
  std::map<std::string, std::uint64_t> last_order;
  for (const ReceivedMessage& received : inbox) {
    const auto id = id_by_text_.find(received.text);
    if (id == id_by_text_.end()) {
      continue;
    }
    const SentMessage& message = by_id_.at(id->second);
    if (!message.accepted || message.requeued) {
      continue;
    }
    std::uint64_t& last = last_order[message.sender];
    if (message.order < last) {
      found.push_back("out of order: " + id->second + " from " + message.sender + " came late to " + name);
    }
    last = std::max(last, message.order);
  }
}

}  // namespace cm::sim
