#include "plugins/peer_daemon/src/peer_directory.hpp"

#include <utility>

#include "protocol/json.hpp"
#include "protocol/json_fields.hpp"

namespace cm::daemon {

Result<PeerList> read_peer_list(const std::string& frame, const std::string& mesh, std::int64_t now_ms) {
  const Result<protocol::JsonValue> tree = protocol::parse_json(frame);
  if (!tree) {
    return tree.error();
  }
  const protocol::JsonValue* peers = tree->find("peers");
  if (peers == nullptr || peers->as_array() == nullptr) {
    return make_error(ErrorCode::kInvalid, "the broker answered list_peers with " + text_of(*tree, "type") + " " +
                                               text_of(*tree, "message"));
  }
  PeerList list;
  list.at_ms = now_ms;
  for (const protocol::JsonValue& entry : *peers->as_array()) {
    if (!entry.is_object()) {
      continue;
    }
    list.peers.push_back(PeerView{text_of(entry, "pubkey"), text_of(entry, "memberPubkey"),
                                  text_of(entry, "displayName"), text_of(entry, "peerRole")});
    protocol::JsonValue item = entry;
    item.set("mesh", protocol::JsonValue(mesh));
    list.items_json.push_back(protocol::to_json(item));
  }
  return list;
}

std::shared_ptr<const PeerList> PeerDirectory::last() const {
  return list_ != nullptr && host_.unix_ms() - list_->at_ms <= kPeersStaleMs ? list_ : nullptr;
}

void PeerDirectory::get(std::int64_t max_age_ms, Done done) {
  if (fresh_ && list_ != nullptr && host_.unix_ms() - list_->at_ms <= max_age_ms) {
    done(list_);
    return;
  }
  waiting_.push_back(std::move(done));
  if (waiting_.size() == 1) {
    links_.request(R"({"type":"list_peers"})", kRequestTimeoutMs,
                   [this](Result<std::string> reply) { finish(std::move(reply)); });
  }
}

void PeerDirectory::take(const std::string& frame) {
  Result<PeerList> list = read_peer_list(frame, links_.lane().mesh, host_.unix_ms());
  if (list) {
    static_cast<void>(keep(std::move(*list)));
  }
}

std::shared_ptr<const PeerList> PeerDirectory::keep(PeerList list) {
  list_ = std::make_shared<const PeerList>(std::move(list));
  fresh_ = true;
  if (listener_) {
    listener_(*list_);
  }
  return list_;
}

void PeerDirectory::finish(Result<std::string> reply) {
  std::vector<Done> waiting = std::exchange(waiting_, {});
  Result<PeerList> list =
      reply ? read_peer_list(*reply, links_.lane().mesh, host_.unix_ms()) : Result<PeerList>(std::move(reply).error());
  if (!list) {
    for (const Done& done : waiting) {
      done(list.error());
    }
    return;
  }
  const std::shared_ptr<const PeerList> shared = keep(std::move(*list));
  for (const Done& done : waiting) {
    done(shared);
  }
}

}  // namespace cm::daemon
