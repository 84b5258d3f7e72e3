// Names of things that are being stored and are therefore not yet in the cache: whoever wants the same name waits or is
// refused. [loop]
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace cm::broker {

class ClaimedKeys {
  struct Hold {
    std::shared_ptr<std::set<std::string, std::less<>>> keys;
    std::string key;
    Hold(decltype(keys) all, std::string own) : keys(std::move(all)), key(std::move(own)) {}
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() { keys->erase(key); }
  };

 public:
  // The key is free again when the last copy is gone, however the write ended. It may outlive the ClaimedKeys, as the
  // callback of a write may.
  using Claim = std::shared_ptr<const Hold>;

  bool taken(std::string_view key) const { return keys_->find(key) != keys_->end(); }
  // Null when the key is taken.
  Claim claim(std::string key) {
    return keys_->insert(key).second ? std::make_shared<const Hold>(keys_, std::move(key)) : nullptr;
  }

 private:
  std::shared_ptr<std::set<std::string, std::less<>>> keys_ = std::make_shared<std::set<std::string, std::less<>>>();
};

}  // namespace cm::broker
