#include "sdk/simhost/network.hpp"

#include <algorithm>
#include <utility>

namespace cm::sim {
namespace {

constexpr std::uint32_t kCloseAbnormal = 1006;  // RFC 6455 section 7.1.5
constexpr std::uint64_t kSlowFactor = 50;
constexpr std::uint64_t kConnectTimeoutUs = 10'000'000;
constexpr std::size_t kReadBytesMax = 256 * 1024;  // of the messages of one batch, as the real host reads

}  // namespace

Connection::Connection(Network& network, NodeName client, NodeName server)
    : network_(network), nodes_{std::move(client), std::move(server)} {}

void Connection::transmit(int from, Packet packet) {
  const int to = 1 - from;
  if (vanished_[from]) {
    return;
  }
  if (vanished_[to] && packet.kind != Packet::Kind::kReset) {
    // The other side is gone without a word: the bytes vanish; sometimes a restarted machine answers with a reset.
    if (network_.reachable(nodes_[0], nodes_[1]) && network_.random_.chance(0.3)) {
      network_.scheduler_.after(network_.delay_us(), [self = shared_from_this(), from] {
        self->finish(from, kCloseAbnormal, "reset", false);
      });
    }
    return;
  }
  if (network_.random_.chance(network_.faults.reset)) {
    reset();
    return;
  }
  in_flight_[to].push_back(std::move(packet));
  flush(to);
}

void Connection::flush(int to) {
  // Bytes wait during a partition, as TCP retransmits; the heal schedules them again.
  if (!network_.reachable(nodes_[0], nodes_[1])) {
    return;
  }
  const std::uint64_t due = std::max(last_arrival_us_[to], network_.scheduler_.now_us() + network_.delay_us());
  last_arrival_us_[to] = due;
  ++arrivals_due_[to];
  network_.scheduler_.at(due, [self = shared_from_this(), to] { self->arrive(to); });
}

void Connection::arrive(int to) {
  --arrivals_due_[to];
  if (!network_.reachable(nodes_[0], nodes_[1]) || paused_[to]) {
    return;
  }
  // What has piled up arrives together, as one read would return it.
  std::vector<std::pair<std::uint32_t, std::string>> batch;
  const std::size_t count =
      std::min<std::size_t>(in_flight_[to].size(), arrivals_due_[to] == 0 ? SIZE_MAX : 1 + network_.random_.below(4));
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < count && !in_flight_[to].empty() && !paused_[to] && bytes < kReadBytesMax; ++i) {
    Packet packet = std::move(in_flight_[to].front());
    in_flight_[to].pop_front();
    bytes += packet.text.size();
    handle(to, std::move(packet), batch);
  }
  if (!batch.empty() && ends_[to] != nullptr) {
    network_.messages_delivered += batch.size();
    ends_[to]->deliver_messages(std::move(batch));
  }
  if (bytes >= kReadBytesMax && arrivals_due_[to] == 0 && !in_flight_[to].empty() && !paused_[to]) {
    flush(to);
  }
}

bool Connection::pause(int side, bool paused) {
  if (close_sent_[side]) {
    return false;
  }
  if (std::exchange(paused_[side], paused) && !paused && !in_flight_[side].empty()) {
    flush(side);
  }
  return true;
}

std::size_t Connection::waiting_bytes(int side) const {
  std::size_t bytes = 0;
  for (const Packet& packet : in_flight_[side]) {
    bytes += packet.text.size();
  }
  return bytes;
}

void Connection::handle(int to, Packet packet, std::vector<std::pair<std::uint32_t, std::string>>& batch) {
  const auto deliver_batch = [&] {
    if (!batch.empty() && ends_[to] != nullptr) {
      network_.messages_delivered += batch.size();
      ends_[to]->deliver_messages(std::exchange(batch, {}));
    }
  };
  switch (packet.kind) {
    case Packet::Kind::kMessage:
      batch.emplace_back(packet.number, std::move(packet.text));
      break;
    case Packet::Kind::kOpen:
      if (ends_[to] != nullptr) {
        ends_[to]->deliver_open();
      }
      break;
    case Packet::Kind::kPing:
      transmit(to, Packet{Packet::Kind::kPong, 0, {}});
      break;
    case Packet::Kind::kPong:
      deliver_batch();
      if (ends_[to] != nullptr) {
        ends_[to]->deliver_pong();
      }
      break;
    case Packet::Kind::kClose:
      deliver_batch();
      transmit(to, Packet{Packet::Kind::kCloseReply, packet.number, packet.text});
      finish(to, packet.number, packet.text, true);
      break;
    case Packet::Kind::kCloseReply:
      deliver_batch();
      finish(to, packet.number, packet.text, true);
      break;
    case Packet::Kind::kReset:
      deliver_batch();
      finish(to, kCloseAbnormal, packet.text, false);
      break;
  }
}

void Connection::finish(int side, std::uint32_t code, const std::string& reason, bool clean) {
  if (SocketEnd* end = std::exchange(ends_[side], nullptr)) {
    end->deliver_closed(code, reason, clean);
  }
}

void Connection::send(int side, std::uint32_t kind, std::string payload) {
  if (!close_sent_[side]) {
    transmit(side, Packet{Packet::Kind::kMessage, kind, std::move(payload)});
  }
}

void Connection::ping(int side) {
  transmit(side, Packet{Packet::Kind::kPing, 0, {}});
}

