#include <algorithm>
#include <cassert>

#include "host/net/detail/connector.hpp"
#include "host/net/detail/digest.hpp"
#include "host/net/detail/http_server_core.hpp"
#include "host/net/detail/ws_connection.hpp"
#include "host/net/websocket.hpp"

namespace cm::net {

namespace {

constexpr std::size_t kKeyTextBytes = 24;  // base64 of 16 bytes, RFC 6455 section 4.1

Error refuse_upgrade(HttpRequest& request, int status, const std::string& text) {
  request.connection()->core().counters->ws_refused.add();
  Headers headers{{"Content-Type", "text/plain; charset=utf-8"}, {"Connection", "close"}};
  if (status == 426) {
    headers.add("Upgrade", "websocket");
    headers.add("Sec-WebSocket-Version", "13");
  }
  [[maybe_unused]] const Status sent = request.respond(status, headers, text + "\n");
  return make_error(ErrorCode::kInvalid, text);
}

bool key_valid(std::string_view key) {
  const auto base64 = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
  };
  return key.size() == kKeyTextBytes && key.substr(22) == "==" && std::all_of(key.begin(), key.begin() + 22, base64);
}

// What is wrong with the upgrade, or an empty text. RFC 6455 section 4.2.1.
std::string upgrade_fault(const HttpRequest& request, const WsOptions& options) {
  if (!request.wants_websocket() || request.minor_version() == 0) {
    return "the request is not a WebSocket upgrade; expected GET, HTTP/1.1, 'Upgrade: websocket' and 'Connection: "
           "Upgrade'; connect with a WebSocket client";
  }
  if (!request.body().empty()) {
    return "the upgrade has a body; expected none; correct the client";
  }
  if (request.headers().count("Sec-WebSocket-Key") != 1 || !key_valid(request.header("Sec-WebSocket-Key"))) {
    return "Sec-WebSocket-Key is missing or is not 16 bytes in base64; expected one; correct the client";
  }
  if (!options.subprotocol.empty() && !request.headers().has_token("Sec-WebSocket-Protocol", options.subprotocol)) {
    return "the subprotocol " + options.subprotocol + " was not offered; expected it in Sec-WebSocket-Protocol; add it";
  }
  return {};
}

std::string accept_head(const HttpRequest& request, const WsOptions& options) {
  std::string head =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
      detail::websocket_accept_key(request.header("Sec-WebSocket-Key")) + "\r\n";
  if (!options.subprotocol.empty()) {
    head += "Sec-WebSocket-Protocol: " + options.subprotocol + "\r\n";
  }
  for (std::size_t i = 0; i < options.response_headers.size(); ++i) {
    const Headers::Field field = options.response_headers.at(i);
    head.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  return head + "\r\n";
}

}  // namespace

Result<std::shared_ptr<WsConnection>> accept_websocket(const std::shared_ptr<HttpRequest>& request, WsOptions options,
                                                       WsHandlers handlers) {
  assert(request->loop().on_loop());
  if (request->answered() || !request->connection()->open()) {
    return make_error(ErrorCode::kGone, "the upgrade request was answered or has ended; expected it open; drop it");
  }
  const std::string fault = upgrade_fault(*request, options);
  if (!fault.empty()) {
    return refuse_upgrade(*request, 400, fault);
  }
  if (request->header("Sec-WebSocket-Version") != "13") {
    return refuse_upgrade(*request, 426, "Sec-WebSocket-Version is not 13; expected 13; use a client of RFC 6455");
  }
  if (!options.response_headers.sendable()) {
    return refuse_upgrade(*request, 400, "the answer's headers cannot be sent; expected plain fields; report this");
  }
  const auto counters = options.counters != nullptr ? options.counters : request->connection()->core().counters;
  const std::string head = accept_head(*request, options);
  request->mark_answered();
  auto upgraded = request->connection()->take_for_upgrade();
  upgraded.output.push(SharedBuffer::copy(head));
  auto connection =
      std::make_shared<detail::WsConnectionImpl>(request->loop(), std::move(upgraded.socket), WsRole::kServer, options,
                                                 std::move(handlers), std::move(upgraded.remote), counters);
  const Status started = connection->start(upgraded.leftover, std::move(upgraded.output));
  if (!started) {
    return started.error();
  }
  counters->ws_accepted.add();
  return std::shared_ptr<WsConnection>(std::move(connection));
}

namespace detail {

namespace {

// One connect of a client: connector, then the HTTP upgrade (RFC 6455 section 4.1).
class WsConnectAttempt final : public WsClient,
                               public FdListener,
                               public LoopResident,
                               public std::enable_shared_from_this<WsConnectAttempt> {
 public:
  WsConnectAttempt(Loop& loop, WsConnectOptions options, WsHandlers handlers,
                   UniqueFunction<void(WsConnectResult)> on_connected)
      : loop_(loop),
        options_(std::move(options)),
        handlers_(std::move(handlers)),
        on_connected_(std::move(on_connected)),
        parser_(HttpParser::Kind::kResponse,
                {options_.response_head_bytes, options_.response_head_bytes, 100, 64 * 1024}) {}

  void begin(std::string_view text) {
    self_ = shared_from_this();
    loop_.core().add_resident(this);
    auto url = parse_url(text);
    if (url && url->scheme != "ws" && url->scheme != "wss" && url->scheme != "unix") {
      url = make_error(ErrorCode::kInvalid,
                       "the URL's scheme is " + url->scheme + "; expected ws, wss or unix; correct the URL");
    }
    if (!url || !options_.headers.sendable()) {
      Error error = url ? make_error(ErrorCode::kInvalid,
                                     "a header field of the connect has control characters; expected plain text; "
                                     "correct it")
                        : url.error();
      loop_.post([self = self_, error = std::move(error)]() mutable { self->fail(std::move(error)); });
      return;
    }
    url_ = std::move(*url);
    ConnectorOptions connect{url_, options_.proxy, options_.tls, options_.connect_timeout_ms, true};
    connector_ = Connector::start(loop_, std::move(connect), [this](Result<Connected> connected) {
      const auto keep_alive = shared_from_this();
      connector_.reset();
      if (!connected) {
        fail(connected.error());
        return;
      }
      upgrade(std::move(*connected));
    });
  }

  void on_loop_gone() override { cancel(); }

  void cancel() override {
    const auto self = std::move(self_);
    loop_.core().remove_resident(this);
    if (connector_ != nullptr) {
      connector_->cancel();
      connector_.reset();
    }
    loop_.cancel_timer(timer_);
    watch_.stop();
    socket_.reset();
    on_connected_ = nullptr;
  }

  void on_fd_ready(bool, bool) override {
    const auto keep_alive = shared_from_this();
    if (output_.empty() || flush()) {
      read();
    }
  }

 private:
  void upgrade(Connected connected) {
    socket_ = std::move(connected.socket);
    remote_ = std::move(connected.remote);
    const Status watched = watch_.start(loop_, socket_->fd(), *this);
    if (!watched) {
      fail(watched.error());
      return;
    }
    timer_ = loop_.start_timer_after_ms(options_.handshake_timeout_ms, [this] {
      fail(make_error(ErrorCode::kBusy,
                      describe("gave no answer after " + std::to_string(options_.handshake_timeout_ms) + " ms") +
                          "; check the server"));
    });
    output_.push(SharedBuffer::adopt(request_head()));
    flush();
  }

  std::string request_head() {
    std::uint8_t key_bytes[16];
    for (std::size_t i = 0; i < sizeof key_bytes; i += 4) {
      loop_.core().random_mask(key_bytes + i);
    }
    key_ = base64_encode(key_bytes);
    std::string head = "GET " + url_.target + " HTTP/1.1\r\nHost: " + url_.host_header() +
                       "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: " +
                       key_ + "\r\n";
    std::string offered;
    for (const std::string& name : options_.subprotocols) {
      offered += (offered.empty() ? "" : ", ") + name;
    }
    if (!offered.empty()) {
      head += "Sec-WebSocket-Protocol: " + offered + "\r\n";
    }
    const std::string authorization = basic_authorization(url_.user_info);
    if (!authorization.empty() && !options_.headers.has("Authorization")) {
      head += "Authorization: " + authorization + "\r\n";
    }
    for (std::size_t i = 0; i < options_.headers.size(); ++i) {
      const Headers::Field field = options_.headers.at(i);
      head.append(field.name).append(": ").append(field.value).append("\r\n");
    }
    return head + "\r\n";
  }

  // True when everything has left.
  bool flush() {
    std::size_t written = 0;
    const IoStatus status = output_.flush(*socket_, written);
    if (status == IoStatus::kError || status == IoStatus::kEof) {
      fail(make_error(ErrorCode::kIo, describe("broke the connection") + "; check the server"));
      return false;
    }
    watch_.want(true, status == IoStatus::kWantWrite);
    return status == IoStatus::kOk;
  }

  void read() {
    const auto buffer = loop_.core().read_buffer();
    const IoResult result = socket_->read(buffer);
    if (result.status == IoStatus::kWantRead || result.status == IoStatus::kWantWrite) {
      return;
    }
    if (result.status != IoStatus::kOk) {
      fail(make_error(ErrorCode::kIo, describe("ended the connection without an answer") + "; check the server"));
      return;
    }
    std::span<const std::uint8_t> input = buffer.first(result.bytes);
    for (;;) {
      const HttpParser::Step step = parser_.step(input);
      input = input.subspan(step.consumed);
      if (step.event == HttpParser::Event::kHead) {
        on_answer(input);
        return;
      }
      if (step.event == HttpParser::Event::kError) {
        fail(make_error(ErrorCode::kUnsupported, describe("did not answer in HTTP/1.1") + "; check the address"));
        return;
      }
      if (step.event == HttpParser::Event::kNeedMore && input.empty()) {
        return;
      }
    }
  }

  // RFC 6455 section 4.1, what the client must check.
  std::string answer_fault() {
    const HttpHead& head = parser_.head();
    if (head.status != 101) {
      return "answered " + std::to_string(head.status) + " " + std::string(status_reason(head.status));
    }
    if (!head.headers.has_token("Upgrade", "websocket") || !head.headers.has_token("Connection", "upgrade") ||
        head.headers.get("Sec-WebSocket-Accept") != websocket_accept_key(key_)) {
      return "answered 101 without a correct WebSocket acceptance";
    }
    if (head.headers.has("Sec-WebSocket-Extensions")) {
      return "chose an extension that was not offered";
    }
    const std::string_view chosen = head.headers.get("Sec-WebSocket-Protocol");
    const auto& offered = options_.subprotocols;
    if (!chosen.empty() && std::find(offered.begin(), offered.end(), chosen) == offered.end()) {
      return "chose a subprotocol that was not offered";
    }
    return {};
  }

  void on_answer(std::span<const std::uint8_t> leftover) {
    WsConnectResult result;
    const std::string fault = answer_fault();
    result.http_status = parser_.head().status;
    result.response_headers = std::move(parser_.head().headers);
    if (!fault.empty()) {
      const bool denied = result.http_status == 401 || result.http_status == 403;
      result.error = make_error(denied ? ErrorCode::kDenied : ErrorCode::kIo,
                                describe(fault) + (denied ? "; check the credentials" : "; check the URL"));
      finish(std::move(result));
      return;
    }
    watch_.stop();
    auto counters = options_.ws.counters != nullptr ? options_.ws.counters : std::make_shared<NetCounters>();
    options_.ws.subprotocol = std::string(result.response_headers.get("Sec-WebSocket-Protocol"));
    auto connection = std::make_shared<WsConnectionImpl>(loop_, std::move(socket_), WsRole::kClient, options_.ws,
                                                         std::move(handlers_), std::move(remote_), std::move(counters));
    const Status started =
        connection->start({reinterpret_cast<const char*>(leftover.data()), leftover.size()}, WriteQueue());
    if (started) {
      result.connection = std::move(connection);
    } else {
      result.error = started.error();
    }
    finish(std::move(result));
  }

  std::string describe(const std::string& what) const {
    return "the WebSocket server " + url_.printable() + " " + what + "; expected 101 Switching Protocols";
  }

  void fail(Error error) {
    WsConnectResult result;
    result.error = std::move(error);
    finish(std::move(result));
  }

  void finish(WsConnectResult result) {
    const auto self = shared_from_this();
    auto call = std::move(on_connected_);
    on_connected_ = nullptr;
    cancel();
    if (call) {
      call(std::move(result));
    }
  }

  Loop& loop_;
  WsConnectOptions options_;
  WsHandlers handlers_;
  UniqueFunction<void(WsConnectResult)> on_connected_;
  std::shared_ptr<WsConnectAttempt> self_;
  std::shared_ptr<Connector> connector_;
  Url url_;
  std::string key_;
  std::unique_ptr<StreamSocket> socket_;
  RemoteAddress remote_;
  FdWatch watch_;
  WriteQueue output_;
  HttpParser parser_;
  TimerId timer_ = TimerId::kNone;
};

}  // namespace

}  // namespace detail

std::shared_ptr<WsClient> WsClient::connect(Loop& loop, std::string_view url, WsConnectOptions options,
                                            WsHandlers handlers, UniqueFunction<void(WsConnectResult)> on_connected) {
  assert(loop.on_loop());
  auto attempt = std::make_shared<detail::WsConnectAttempt>(loop, std::move(options), std::move(handlers),
                                                            std::move(on_connected));
  attempt->begin(url);
  return attempt;
}

}  // namespace cm::net
