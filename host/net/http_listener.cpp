#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "host/net/detail/http_server_core.hpp"
#include "host/net/detail/linger.hpp"

namespace cm::net::detail {

namespace {

constexpr int kAcceptsPerTurnMax = 64;
constexpr std::uint64_t kAcceptPauseMs = 100;  // after running out of descriptors

// Closes unless released.
class FdGuard {
 public:
  explicit FdGuard(int fd) : fd_(fd) {}
  ~FdGuard() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  FdGuard(const FdGuard&) = delete;
  FdGuard& operator=(const FdGuard&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

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

std::string errno_text(int code) {
  return std::generic_category().message(code);
}

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

template <typename Address>
const sockaddr* as_sockaddr(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

RemoteAddress local_address(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size);
  return to_address(storage);
}

Error listen_error(int code, const std::string& where, std::uint16_t port) {
  if (code == EADDRINUSE) {
    return make_error(ErrorCode::kBusy, "the address " + where + " is already in use" + describe_port_owner(port) +
                                            "; expected a free port; stop that process or configure another port");
  }
  if (code == EACCES || code == EPERM) {
    return make_error(ErrorCode::kDenied, "no permission to listen on " + where +
                                              "; expected a port of 1024 or above for an ordinary user; choose such a "
                                              "port or grant CAP_NET_BIND_SERVICE");
  }
  if (code == EADDRNOTAVAIL) {
    return make_error(ErrorCode::kInvalid, "the address " + where +
                                               " does not belong to this machine; expected one "
                                               "of its own addresses, 127.0.0.1, 0.0.0.0 or ::");
  }
  return make_error(ErrorCode::kIo, "cannot listen on " + where + ": " + errno_text(code) +
                                        "; expected a usable network; check the address and the system's limits");
}

// Binds one candidate; the error is an errno.
int bind_candidate(const addrinfo& candidate, const TcpListenerOptions& options, int& fd_out) {
  FdGuard fd(::socket(candidate.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) {
    return errno;
  }
  const int on = 1;
  const int off = 0;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (options.reuse_port) {
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  }
  if (candidate.ai_family == AF_INET6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  }
  if (::bind(fd.get(), candidate.ai_addr, candidate.ai_addrlen) != 0 || ::listen(fd.get(), options.backlog) != 0) {
    return errno;
  }
  fd_out = fd.release();
  return 0;
}

enum class SocketFile { kFree, kStale, kAlive, kForeign };

// Whether somebody answers behind an existing socket file.
SocketFile probe_socket_file(const sockaddr_un& address) {
  struct stat info{};
  if (::lstat(address.sun_path, &info) != 0) {
    return SocketFile::kFree;
  }
  if (!S_ISSOCK(info.st_mode)) {
    return SocketFile::kForeign;
  }
  const FdGuard fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), as_sockaddr(address), sizeof address) == 0) {
    return SocketFile::kAlive;
  }
  // Everything but a refusal (full backlog, no permission) means that it might be alive: never remove in doubt.
  return errno == ECONNREFUSED ? SocketFile::kStale : SocketFile::kAlive;
}

Status claim_socket_path(const sockaddr_un& address) {
  const std::string path = address.sun_path;
  switch (probe_socket_file(address)) {
    case SocketFile::kFree:
      return {};
    case SocketFile::kAlive:
      return make_error(ErrorCode::kBusy, "the socket " + path +
                                              " is already in use by a running process; expected nobody there; stop "
                                              "that process or configure another path");
    case SocketFile::kForeign:
      return make_error(ErrorCode::kInvalid, "the path " + path +
                                                 " exists and is not a socket; expected a free path; move the file "
                                                 "away or configure another path");
    case SocketFile::kStale:
      break;
  }
  if (::unlink(path.c_str()) != 0) {
    return make_error(ErrorCode::kDenied, "the stale socket " + path + " cannot be removed: " + errno_text(errno) +
                                              "; expected a folder of this user; remove it by hand");
  }
  return {};
}

}  // namespace

HttpListener::HttpListener(HttpServerCore& server, int fd, ListenerInfo info, std::size_t connections_max,
                           std::shared_ptr<TlsServerContext> tls)
    : server_(server), fd_(fd), info_(std::move(info)), connections_max_(connections_max), tls_(std::move(tls)) {}

HttpListener::~HttpListener() {
  watch_.stop();
  server_.loop.cancel_timer(resume_timer_);
  if (file_inode_ != 0) {
    struct stat info{};
    if (::lstat(info_.path.c_str(), &info) == 0 && info.st_ino == file_inode_ && info.st_dev == file_device_) {
      ::unlink(info_.path.c_str());
    }
  }
  ::close(fd_);
}

void HttpListener::own_socket_file() {
  struct stat info{};
  if (::lstat(info_.path.c_str(), &info) == 0) {
    file_device_ = info.st_dev;
    file_inode_ = info.st_ino;
  }
}

Status HttpListener::start() {
  Status started = watch_.start(server_.loop, fd_, *this);
  if (started) {
    watch_.want(true, false);
  }
  return started;
}

void HttpListener::on_fd_ready(bool, bool) {
  for (int i = 0; i < kAcceptsPerTurnMax; ++i) {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
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
  resume_timer_ = server_.loop.start_timer_after_ms(kAcceptPauseMs, [this] { watch_.want(true, false); });
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

Result<std::unique_ptr<HttpListener>> open_tcp_listener(HttpServerCore& server, const TcpListenerOptions& options) {
  const std::string where = RemoteAddress{options.host, options.port}.text();
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int looked_up = ::getaddrinfo(options.host.c_str(), std::to_string(options.port).c_str(), &hints, &found);
  if (looked_up != 0) {
    return make_error(ErrorCode::kInvalid, "the listen address '" + options.host +
                                               "' is not usable: " + gai_strerror(looked_up) +
                                               "; expected an address such as 127.0.0.1, 0.0.0.0 or ::");
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> candidates(found, &::freeaddrinfo);
  int code = EADDRNOTAVAIL;
  int fd = -1;
  for (const addrinfo* candidate = found; candidate != nullptr && fd < 0; candidate = candidate->ai_next) {
    code = bind_candidate(*candidate, options, fd);
  }
  if (fd < 0) {
    return listen_error(code, where, options.port);
  }
  ListenerInfo info;
  info.id = server.next_listener_id();
  const RemoteAddress local = local_address(fd);
  info.host = local.host;
  info.port = local.port;
  info.tls = options.tls != nullptr;
  return std::make_unique<HttpListener>(server, fd, std::move(info), options.connections_max, options.tls);
}

Result<std::unique_ptr<HttpListener>> open_unix_listener(HttpServerCore& server, const UnixListenerOptions& options) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (options.path.empty() || options.path.size() >= sizeof address.sun_path) {
    return make_error(ErrorCode::kInvalid, "the socket path has " + std::to_string(options.path.size()) +
                                               " bytes; expected 1 to " + std::to_string(sizeof address.sun_path - 1) +
                                               "; choose a shorter one");
  }
  std::memcpy(address.sun_path, options.path.data(), options.path.size());
  const Status claimed = claim_socket_path(address);
  if (!claimed) {
    return claimed.error();
  }
  FdGuard fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  // Until listen() every connect is refused, so the mode is in force before the first connection is possible.
  if (fd.get() < 0 || ::bind(fd.get(), as_sockaddr(address), sizeof address) != 0 ||
      ::chmod(options.path.c_str(), options.mode) != 0 || ::listen(fd.get(), options.backlog) != 0) {
    const int code = errno;
    const ErrorCode kind = code == EACCES || code == EPERM ? ErrorCode::kDenied
                           : code == EADDRINUSE            ? ErrorCode::kBusy
                                                           : ErrorCode::kIo;
    return make_error(kind, "cannot listen on the socket " + options.path + ": " + errno_text(code) +
                                "; expected an existing folder that this user may write; create it or choose another");
  }
  ListenerInfo info;
  info.id = server.next_listener_id();
  info.path = options.path;
  auto listener =
      std::make_unique<HttpListener>(server, fd.release(), std::move(info), options.connections_max, nullptr);
  listener->own_socket_file();
  return listener;
}

Result<std::unique_ptr<HttpListener>> adopt_listener(HttpServerCore& server, int fd,
                                                     std::shared_ptr<TlsServerContext> tls,
                                                     std::size_t connections_max) {
  FdGuard guard(fd);
  int listening = 0;
  socklen_t size = sizeof listening;
  sockaddr_storage storage{};
  socklen_t storage_size = sizeof storage;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &storage_size) != 0) {
    return make_error(ErrorCode::kInvalid, "descriptor " + std::to_string(fd) +
                                               " is not a listening socket; expected one that was bound and listens; "
                                               "check how the parent process hands it over");
  }
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ListenerInfo info;
  info.id = server.next_listener_id();
  info.tls = tls != nullptr;
  if (storage.ss_family == AF_UNIX) {
    sockaddr_un address{};
    std::memcpy(&address, &storage, std::min<std::size_t>(sizeof address, storage_size));
    address.sun_path[sizeof address.sun_path - 1] = '\0';
    info.path = address.sun_path;
  } else {
    const RemoteAddress local = to_address(storage);
    info.host = local.host;
    info.port = local.port;
  }
  return std::make_unique<HttpListener>(server, guard.release(), std::move(info), connections_max, std::move(tls));
}

}  // namespace cm::net::detail
