#include "sdk/checker/peer.hpp"

#include <boost/json.hpp>

#include <utility>

namespace cm::checker {
namespace {

namespace json = boost::json;

constexpr std::uint32_t kTextFrame = 1;

std::string member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  return value == nullptr || !value->is_string() ? std::string() : std::string(value->get_string());
}

}  // namespace

class Peer::End final : public sim::SocketEnd {
 public:
  End(Peer& peer, std::shared_ptr<sim::Connection> connection) : peer_(peer), connection_(std::move(connection)) {
    connection_->attach(1, this);
    connection_->opened();
  }
  void deliver_open() override {}
  void deliver_messages(std::vector<std::pair<std::uint32_t, std::string>> messages) override {
    for (auto& [kind, text] : messages) {
      peer_.take(*this, text);
    }
  }
  void deliver_pong() override {}
  void deliver_closed(std::uint32_t, const std::string&, bool) override { connection_.reset(); }

  void say(const std::string& text) {
    if (connection_ != nullptr) {
      connection_->send(1, kTextFrame, text);
    }
  }
  void reset() {
    if (connection_ != nullptr) {
      connection_->reset();
    }
  }
  void forget() {
    if (connection_ != nullptr) {
      connection_->abandon(1, true);
      connection_.reset();
    }
  }

 private:
  Peer& peer_;
  std::shared_ptr<sim::Connection> connection_;
};

Peer::Peer(sim::World& world) : world_(world) {
  listen();
}

Peer::~Peer() {
  stop_listening();
  for (const auto& end : ends_) {
    end->forget();
  }
}

void Peer::listen() {
  if (!listening_) {
    listening_ = !world_.network().listen("peer", std::string(kPeerAddress), this).empty();
  }
}

void Peer::stop_listening() {
  if (std::exchange(listening_, false)) {
    world_.network().close_listener(std::string(kPeerAddress));
  }
}

void Peer::drop_connections() {
  for (const auto& end : ends_) {
    end->reset();
  }
}

void Peer::push(const std::string& text) {
  for (const auto& end : ends_) {
    end->say(text);
  }
}

void Peer::push_message(const std::string& message_id) {
  const std::string key(64, 'b');
  push(R"({"type":"push","messageId":")" + message_id + R"(","meshId":"mesh","senderPubkey":")" + key +
       R"(","priority":"next","nonce":"bm9uY2U=","ciphertext":"Y2lwaGVy","createdAt":"2026-01-01T00:00:00.000Z"})");
}

void Peer::deliver_request(sim::HttpExchange, const sim::NodeName&, std::function<void(sim::HttpAnswer)> answer,
                           std::shared_ptr<sim::Connection> upgrade) {
  if (upgrade != nullptr) {
    ++connections;
    ends_.push_back(std::make_unique<End>(*this, std::move(upgrade)));
    return;
  }
  ++requests;
  sim::HttpAnswer result;
  result.reached = true;
  result.status = garbage ? 599 : 200;
  result.body = garbage ? std::string("\xff\xfe\0{{{", 6) : std::string("{\"ok\":true}");
  answer(result);
}

// What a broker of the wire protocol answers, as far as a link needs it to open and to send.
void Peer::take(End& end, const std::string& text) {
  if (garbage) {
    end.say("\x7f{\"type\":[[[");
    end.say("{\"type\":\"ack\"}");
    end.say("{\"type\":7,\"_reqId\":{}}");
    return;
  }
  json::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) {
    return;
  }
  const json::object& frame = value.get_object();
  const std::string type = member(frame, "type");
  const std::string request = member(frame, "_reqId");
  if (type == "hello" || type == "session_hello") {
    end.say(R"({"type":"hello_ack","presenceId":"p1","memberDisplayName":"check"})");
  } else if (type == "send") {
    received.push_back(member(frame, "id"));
    if (!mute) {
      end.say(R"({"type":"ack","id":")" + member(frame, "id") + R"(","messageId":"b)" +
              std::to_string(received.size()) + R"(","queued":true})");
    }
  } else if (!request.empty() && !mute) {
    end.say(R"({"type":"error","code":"unknown_message_type","message":"?","_reqId":")" + request + "\"}");
  }
}

}  // namespace cm::checker
