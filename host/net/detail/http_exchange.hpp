// The inside of HttpClient: the pool and one request with its attempts. [loop]
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "host/net/detail/connector.hpp"
#include "host/net/http_client.hpp"

namespace cm::net::detail {

class HttpClientCore;

// A kept-alive connection between two requests. Anything readable on it is its end (EOF, or bytes nobody asked for).
class PooledConnection final : public FdListener {
 public:
  PooledConnection(HttpClientCore& core, std::string key, Connected connected);
  ~PooledConnection();
  PooledConnection(const PooledConnection&) = delete;
  PooledConnection& operator=(const PooledConnection&) = delete;

  Status start(std::uint64_t idle_timeout_ms);
  void on_fd_ready(bool readable, bool writable) override;
  const std::string& key() const { return key_; }
  // Looks at the socket itself, since its end may not have been reported yet.
  bool alive() const;
  Connected take();

 private:
  HttpClientCore& core_;
  std::string key_;
  Connected connected_;
  FdWatch watch_;
  TimerId timer_ = TimerId::kNone;
};

// One request, over all its attempts and redirects. Kept alive by the core until finished or cancelled.
class HttpExchange final : public FdListener, public std::enable_shared_from_this<HttpExchange> {
 public:
  using Done = UniqueFunction<void(Result<HttpClientResponse>)>;

  HttpExchange(HttpClientCore& core, HttpRequestId id, HttpClientRequest request);
  void collect_into(Done done) { done_ = std::move(done); }
  void stream_into(HttpStreamHandlers handlers) { handlers_ = std::move(handlers); }

  void begin();
  // Lets go of everything; nothing is called any more.
  void cancel();
  void on_fd_ready(bool readable, bool writable) override;
  // Ends the request with an error, told to the user in this turn.
  void fail(Error error);

 private:
  void start_attempt();
  void on_connected(Result<Connected> connected);
  void send_request(Connected connected);
  std::string request_head(const Connected& connected) const;
  void flush();
  void read();
  void feed(std::span<const std::uint8_t> input);
  bool on_event(const HttpParser::Step& step);
  bool on_head();
  bool on_redirect(const HttpHead& head);
  void on_message_done();
  void on_parse_error();
  void on_connection_lost(const std::string& what);
  bool may_repeat() const;
  bool retry_later();
  void drop_connection();
  void start_idle_timer();
  bool finished() const { return core_ == nullptr; }
  std::string describe(const std::string& what) const;

  HttpClientCore* core_;  // null once finished
  Loop& loop_;
  HttpRequestId id_;
  HttpClientRequest request_;
  std::optional<Url> url_;
  Done done_;
  HttpStreamHandlers handlers_;
  std::shared_ptr<Connector> connector_;
  std::optional<Connected> connected_;
  FdWatch watch_;
  WriteQueue output_;
  std::unique_ptr<HttpParser> parser_;
  HttpClientResponse response_;
  SharedBufferBuilder body_;
  TimerId total_timer_ = TimerId::kNone;
  TimerId idle_timer_ = TimerId::kNone;
  TimerId retry_timer_ = TimerId::kNone;
  std::int64_t last_read_ns_ = 0;
  int attempts_ = 0;
  int redirects_ = 0;
  int informational_ = 0;  // 1xx answers in this attempt
  bool reused_ = false;
  bool answer_begun_ = false;  // bytes of an answer came in this attempt
  bool headers_reported_ = false;
  bool stale_retry_used_ = false;
};

class HttpClientCore {
 public:
  HttpClientCore(Loop& of, HttpClientOptions with);
  ~HttpClientCore();
  HttpClientCore(const HttpClientCore&) = delete;
  HttpClientCore& operator=(const HttpClientCore&) = delete;

  HttpRequestId add(HttpClientRequest request, HttpExchange::Done done, HttpStreamHandlers* handlers);
  bool cancel(HttpRequestId id);
  void remove(HttpRequestId id) { exchanges_.erase(static_cast<std::uint64_t>(id)); }

  std::optional<Connected> take_pooled(const std::string& key);
  void put_pooled(std::string key, Connected connected);
  void drop_pooled(PooledConnection* connection);

  Loop& loop;
  HttpClientOptions options;
  std::shared_ptr<NetCounters> counters;
  std::size_t in_flight() const { return exchanges_.size(); }
  std::size_t pooled() const { return pool_.size(); }

 private:
  std::unordered_map<std::uint64_t, std::shared_ptr<HttpExchange>> exchanges_;
  std::list<std::unique_ptr<PooledConnection>> pool_;  // oldest first
  std::uint64_t next_id_ = 1;
};

// Two requests with the same key may share a connection.
std::string pool_key(const Url& url);

}  // namespace cm::net::detail
