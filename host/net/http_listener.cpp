#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "host/net/detail/http_server_core.hpp"
#include "host/net/detail/linger.hpp"

namespace cm::net::detail {

namespace {

constexpr int kAcceptsPerTurnMax = 64;
constexpr std::uint64_t kAcceptPauseMs = 100;  // after running out of descriptors

// A place under the listener's connection limit, given back when the socket closes (also after an upgrade).
class ListenerSlot final : public SocketSlot {
 public:
  ListenerSlot(std::shared_ptr<std::size_t> count, std::shared_ptr<NetCounters> counters)
      : count_(std::move(count)), counters_(std::move(counters)) {
    ++*count_;
    counters_->connections_open.add();
  }
  ~ListenerSlot() override {
    --*count_;
    counters_->connections_open.subtract();
  }
  ListenerSlot(const ListenerSlot&) = delete;
  ListenerSlot& operator=(const ListenerSlot&) = delete;

 private:
  std::shared_ptr<std::size_t> count_;
  std::shared_ptr<NetCounters> counters_;
};

}  // namespace

RemoteAddress to_address(const sockaddr_storage& storage) {
  RemoteAddress address;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    address.host = inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    address.port = ntohs(v4.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    const bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) != 0;
    address.host = mapped ? inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text.data(), text.size())
                          : inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    address.port = ntohs(v6.sin6_port);
  }
  return address;
}

HttpListener::HttpListener(HttpServerCore& server, ListeningSocket socket, ListenerInfo info,
                           std::size_t connections_max, std::shared_ptr<TlsServerContext> tls)
    : server_(server),
      socket_(std::move(socket)),
      info_(std::move(info)),
      connections_max_(connections_max),
      tls_(std::move(tls)) {}

HttpListener::~HttpListener() {
  watch_.stop();
  server_.loop.cancel_timer(resume_timer_);
}

Status HttpListener::start() {
  Status started = watch_.start(server_.loop, socket_.fd(), *this);
  if (started) {
    watch_.want(accepting_, false);
  }
  return started;
}

void HttpListener::set_accepting(bool accepting) {
  accepting_ = accepting;
  watch_.want(accepting, false);
}

void HttpListener::on_fd_ready(bool, bool) {
  for (int i = 0; i < kAcceptsPerTurnMax; ++i) {
    const int fd = ::accept4(socket_.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      accept_one(fd);
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      server_.counters->accept_errors.add();
      pause_accepting();
      return;
    }
    // ECONNABORTED and the like concern one peer only.
  }
}

// Without descriptors the listener stays readable, and waiting for it would spin.
void HttpListener::pause_accepting() {
  watch_.want(false, false);
  resume_timer_ = server_.loop.start_timer_after_ms(kAcceptPauseMs, [this] { watch_.want(accepting_, false); });
}

void HttpListener::accept_one(int fd) {
  auto socket = std::make_unique<StreamSocket>(fd);
  server_.counters->connections_accepted.add();
  if (*open_count_ >= connections_max_) {
    server_.counters->connections_refused.add();
    static constexpr std::string_view kRefusal =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\nConnection: close\r\n"
        "Content-Length: 88\r\n\r\n"
        "the listener has reached its connection limit; expected fewer connections; retry later\r\n";
    if (tls_ == nullptr) {
      [[maybe_unused]] const ssize_t ignored = ::send(fd, kRefusal.data(), kRefusal.size(), MSG_NOSIGNAL);
      server_.loop.core().lingerer().take(std::move(socket));
    }
    return;
  }
  socket->set_slot(std::make_unique<ListenerSlot>(open_count_, server_.counters));
  RemoteAddress remote;
  if (info_.path.empty()) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) == 0) {
      remote = to_address(storage);
    }
  }
  if (tls_ != nullptr) {
    auto session = TlsSession::server(*tls_, fd);
    if (!session) {
      server_.counters->tls_handshake_failures.add();
      return;
    }
    socket->set_tls(std::move(*session));
  }
  auto connection =
      std::make_shared<HttpServerConnection>(server_.shared_from_this(), std::move(socket), info_, std::move(remote));
  server_.add_connection(connection);
  connection->start();
}

Result<std::unique_ptr<HttpListener>> make_listener(HttpServerCore& server, Result<ListeningSocket> socket,
                                                    std::size_t connections_max,
                                                    std::shared_ptr<TlsServerContext> tls) {
  if (!socket) {
    return std::move(socket).error();
  }
  ListenerInfo info = socket->info();
  info.id = server.next_listener_id();
  info.tls = tls != nullptr;
  return std::make_unique<HttpListener>(server, std::move(socket).value(), std::move(info), connections_max,
                                        std::move(tls));
}

}  // namespace cm::net::detail
