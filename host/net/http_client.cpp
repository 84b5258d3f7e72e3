#include "host/net/http_client.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "host/net/detail/http_exchange.hpp"

namespace cm::net {

namespace detail {

std::string pool_key(const Url& url) {
  return url.is_unix() ? "unix:" + url.socket_path : url.scheme + "://" + url.host + ":" + std::to_string(url.port);
}

PooledConnection::PooledConnection(HttpClientCore& core, std::string key, Connected connected)
    : core_(core), key_(std::move(key)), connected_(std::move(connected)) {}

PooledConnection::~PooledConnection() {
  core_.loop.cancel_timer(timer_);
  watch_.stop();
}

Status PooledConnection::start(std::uint64_t idle_timeout_ms) {
  Status watched = watch_.start(core_.loop, connected_.socket->fd(), *this);
  if (watched) {
    watch_.want(true, false);
    timer_ = core_.loop.start_timer_after_ms(idle_timeout_ms, [this] {
      timer_ = TimerId::kNone;
      core_.drop_pooled(this);
    });
  }
  return watched;
}

void PooledConnection::on_fd_ready(bool, bool) {
  core_.drop_pooled(this);
}

bool PooledConnection::alive() const {
  char byte = 0;
  const ssize_t got = ::recv(connected_.socket->fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

Connected PooledConnection::take() {
  watch_.stop();
  return std::move(connected_);
}

HttpClientCore::HttpClientCore(Loop& of, HttpClientOptions with)
    : loop(of), options(std::move(with)), counters(options.counters) {
  if (counters == nullptr) {
    counters = std::make_shared<NetCounters>();
  }
}

HttpClientCore::~HttpClientCore() {
  const auto exchanges = std::move(exchanges_);
  exchanges_.clear();
  for (const auto& [id, exchange] : exchanges) {
    exchange->cancel();
  }
}

HttpRequestId HttpClientCore::add(HttpClientRequest request, HttpExchange::Done done, HttpStreamHandlers* handlers) {
  assert(loop.on_loop());
  const bool full = exchanges_.size() >= options.requests_max;
  const HttpRequestId id{next_id_++};
  auto exchange = std::make_shared<HttpExchange>(*this, id, std::move(request));
  if (handlers != nullptr) {
    exchange->stream_into(std::move(*handlers));
  } else {
    exchange->collect_into(std::move(done));
  }
  counters->client_requests.add();
  exchanges_.emplace(static_cast<std::uint64_t>(id), exchange);
  // Begun in a later turn, so that the id is known before any function of the request is called. The weak handle does
  // nothing when the request was cancelled meanwhile.
  loop.post([weak = std::weak_ptr<HttpExchange>(exchange), full, limit = options.requests_max] {
    const auto begun = weak.lock();
    if (begun == nullptr) {
      return;
    }
    if (full) {
      begun->fail(make_error(ErrorCode::kBusy, "there are " + std::to_string(limit) +
                                                   " HTTP requests in flight already; expected fewer; try again when "
                                                   "some have ended"));
    } else {
      begun->begin();
    }
  });
  return id;
}

bool HttpClientCore::cancel(HttpRequestId id) {
  assert(loop.on_loop());
  const auto found = exchanges_.find(static_cast<std::uint64_t>(id));
  if (found == exchanges_.end()) {
    return false;
  }
  const auto exchange = found->second;
  exchange->cancel();
  return true;
}

std::optional<Connected> HttpClientCore::take_pooled(const std::string& key) {
  for (auto at = pool_.rbegin(); at != pool_.rend();) {
    if ((*at)->key() != key) {
      ++at;
      continue;
    }
    const auto connection = std::move(*at);
    at = std::make_reverse_iterator(pool_.erase(std::next(at).base()));
    if (connection->alive()) {
      counters->client_pool_reuses.add();
      return connection->take();
    }
  }
  return std::nullopt;
}

void HttpClientCore::put_pooled(std::string key, Connected connected) {
  const auto same =
      std::count_if(pool_.begin(), pool_.end(), [&key](const auto& other) { return other->key() == key; });
  if (static_cast<std::size_t>(same) >= options.pool_per_origin_max || options.pool_connections_max == 0) {
    return;
  }
  if (pool_.size() >= options.pool_connections_max) {
    pool_.pop_front();
  }
  auto pooled = std::make_unique<PooledConnection>(*this, std::move(key), std::move(connected));
  if (pooled->start(options.pool_idle_timeout_ms)) {
    pool_.push_back(std::move(pooled));
  }
}

void HttpClientCore::drop_pooled(PooledConnection* connection) {
  std::erase_if(pool_, [connection](const auto& candidate) { return candidate.get() == connection; });
}

}  // namespace detail

HttpClient::HttpClient(Loop& loop, HttpClientOptions options)
    : core_(std::make_shared<detail::HttpClientCore>(loop, std::move(options))) {}

HttpClient::~HttpClient() = default;

HttpRequestId HttpClient::send(HttpClientRequest request, UniqueFunction<void(Result<HttpClientResponse>)> done) {
  return core_->add(std::move(request), std::move(done), nullptr);
}

HttpRequestId HttpClient::stream(HttpClientRequest request, HttpStreamHandlers handlers) {
  return core_->add(std::move(request), nullptr, &handlers);
}

bool HttpClient::cancel(HttpRequestId id) {
  return core_->cancel(id);
}
std::size_t HttpClient::in_flight() const {
  return core_->in_flight();
}
std::size_t HttpClient::pooled() const {
  return core_->pooled();
}
const std::shared_ptr<NetCounters>& HttpClient::counters() const {
  return core_->counters;
}

}  // namespace cm::net
