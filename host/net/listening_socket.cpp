#include "host/net/listening_socket.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "host/net/detail/http_server_core.hpp"

namespace cm::net {

using detail::describe_port_owner;
using detail::to_address;

namespace {

std::string errno_text(int code) {
  return std::generic_category().message(code);
}

template <typename Address>
const sockaddr* as_sockaddr(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address);
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
int bind_candidate(const addrinfo& candidate, const TcpListenerOptions& options, Descriptor& out) {
  Descriptor fd(::socket(candidate.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
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
  out = std::move(fd);
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
  const Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
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

ListeningSocket::~ListeningSocket() {
  remove_file();
}

ListeningSocket::ListeningSocket(ListeningSocket&& other) noexcept
    : fd_(std::move(other.fd_)),
      info_(std::move(other.info_)),
      file_device_(other.file_device_),
      file_inode_(std::exchange(other.file_inode_, 0)) {}

ListeningSocket& ListeningSocket::operator=(ListeningSocket&& other) noexcept {
  if (this != &other) {
    remove_file();
    fd_ = std::move(other.fd_);
    info_ = std::move(other.info_);
    file_device_ = other.file_device_;
    file_inode_ = std::exchange(other.file_inode_, 0);
  }
  return *this;
}

void ListeningSocket::remove_file() noexcept {
  if (file_inode_ != 0) {
    struct stat info{};
    if (::lstat(info_.path.c_str(), &info) == 0 && info.st_ino == file_inode_ && info.st_dev == file_device_) {
      ::unlink(info_.path.c_str());
    }
    file_inode_ = 0;
  }
}

void ListeningSocket::remember_file() {
  struct stat info{};
  if (!info_.path.empty() && ::lstat(info_.path.c_str(), &info) == 0) {
    file_device_ = info.st_dev;
    file_inode_ = info.st_ino;
  }
}

bool ListeningSocket::reachable() const noexcept {
  if (info_.path.empty()) {
    return true;
  }
  struct stat info{};
  return ::lstat(info_.path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode) &&
         (file_inode_ == 0 || (info.st_ino == file_inode_ && info.st_dev == file_device_));
}

Result<int> ListeningSocket::duplicate() const {
  const int copy = ::fcntl(fd(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) {
    return make_error(ErrorCode::kBusy, "the listening socket " + info_.text() + " cannot be passed on: " +
                                            errno_text(errno) + "; raise the limit of open files");
  }
  return copy;
}

Result<ListeningSocket> ListeningSocket::open(const TcpListenerOptions& options) {
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
  Descriptor fd;
  for (const addrinfo* candidate = found; candidate != nullptr && !fd; candidate = candidate->ai_next) {
    code = bind_candidate(*candidate, options, fd);
  }
  if (!fd) {
    return listen_error(code, where, options.port);
  }
  return adopt(fd.release(), false);
}

Result<ListeningSocket> ListeningSocket::open(const UnixListenerOptions& options) {
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
  Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
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
  info.path = options.path;
  ListeningSocket socket(std::move(fd), std::move(info));
  socket.remember_file();
  return socket;
}

Result<ListeningSocket> ListeningSocket::adopt(int fd, bool owns_file) {
  Descriptor guard(fd);
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
  ListeningSocket socket(std::move(guard), std::move(info));
  if (owns_file) {
    socket.remember_file();
  }
  return socket;
}

}  // namespace cm::net
