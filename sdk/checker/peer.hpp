// The other end of the network: a server that stands on the node "peer" and answers HTTP and WebSockets. To a link of
// the mesh's wire protocol it looks like a small broker; for other plugins it is somebody who listens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sdk/simhost/network.hpp"
#include "sdk/simhost/world.hpp"

namespace cm::checker {

inline constexpr std::string_view kPeerAddress = "peer:7900";

class Peer final : public sim::ListenerEnd {
 public:
  explicit Peer(sim::World& world);
  ~Peer() override;

  void listen();
  void stop_listening();               // connections are refused from now on; those that exist stay
  void drop_connections();             // resets all
  void push(const std::string& text);  // one message to every connection
  void push_message(const std::string& message_id);

  bool mute = false;     // takes messages and never answers them
  bool garbage = false;  // answers everything with bytes that mean nothing
  std::uint64_t connections = 0;
  std::uint64_t requests = 0;
  std::vector<std::string> received;  // ids of `send` frames, in order of arrival

  void deliver_request(sim::HttpExchange exchange, const sim::NodeName& from,
                       std::function<void(sim::HttpAnswer)> answer, std::shared_ptr<sim::Connection> upgrade) override;

 private:
  class End;
  friend class End;
  void take(End& end, const std::string& text);

  sim::World& world_;
  bool listening_ = false;
  std::vector<std::unique_ptr<End>> ends_;
};

}  // namespace cm::checker
