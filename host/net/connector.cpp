#include "host/net/detail/connector.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "host/net/detail/digest.hpp"

namespace cm::net::detail {

namespace {

// While further addresses are left, one that does not answer is given up after this time.
constexpr std::uint64_t kAttemptMs = 2'500;
constexpr std::size_t kProxyReadBytes = 4 * 1024;

RemoteAddress to_remote(const ResolvedAddress& address) {
  RemoteAddress remote;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address.storage, sizeof v4);
    remote.host = inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    remote.port = ntohs(v4.sin_port);
  } else {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address.storage, sizeof v6);
    remote.host = inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    remote.port = ntohs(v6.sin6_port);
  }
  return remote;
}

}  // namespace

std::string basic_authorization(const std::string& user_info) {
  if (user_info.empty()) {
    return {};
  }
  const std::string text = percent_decode(user_info).value_or(user_info);
  return "Basic " + base64_encode({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

std::shared_ptr<Connector> Connector::start(Loop& loop, ConnectorOptions options, Done done) {
  auto connector = std::make_shared<Connector>(loop, std::move(options), std::move(done));
  connector->self_ = connector;
  if (connector->options_.url.tls() && connector->options_.tls == nullptr) {
    DefaultTrust::get().prepare();  // meanwhile name and address are found
  }
  loop.core().add_resident(connector.get());
  connector->timer_ = loop.start_timer_after_ms(connector->options_.timeout_ms, [raw = connector.get()] {
    raw->timer_ = TimerId::kNone;
    raw->fail(ErrorCode::kBusy, "no connection after " + std::to_string(raw->options_.timeout_ms) + " ms",
              "check that the server is running and reachable, or allow more time");
  });
  // Begun in a later turn, so that even an immediate failure reaches the caller after this call.
  loop.post([connector] { connector->begin(); });
  return connector;
}

Connector::Connector(Loop& loop, ConnectorOptions options, Done done)
    : loop_(loop), options_(std::move(options)), done_(std::move(done)) {}

std::string Connector::where() const {
  const std::string target = options_.url.is_unix() ? "the socket " + options_.url.socket_path
                                                    : RemoteAddress{options_.url.host, options_.url.port}.text();
  return proxy_ ? target + " through the proxy " + RemoteAddress{proxy_->host, proxy_->port}.text() : target;
}

void Connector::fail(ErrorCode code, const std::string& found, const std::string& next_step) {
  finish(make_error(code, "cannot connect to " + where() + ": " + found + "; expected a server there; " + next_step));
}

void Connector::finish(Result<Connected> result) {
  if (phase_ == Phase::kDone) {
    return;
  }
  const auto self = std::move(self_);
  Done done = std::move(done_);
  cancel();
  done(std::move(result));
}

void Connector::cancel() {
  const auto self = std::move(self_);
  phase_ = Phase::kDone;
  loop_.core().remove_resident(this);
  loop_.cancel_timer(timer_);
  loop_.cancel_timer(attempt_timer_);
  watch_.stop();
  trust_watch_.stop();
  resolving_.reset();
  socket_.reset();
  done_ = nullptr;
}

void Connector::begin() {
  if (phase_ == Phase::kDone) {
    return;
  }
  if (options_.url.is_unix()) {
    connect_unix();
    return;
  }
  auto proxy = options_.proxy.proxy_for(options_.url);
  if (!proxy) {
    finish(proxy.error());
    return;
  }
  proxy_ = std::move(*proxy);
  const Url& first = proxy_ ? *proxy_ : options_.url;
  resolve(first.host, first.port);
}

void Connector::resolve(const std::string& host, std::uint16_t port) {
  resolving_ = loop_.core().resolve(host, port, [this](Result<std::vector<ResolvedAddress>> found) {
    const auto keep_alive = shared_from_this();
    if (!found) {
      finish(found.error());
      return;
    }
    addresses_ = std::move(*found);
    connect_next();
  });
}

void Connector::connect_unix() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& path = options_.url.socket_path;
  if (path.size() >= sizeof address.sun_path) {
    fail(ErrorCode::kInvalid, "the path is longer than a socket path may be", "use a shorter path");
    return;
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  ResolvedAddress resolved;
  std::memcpy(&resolved.storage, &address, sizeof address);
  resolved.size = sizeof address;
  addresses_.push_back(resolved);
  connect_next();
}

void Connector::connect_next() {
  watch_.stop();
  socket_.reset();
  const ResolvedAddress& address = addresses_[next_address_++];
  const int family = address.storage.ss_family;
  const int fd = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    on_attempt_failed(errno);
    return;
  }
  socket_ = std::make_unique<StreamSocket>(fd);
  phase_ = Phase::kConnecting;
  if (family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    remote_ = to_remote(address);
  }
  const int connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size);
  if (connected != 0 && errno != EINPROGRESS) {
    on_attempt_failed(errno);
    return;
  }
  const Status watched = watch_.start(loop_, fd, *this);
  if (!watched) {
    finish(watched.error());
    return;
  }
  if (connected == 0) {
    on_connected();
    return;
  }
  watch_.want(false, true);
  if (next_address_ < addresses_.size()) {
    attempt_timer_ = loop_.start_timer_after_ms(kAttemptMs, [this] { on_attempt_failed(ETIMEDOUT); });
  }
}

void Connector::on_attempt_failed(int code) {
  const auto keep_alive = shared_from_this();
  loop_.cancel_timer(attempt_timer_);
  if (next_address_ < addresses_.size()) {
    connect_next();
    return;
  }
  const bool absent = code == ECONNREFUSED || code == ENOENT;
  fail(code == EACCES ? ErrorCode::kDenied : ErrorCode::kIo, std::generic_category().message(code),
       absent ? "check that it is running and that the address is right" : "check the address and the network");
}

void Connector::on_fd_ready(bool, bool) {
  const auto keep_alive = shared_from_this();
  switch (phase_) {
    case Phase::kConnecting: {
      int code = 0;
      socklen_t size = sizeof code;
      ::getsockopt(socket_->fd(), SOL_SOCKET, SO_ERROR, &code, &size);
      if (code != 0) {
        on_attempt_failed(code);
      } else {
        on_connected();
      }
      return;
    }
    case Phase::kProxy:
      on_proxy_ready();
      return;
    case Phase::kTrust:
      trust_watch_.stop();
      begin_tls();
      return;
    case Phase::kTls:
      on_tls_ready();
      return;
    default:
      return;
  }
}

void Connector::on_connected() {
  loop_.cancel_timer(attempt_timer_);
  if (proxy_ && (options_.url.tls() || options_.tunnel_plain)) {
    begin_proxy();
  } else if (options_.url.tls()) {
    begin_tls();
  } else {
    succeed();
  }
}

// RFC 9110 section 9.3.6.
void Connector::begin_proxy() {
  phase_ = Phase::kProxy;
  parser_.expect_no_body();
  const std::string target = RemoteAddress{options_.url.host, options_.url.port}.text();
  std::string head = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n";
  const std::string authorization = basic_authorization(proxy_->user_info);
  if (!authorization.empty()) {
    head += "Proxy-Authorization: " + authorization + "\r\n";
  }
  output_.push(SharedBuffer::adopt(head + "\r\n"));
  on_proxy_ready();
}

void Connector::on_proxy_ready() {
  std::size_t written = 0;
  const IoStatus status = output_.flush(*socket_, written);
  if (status == IoStatus::kWantWrite) {
    watch_.want(false, true);
    return;
  }
  if (status != IoStatus::kOk) {
    fail(ErrorCode::kIo, "the proxy broke the connection", "check the proxy");
    return;
  }
  watch_.want(true, false);
  std::array<std::uint8_t, kProxyReadBytes> buffer;
  const IoResult read = socket_->read(buffer);
  if (read.status == IoStatus::kWantRead) {
    return;
  }
  if (read.status != IoStatus::kOk) {
    fail(ErrorCode::kIo, "the proxy ended the connection without an answer", "check the proxy");
    return;
  }
  std::span<const std::uint8_t> input(buffer.data(), read.bytes);
  for (;;) {
    const HttpParser::Step step = parser_.step(input);
    input = input.subspan(step.consumed);
    if (step.event == HttpParser::Event::kError) {
      fail(ErrorCode::kUnsupported, "the proxy's answer is not HTTP", "check the proxy setting");
      return;
    }
    if (step.event == HttpParser::Event::kHead) {
      break;
    }
    if (step.event == HttpParser::Event::kNeedMore && input.empty()) {
      return;
    }
  }
  const int answer = parser_.head().status;
  if (answer < 200 || answer > 299 || !input.empty()) {
    fail(answer == 407 || answer == 403 ? ErrorCode::kDenied : ErrorCode::kIo,
         "the proxy answered " + std::to_string(answer), "check the proxy and its user and password");
    return;
  }
  if (options_.url.tls()) {
    begin_tls();
  } else {
    succeed();
  }
}

// False: not yet (begin_tls is called again), or the connect has failed.
bool Connector::have_trust() {
  if (options_.tls != nullptr) {
    return true;
  }
  trust_ready_ = std::make_shared<ReadySignal>();
  auto context = DefaultTrust::get().ask(trust_ready_);
  if (!context) {
    phase_ = Phase::kTrust;
    watch_.want(false, false);
    if (const Status watched = trust_watch_.start(loop_, trust_ready_->fd(), *this); !watched) {
      finish(watched.error());
      return false;
    }
    trust_watch_.want(true, false);
    return false;
  }
  if (!context->ok()) {
    finish(context->error());
    return false;
  }
  options_.tls = std::move(**context);
  return true;
}

void Connector::begin_tls() {
  if (!have_trust()) {
    return;
  }
  phase_ = Phase::kTls;
  auto session = TlsSession::client(*options_.tls, socket_->fd(), options_.url.host);
  if (!session) {
    finish(session.error());
    return;
  }
  socket_->set_tls(std::move(*session));
  on_tls_ready();
}

void Connector::on_tls_ready() {
  const IoResult result = socket_->handshake();
  switch (result.status) {
    case IoStatus::kOk:
      succeed();
      return;
    case IoStatus::kWantRead:
      watch_.want(true, false);
      return;
    case IoStatus::kWantWrite:
      watch_.want(false, true);
      return;
    default:
      break;
  }
  const std::string text = socket_->error_text();
  if (text.starts_with("certificate verification failed")) {
    fail(ErrorCode::kDenied, "the TLS handshake failed: " + text,
         "install the server's CA or name it as an extra CA file");
    return;
  }
  const bool refused = text.find("certificate") != std::string::npos;  // an alert of the server
  fail(refused ? ErrorCode::kDenied : ErrorCode::kIo, "the TLS handshake failed: " + text,
       refused ? "check what certificate the server asks for" : "check that the port speaks TLS");
}

void Connector::succeed() {
  Connected connected;
  watch_.stop();
  connected.socket = std::move(socket_);
  connected.remote = remote_;
  connected.absolute_form = proxy_ && !options_.url.tls() && !options_.tunnel_plain;
  if (connected.absolute_form) {
    connected.proxy_authorization = basic_authorization(proxy_->user_info);
  }
  finish(std::move(connected));
}

}  // namespace cm::net::detail
