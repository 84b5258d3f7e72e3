#include "bench/mesh_client.hpp"

#include <chrono>
#include <fstream>
#include <iterator>

#include "protocol/canonical.hpp"
#include "protocol/json.hpp"
#include "protocol/wire_reader.hpp"
#include "protocol/wire_write.hpp"

namespace cm::bench {
namespace {

constexpr std::size_t kFrameBytesMax = 1024 * 1024;
constexpr int kHelloTimeoutMs = 10'000;
constexpr std::uint8_t kMask[4] = {0x12, 0x34, 0x56, 0x78};

std::int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Identity Identity::load(const std::string& path) {
  std::ifstream in(path);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const auto json = protocol::parse_json(text);
  if (!json) {
    fail("cannot read the identity " + path + ": " + json.error().message);
  }
  const auto member = [&](const char* key) {
    const protocol::JsonValue* value = json->find(key);
    if (value == nullptr || value->as_string() == nullptr) {
      fail("the identity " + path + " has no " + key);
    }
    return *value->as_string();
  };
  return Identity{member("meshId"), member("memberId"), member("pubkey"), member("secretKey")};
}

MeshClient::MeshClient(const std::string& address, const Identity& identity, const std::string& session)
    : socket_(Socket::connect(address)), decoder_(net::WsRole::kClient, kFrameBytesMax) {
  upgrade(address);
  hello(identity, session);
}

void MeshClient::upgrade(const std::string& address) {
  socket_.queue("GET /ws HTTP/1.1\r\nHost: " + address +
                "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  socket_.flush_blocking();
  for (;;) {
    const std::string_view head(reinterpret_cast<const char*>(socket_.input_data()), socket_.input_size());
    const auto end = head.find("\r\n\r\n");
    if (end != std::string_view::npos) {
      if (!head.starts_with("HTTP/1.1 101")) {
        fail("the broker refused the upgrade: " + std::string(head.substr(0, head.find('\r'))));
      }
      socket_.consume(end + 4);
      return;
    }
    if (!socket_.fill_blocking(kHelloTimeoutMs)) {
      fail("the broker did not answer the upgrade");
    }
  }
}

void MeshClient::hello(const Identity& identity, const std::string& session) {
  auto secret = protocol::SecretKey::from_hex(identity.secret_key_hex);
  if (!secret) {
    fail("the identity's secret key is wrong: " + secret.error().message);
  }
  protocol::Hello hello;
  hello.mesh_id = identity.mesh_id;
  hello.member_id = identity.member_id;
  hello.pubkey = identity.pubkey;
  hello.session_id = session;
  hello.pid = 1;
  hello.cwd = "/";
  hello.channel = "claudemesh-daemon";
  hello.timestamp_ms = static_cast<double>(unix_ms());
  const std::string canonical =
      protocol::canonical_hello(hello.mesh_id, hello.member_id, hello.pubkey, hello.timestamp_ms);
  hello.signature = protocol::sign_hex(*secret, canonical);
  std::string frame;
  protocol::write_hello(frame, hello);
  queue_frame(frame);
  socket_.flush_blocking();
  bool acknowledged = false;
  while (!acknowledged) {
    if (!socket_.fill_blocking(kHelloTimeoutMs)) {
      fail("no hello_ack within 10 s");
    }
    dispatch([&acknowledged](std::string_view text) {
      acknowledged = acknowledged || text.find("\"hello_ack\"") != std::string_view::npos;
      if (text.find("\"type\":\"error\"") != std::string_view::npos) {
        fail("the broker refused the hello: " + std::string(text));
      }
    });
  }
}

void MeshClient::queue_frame(std::string_view text) {
  const net::WsFrameHead head = net::ws_frame_head(net::WsOpcode::kText, true, text.size(), kMask);
  scratch_.assign(reinterpret_cast<const char*>(head.bytes.data()), head.size);
  scratch_.append(text);
  net::ws_apply_mask({reinterpret_cast<std::uint8_t*>(scratch_.data()) + head.size, text.size()}, kMask);
  socket_.queue(scratch_);
}

void MeshClient::queue_send(std::string_view id, std::string_view target, std::string_view nonce,
                            std::string_view ciphertext) {
  protocol::SendView send;
  send.id = id;
  send.target_spec = target;
  send.nonce = nonce;
  send.ciphertext = ciphertext;
  send.client_message_id = id;
  std::string frame;
  protocol::write_send(frame, send);
  queue_frame(frame);
}

void MeshClient::queue_client_ack(std::string_view message_id, std::string_view client_message_id) {
  protocol::ClientAckView ack;
  ack.broker_message_id = message_id;
  ack.client_message_id = client_message_id;
  std::string frame;
  protocol::write_client_ack(frame, ack);
  queue_frame(frame);
}

void MeshClient::dispatch(const std::function<void(std::string_view)>& on_frame) {
  batch_.clear();
  const auto outcome = decoder_.decode({socket_.input_data(), socket_.input_size()}, batch_);
  if (outcome.failure || outcome.closed) {
    fail("the broker closed the connection");
  }
  for (const net::WsMessage& message : batch_.messages) {
    on_frame(message.data);
  }
  for (const net::WsControl& control : batch_.controls) {
    if (control.opcode == net::WsOpcode::kPing) {
      const net::WsFrameHead head = net::ws_frame_head(net::WsOpcode::kPong, true, 0, kMask);
      socket_.queue({reinterpret_cast<const char*>(head.bytes.data()), head.size});
    }
  }
  socket_.consume(outcome.consumed);
}

}  // namespace cm::bench