void Connection::close(int side, std::uint32_t code, std::string reason) {
  pause(side, false);
  if (!std::exchange(close_sent_[side], true)) {
    transmit(side, Packet{Packet::Kind::kClose, code, std::move(reason)});
  }
}

void Connection::abandon(int side, bool silent) {
  ends_[side] = nullptr;
  in_flight_[side].clear();
  if (silent) {
    vanished_[side] = true;
    return;
  }
  transmit(side, Packet{Packet::Kind::kReset, 0, "connection reset"});
  vanished_[side] = true;
}

void Connection::opened() {
  transmit(1, Packet{Packet::Kind::kOpen, 0, {}});
}

void Connection::reset() {
  ++network_.connections_reset;
  for (int side = 0; side < 2; ++side) {
    in_flight_[side].clear();
    network_.scheduler_.after(network_.delay_us(), [self = shared_from_this(), side] {
      self->finish(side, kCloseAbnormal, "connection reset", false);
    });
  }
}

std::uint64_t Network::delay_us() {
  const std::uint64_t delay = random_.between(faults.delay_us_min, faults.delay_us_max);
  return random_.chance(faults.slow) ? delay * random_.between(1, kSlowFactor) : delay;
}

std::pair<NodeName, NodeName> Network::link(const NodeName& a, const NodeName& b) {
  return a < b ? std::pair(a, b) : std::pair(b, a);
}

bool Network::reachable(const NodeName& a, const NodeName& b) const {
  return !partitions_.contains(link(a, b));
}

void Network::partition(const NodeName& a, const NodeName& b) {
  partitions_.insert(link(a, b));
}

void Network::heal(const NodeName& a, const NodeName& b) {
  partitions_.erase(link(a, b));
  std::erase_if(connections_, [](const auto& weak) { return weak.expired(); });
  const auto connections = connections_;
  for (const auto& weak : connections) {
    const auto connection = weak.lock();
    if (connection == nullptr || link(connection->node(0), connection->node(1)) != link(a, b)) {
      continue;
    }
    for (int to = 0; to < 2; ++to) {
      if (!connection->in_flight_[to].empty()) {
        connection->flush(to);
      }
    }
  }
}

void Network::heal_all() {
  const auto partitions = partitions_;
  for (const auto& [a, b] : partitions) {
    heal(a, b);
  }
}

void Network::reset_connections(const NodeName& node) {
  std::erase_if(connections_, [](const auto& weak) { return weak.expired(); });
  const auto connections = connections_;
  for (const auto& weak : connections) {
    const auto connection = weak.lock();
    if (connection != nullptr && (connection->node(0) == node || connection->node(1) == node)) {
      connection->reset();
    }
  }
}

std::string Network::listen(const NodeName& node, std::string address, ListenerEnd* listener) {
  if (address.ends_with(":0") && !address.starts_with("unix:")) {
    address.pop_back();
    address += std::to_string(next_port_++);
  }
  return listeners_.emplace(address, Listener{node, listener}).second ? address : std::string();
}

void Network::close_listener(const std::string& address) {
  listeners_.erase(address);
}

void Network::request(const NodeName& from, const std::string& address, HttpExchange exchange,
                      std::function<void(HttpAnswer)> answer) {
  scheduler_.after(delay_us(),
                   [this, from, address, exchange = std::move(exchange), answer = std::move(answer)]() mutable {
                     const auto found = listeners_.find(address);
                     if (found == listeners_.end() || !reachable(from, found->second.node)) {
                       scheduler_.after(delay_us(), [answer = std::move(answer)] { answer(HttpAnswer()); });
                       return;
                     }
                     auto delayed = [this, answer = std::move(answer)](HttpAnswer result) mutable {
                       scheduler_.after(delay_us(), [answer, result = std::move(result)] { answer(result); });
                     };
                     found->second.end->deliver_request(std::move(exchange), from, std::move(delayed), nullptr);
                   });
}

std::shared_ptr<Connection> Network::connect(const NodeName& from, const std::string& address, HttpExchange upgrade,
                                             SocketEnd* end) {
  const auto found = listeners_.find(address);
  const NodeName server = found == listeners_.end() ? NodeName() : found->second.node;
  auto connection = std::make_shared<Connection>(*this, from, server);
  connection->attach(0, end);
  connections_.push_back(connection);
  if (found != listeners_.end() && !reachable(from, server)) {
    scheduler_.after(kConnectTimeoutUs,
                     [connection] { connection->finish(0, kCloseAbnormal, "connect timed out", false); });
    return connection;
  }
  scheduler_.after(delay_us(), [this, from, address, connection, upgrade = std::move(upgrade)]() mutable {
    const auto listener = listeners_.find(address);
    if (listener == listeners_.end() || !reachable(from, listener->second.node)) {
      scheduler_.after(delay_us(),
                       [connection] { connection->finish(0, kCloseAbnormal, "connection refused", false); });
      return;
    }
    auto refused = [this, connection](HttpAnswer answer) {
      scheduler_.after(delay_us(), [connection, status = answer.status] {
        connection->finish(0, kCloseAbnormal, "the server answered " + std::to_string(status), false);
      });
    };
    listener->second.end->deliver_request(std::move(upgrade), from, std::move(refused), connection);
  });
  return connection;
}

}  // namespace cm::sim
