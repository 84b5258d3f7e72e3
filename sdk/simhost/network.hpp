// The network of a simulation: listeners, HTTP exchanges and WebSocket connections between the nodes' instances, with
// seeded delay, partitions, resets and half-open connections. Bytes of one connection keep their order; different
// connections overtake each other.
#pragma once

#include <claudemesh/abi.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sdk/simhost/scheduler.hpp"

namespace cm::sim {

// Names a node; "" is the outside world (the scenario's own HTTP calls), which is never partitioned.
using NodeName = std::string;

struct NetworkFaults {
  std::uint64_t delay_us_min = 50;
  std::uint64_t delay_us_max = 5'000;
  double slow = 0.02;      // probability that one transmission takes up to 50 times longer
  double reset = 0;        // probability, per transmission, that the connection breaks
  double half_open = 0.5;  // probability that a crash is not noticed by the connection's other end
};

// One end of a WebSocket connection, owned by an instance of a node.
class SocketEnd {
 public:
  virtual ~SocketEnd() = default;
  virtual void deliver_open() = 0;
  virtual void deliver_messages(std::vector<std::pair<std::uint32_t, std::string>> messages) = 0;
  virtual void deliver_pong() = 0;
  virtual void deliver_closed(std::uint32_t code, const std::string& reason, bool clean) = 0;
};

// A connection between two ends (0: who connected, 1: who accepted). Lives until both ends are gone.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(class Network& network, NodeName client, NodeName server);

  void attach(int side, SocketEnd* end) { ends_[side] = end; }
  void send(int side, std::uint32_t kind, std::string payload);
  void ping(int side);
  void close(int side, std::uint32_t code, std::string reason);
  // The end stops or resumes reading: packets to it then wait in the network, in order. False after its close().
  bool pause(int side, bool paused);
  // Bytes of messages to that end that it has not read.
  std::size_t waiting_bytes(int side) const;
  // The end vanishes: its owner hears nothing more; the peer sees 1006, or nothing at all when `silent`.
  void abandon(int side, bool silent);
  void opened();
  // Both ends see 1006 after a delay.
  void reset();

  const NodeName& node(int side) const { return nodes_[side]; }

 private:
  friend class Network;
  struct Packet {
    enum class Kind { kOpen, kMessage, kPing, kPong, kClose, kCloseReply, kReset };
    Kind kind = Kind::kMessage;
    std::uint32_t number = 0;  // message kind or close code
    std::string text;
  };
  void transmit(int from, Packet packet);
  void flush(int to);
  void arrive(int to);
  void handle(int to, Packet packet, std::vector<std::pair<std::uint32_t, std::string>>& batch);
  void finish(int side, std::uint32_t code, const std::string& reason, bool clean);

  Network& network_;
  NodeName nodes_[2];
  SocketEnd* ends_[2] = {nullptr, nullptr};
  bool vanished_[2] = {false, false};  // crashed without a word
  bool close_sent_[2] = {false, false};
  bool paused_[2] = {false, false};  // reads nothing
  std::deque<Packet> in_flight_[2];  // by destination, in order
  std::uint64_t last_arrival_us_[2] = {0, 0};
  std::uint64_t arrivals_due_[2] = {0, 0};
};

struct HttpExchange {
  std::string method;
  std::string target;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

struct HttpAnswer {
  bool reached = false;  // false: refused, partitioned or the server crashed
  std::uint32_t status = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// What a listener does with an exchange; the answer may come later, at most once. An upgrade hands over a connection.
class ListenerEnd {
 public:
  virtual ~ListenerEnd() = default;
  virtual void deliver_request(HttpExchange exchange, const NodeName& from, std::function<void(HttpAnswer)> answer,
                               std::shared_ptr<Connection> upgrade) = 0;
};

class Network {
 public:
  Network(Scheduler& scheduler, Random random) : scheduler_(scheduler), random_(random) {}

  NetworkFaults faults;

  // `address` as a plugin gives it ("host:port", "unix:/path"). Port 0 gets a free one. Empty result: in use.
  std::string listen(const NodeName& node, std::string address, ListenerEnd* listener);
  void close_listener(const std::string& address);

  void request(const NodeName& from, const std::string& address, HttpExchange exchange,
               std::function<void(HttpAnswer)> answer);
  // The end's deliver_open or deliver_closed follows.
  std::shared_ptr<Connection> connect(const NodeName& from, const std::string& address, HttpExchange upgrade,
                                      SocketEnd* end);

  void partition(const NodeName& a, const NodeName& b);
  void heal(const NodeName& a, const NodeName& b);
  void heal_all();
  bool reachable(const NodeName& a, const NodeName& b) const;
  // Breaks every connection of the node (not a crash: both ends notice).
  void reset_connections(const NodeName& node);

  std::uint64_t messages_delivered = 0;
  std::uint64_t connections_reset = 0;

 private:
  friend class Connection;
  struct Listener {
    NodeName node;
    ListenerEnd* end;
  };
  std::uint64_t delay_us();
  static std::pair<NodeName, NodeName> link(const NodeName& a, const NodeName& b);

  Scheduler& scheduler_;
  Random random_;
  std::map<std::string, Listener> listeners_;
  std::set<std::pair<NodeName, NodeName>> partitions_;
  std::vector<std::weak_ptr<Connection>> connections_;
  std::uint32_t next_port_ = 40'000;
};

}  // namespace cm::sim
