// From a URL to a connected (and, for TLS, verified) socket: name, addresses, proxy, handshake, under one time limit.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "host/net/detail/default_trust.hpp"
#include "host/net/detail/http_parser.hpp"
#include "host/net/detail/loop_core.hpp"
#include "host/net/detail/stream_socket.hpp"
#include "host/net/detail/write_queue.hpp"
#include "host/net/http_types.hpp"
#include "host/net/url.hpp"

namespace cm::net::detail {

struct ConnectorOptions {
  Url url;
  ProxySettings proxy;
  std::shared_ptr<TlsClientContext> tls;  // null: the default context
  std::uint64_t timeout_ms = 10'000;
  bool tunnel_plain = false;  // ask a proxy for a tunnel (CONNECT) even without TLS, as WebSockets need
};

struct Connected {
  std::unique_ptr<StreamSocket> socket;
  RemoteAddress remote;
  bool absolute_form = false;       // a plain HTTP proxy: send the whole URL as the target
  std::string proxy_authorization;  // value of Proxy-Authorization for absolute-form requests; may be empty
};

// The value of "Proxy-Authorization" or "Authorization" for "user:password" of a URL (percent-decoded); empty for none.
std::string basic_authorization(const std::string& user_info);

// [loop]. `done` is called once in a later turn, unless cancelled. Keeps itself alive until then.
class Connector final : public FdListener, public LoopResident, public std::enable_shared_from_this<Connector> {
 public:
  using Done = UniqueFunction<void(Result<Connected>)>;
  static std::shared_ptr<Connector> start(Loop& loop, ConnectorOptions options, Done done);

  Connector(Loop& loop, ConnectorOptions options, Done done);
  void cancel();
  void on_loop_gone() override { cancel(); }
  void on_fd_ready(bool readable, bool writable) override;

 private:
  enum class Phase : std::uint8_t { kResolving, kConnecting, kProxy, kTrust, kTls, kDone };

  void begin();
  void resolve(const std::string& host, std::uint16_t port);
  void connect_unix();
  void connect_next();
  void on_attempt_failed(int code);
  void on_connected();
  void begin_proxy();
  void on_proxy_ready();
  void begin_tls();
  bool have_trust();
  void on_tls_ready();
  void succeed();
  void fail(ErrorCode code, const std::string& found, const std::string& next_step);
  void finish(Result<Connected> result);
  std::string where() const;

  Loop& loop_;
  ConnectorOptions options_;
  Done done_;
  std::shared_ptr<Connector> self_;
  std::optional<Url> proxy_;
  std::unique_ptr<ResolveHandle> resolving_;
  std::vector<ResolvedAddress> addresses_;
  std::size_t next_address_ = 0;
  std::unique_ptr<StreamSocket> socket_;
  FdWatch watch_;
  std::shared_ptr<ReadySignal> trust_ready_;  // while the system's CAs are being read
  FdWatch trust_watch_;
  WriteQueue output_;
  HttpParser parser_{HttpParser::Kind::kResponse, {}};
  TimerId timer_ = TimerId::kNone;
  TimerId attempt_timer_ = TimerId::kNone;
  RemoteAddress remote_;
  Phase phase_ = Phase::kResolving;
};

}  // namespace cm::net::detail
