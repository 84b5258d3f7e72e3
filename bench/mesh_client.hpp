// A wire-protocol client for load: one WebSocket, hello, send, receive.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "bench/socket.hpp"
#include "host/net/ws_codec.hpp"
#include "protocol/keys.hpp"

namespace cm::bench {

// What joining gave, read from a JSON file: meshId, memberId, pubkey, secretKey.
struct Identity {
  std::string mesh_id;
  std::string member_id;
  std::string pubkey;
  std::string secret_key_hex;
  static Identity load(const std::string& path);
};

class MeshClient {
 public:
  // Connects, upgrades, says hello and waits for hello_ack. `session` makes the presence distinct.
  MeshClient(const std::string& address, const Identity& identity, const std::string& session);

  Socket& socket() { return socket_; }
  void queue_frame(std::string_view text);
  void queue_send(std::string_view id, std::string_view target, std::string_view nonce, std::string_view ciphertext);
  void queue_client_ack(std::string_view message_id, std::string_view client_message_id);
  // Calls `on_frame` for each complete message in the socket's input; answers pings.
  void dispatch(const std::function<void(std::string_view)>& on_frame);

 private:
  void upgrade(const std::string& address);
  void hello(const Identity& identity, const std::string& session);

  Socket socket_;
  net::WsDecoder decoder_;
  net::WsBatch batch_;
  std::string scratch_;
};

}  // namespace cm::bench
