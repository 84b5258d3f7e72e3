#include "host/services/http_listeners.hpp"

#include <charconv>

#include "host/services/instance.hpp"
#include "host/services/services.hpp"

namespace cm::host {

namespace {

constexpr std::size_t kStreamBytesMax = 256 * 1024 * 1024;  // one write may be larger than the watermark

Error gone_request() {
  return make_error(ErrorCode::kGone, "the request was answered already, or its peer has left");
}

void answer_plain(net::HttpRequest& request, int status, std::string_view text, std::string_view allow = {}) {
  net::Headers headers{{"Content-Type", "text/plain; charset=utf-8"}};
  if (!allow.empty()) {
    headers.add("Allow", allow);
  }
  // A peer that left meanwhile needs no answer.
  static_cast<void>(request.respond(status, headers, text));
}

cm_http_request_info info_of(const net::HttpRequest& request, std::string_view remote_address) {
  cm_http_request_info info{};
  info.size = sizeof info;
  info.flags = (request.tls() ? CM_HTTP_TLS : 0u) | (remote_address == "unix" ? CM_HTTP_UNIX : 0u);
  info.method = view_of(request.method());
  info.target = view_of(request.target());
  info.path = view_of(request.path());
  info.query = view_of(request.query());
  info.body = {request.body().data(), request.body().size()};
  info.remote_address = view_of(remote_address);
  info.peer_uid = info.peer_gid = info.peer_pid = -1;
  if (const auto& peer = request.peer_credentials(); peer.has_value()) {
    info.peer_uid = peer->user_id;
    info.peer_gid = peer->group_id;
    info.peer_pid = peer->process_id;
  }
  return info;
}

net::HttpLimits limits_of(const cm_http_listen_options& options) {
  net::HttpLimits limits;
  if (options.header_bytes_max != 0) {
    limits.header_bytes = options.header_bytes_max;
  }
  if (options.body_bytes_max != 0) {
    limits.body_bytes = options.body_bytes_max;
  }
  if (options.header_timeout_ms != 0) {
    limits.header_timeout_ms = options.header_timeout_ms;
  }
  if (options.idle_timeout_ms != 0) {
    limits.idle_timeout_ms = options.idle_timeout_ms;
  }
  return limits;
}

}  // namespace

HttpListeners::~HttpListeners() {
  if (sweep_timer_ != net::TimerId::kNone) {
    instance_.loop_thread().loop().cancel_timer(sweep_timer_);
  }
}

Result<cm_handle> HttpListeners::listen(const cm_http_listen_options& options) {
  const std::optional<cm_handle> handle = listeners_.next_handle();
  if (!handle.has_value()) {
    return make_error(ErrorCode::kBusy,
                      "an instance may have at most " + std::to_string(kListenersMax) + " listeners; close one first");
  }
  const std::string_view text = text_of(options.address);
  const Result<ListenAddress> address = parse_listen_address(text);
  if (!address) {
    return address.error();
  }
  auto listener = std::make_unique<Listener>();
  net::HttpServerOptions server_options;
  server_options.limits = limits_of(options);
  server_options.counters = instance_.services().net_counters;
  server_options.on_tls_failure = [this](const net::RemoteAddress& remote, std::string_view reason) {
    const std::string peer = remote.text();
    const LogField fields[] = {{"remote", peer}, {"reason", reason}};
    instance_.log(LogLevel::kDebug, "a TLS handshake failed", fields);
  };
  listener->server =
      std::make_unique<net::HttpServer>(instance_.loop_thread().loop(), std::move(server_options),
                                        [this, listener_handle = *handle](std::shared_ptr<net::HttpRequest> request) {
                                          on_request(listener_handle, request);
                                        });
  if (Status bound = bind(*listener, options, *address); !bound) {
    return std::move(bound).error();
  }
  const cm_handle inserted = listeners_.insert(std::move(listener));
  assert(inserted == *handle);
  return inserted;
}

Status HttpListeners::bind(Listener& listener, const cm_http_listen_options& options, const ListenAddress& address) {
  std::shared_ptr<net::TlsServerContext> tls;
  if (address.unix_path.empty() && options.tls_cert_file.size != 0) {
    auto loaded = net::TlsServerContext::load(std::string(text_of(options.tls_cert_file)),
                                              std::string(text_of(options.tls_key_file)));
    if (!loaded) {
      return std::move(loaded).error();
    }
    tls = *loaded;
  }
  std::size_t connections_max = address.unix_path.empty() ? net::TcpListenerOptions{}.connections_max
                                                          : net::UnixListenerOptions{}.connections_max;
  if (options.connections_max != 0) {
    connections_max = options.connections_max;
  }
  const std::uint32_t unix_mode = options.unix_mode == 0 ? 0600 : options.unix_mode & 0777u;
  ListeningSockets& sockets = instance_.services().listening_sockets;
  const auto lease = sockets.acquire(instance_.name(), std::string(text_of(options.address)), address, unix_mode);
  if (!lease) {
    return lease.error();
  }
  // Until a staged instance is committed, its connections wait or go to the instance that it replaces.
  listener.server->set_accepting(!instance_.staged());
  const Result<net::ListenerInfo> info = listener.server->listen_fd(lease->fd, std::move(tls), connections_max);
  if (!info) {
    sockets.release(lease->number);
    return info.error();
  }
  listener.lease = lease->number;
  listener.local_address = listener_address(*info);
  return {};
}

std::optional<std::string_view> HttpListeners::local_address(cm_handle listener) const {
  const Listener* found = listeners_.find(listener);
  return found != nullptr ? std::optional<std::string_view>(found->local_address) : std::nullopt;
}

Status HttpListeners::route(cm_handle listener, std::string_view method, std::string_view pattern,
                            cm_http_handler handler, void* user) {
  Listener* found = listeners_.find(listener);
  if (found == nullptr) {
    return make_error(ErrorCode::kGone, "the listener is closed");
  }
  if (handler == nullptr) {
    return make_error(ErrorCode::kInvalid, "the route " + std::string(pattern) + " has no handler");
  }
  if (found->routes.size() >= kRoutesMax) {
    return make_error(ErrorCode::kBusy, "a listener may have at most " + std::to_string(kRoutesMax) + " routes");
  }
  const Result<net::RouteId> id = found->router.add(method, pattern);
  if (!id) {
    return id.error();
  }
  found->routes[*id] = Route{handler, user};
  return {};
}

Status HttpListeners::fallback(cm_handle listener, cm_http_handler handler, void* user) {
  Listener* found = listeners_.find(listener);
  if (found == nullptr) {
    return make_error(ErrorCode::kGone, "the listener is closed");
  }
  found->fallback = Route{handler, user};
  return {};
}

bool HttpListeners::close(cm_handle listener) {
  std::unique_ptr<Listener> closed = listeners_.remove(listener);
  if (closed == nullptr) {
    return false;
  }
  end(*closed);
  closed_.push_back(std::move(closed));
  return true;
}

void HttpListeners::end(Listener& listener) {
  if (listener.ending != 0) {
    return;
  }
  listener.ending = ++endings_;
  instance_.services().listening_sockets.release(listener.lease);
  Instance* instance = &instance_;
  listener.server->drain(kListenerEndMs, [instance, ending = listener.ending] {
    if (instance->open()) {
      instance->holdings->http->forget_listener(ending);
    }
  });
}

void HttpListeners::forget_listener(std::uint64_t ending) {
  std::erase_if(closed_, [ending](const std::unique_ptr<Listener>& listener) { return listener->ending == ending; });
}

void HttpListeners::on_request(cm_handle listener, const std::shared_ptr<net::HttpRequest>& request) {
  const Listener* found = listeners_.find(listener);
  if (found == nullptr || !instance_.open()) {
    answer_plain(*request, 503, "the service behind this address is stopping; try again later\n");
    return;
  }
  net::RouteMatch match = found->router.match(request->method(), request->target());
  Route route = found->fallback;
  switch (match.outcome) {
    case net::RouteMatch::Outcome::kFound:
      route = found->routes.at(match.route);
      break;
    case net::RouteMatch::Outcome::kMethodNotAllowed:
      answer_plain(*request, 405,
                   "this path does not take " + std::string(request->method()) + "; it takes " + match.allow + "\n",
                   match.allow);
      return;
    case net::RouteMatch::Outcome::kNotFound:
      break;
  }
  if (route.handler == nullptr) {
    answer_plain(*request, 404, "there is nothing at this path\n");
    return;
  }
  dispatch(route, request, std::move(match));
}

void HttpListeners::dispatch(const Route& route, const std::shared_ptr<net::HttpRequest>& request,
                             net::RouteMatch match) {
  auto entry = std::make_unique<Request>();
  entry->request = request;
  entry->match = std::move(match);
  entry->remote_address = request->remote().text();
  entry->answer_until_ns =
      net::Loop::now_ns() + static_cast<std::int64_t>(instance_.services().unanswered_request_ms) * 1'000'000;
  const cm_http_request_info info = info_of(*request, entry->remote_address);
  const cm_handle handle = requests_.insert(std::move(entry));
  if (handle == CM_NO_HANDLE) {
    answer_plain(*request, 503, "too many requests are open; try again later\n");
    return;
  }
  watch_unanswered();
  enter(instance_, CallbackKind::kHttpRequest, [&] { route.handler(route.user, handle, &info); });
}

std::string_view HttpListeners::header(cm_handle request, std::string_view name) const {
  const Request* found = requests_.find(request);
  return found != nullptr ? found->request->header(name) : std::string_view();
}

std::string_view HttpListeners::path_parameter(cm_handle request, std::string_view name) const {
  const Request* found = requests_.find(request);
  return found != nullptr ? found->match.parameter(name) : std::string_view();
}

std::string_view HttpListeners::query_parameter(cm_handle request, std::string_view name, bool* present) {
  Request* found = requests_.find(request);
  std::string_view value;
  bool is_present = false;
  if (found != nullptr) {
    auto cached = found->query.find(name);
    if (cached == found->query.end()) {
      cached = found->query.emplace(std::string(name), found->request->query_parameter(name)).first;
    }
    is_present = cached->second.has_value();
    value = is_present ? std::string_view(*cached->second) : std::string_view();
  }
  if (present != nullptr) {
    *present = is_present;
  }
  return value;
}

Status HttpListeners::respond(cm_handle request, int status, const net::Headers& headers, net::SharedBuffer body) {
  const Request* found = requests_.find(request);
  if (found == nullptr || found->stream != nullptr) {
    return gone_request();
  }
  const std::unique_ptr<Request> answered = requests_.remove(request);
  return answered->request->respond(status, headers, std::move(body));
}

Status HttpListeners::stream_begin(cm_handle request, int status, const net::Headers& headers,
                                   cm_http_stream_callback callback, void* user) {
  Request* found = requests_.find(request);
  if (found == nullptr || found->stream != nullptr) {
    return gone_request();
  }
  net::StreamLimits limits;
  limits.high_watermark_bytes = kStreamWaitingBytesHigh;
  limits.low_watermark_bytes = kStreamWaitingBytesHigh / 4;
  limits.hard_limit_bytes = kStreamBytesMax;
  auto stream = found->request->start_stream(status, headers, limits);
  if (!stream) {
    requests_.remove(request);
    return std::move(stream).error();
  }
  found->stream = *stream;
  found->stream_callback = callback;
  found->stream_user = user;
  // Posted, because the peer's end may be noticed inside one of the plugin's own calls.
  const auto notify = [&instance = instance_, request](std::uint32_t what) {
    instance.loop_thread().loop().post([&instance, request, what] {
      if (instance.open()) {
        instance.holdings->http->stream_event(request, what);
      }
    });
  };
  found->stream->on_drain([notify] { notify(CM_HTTP_STREAM_DRAINED); });
  found->stream->on_close([notify] { notify(CM_HTTP_STREAM_CLOSED); });
  return {};
}

void HttpListeners::stream_event(cm_handle request, std::uint32_t what) {
  Request* found = requests_.find(request);
  if (found == nullptr) {
    return;
  }
  const cm_http_stream_callback callback = found->stream_callback;
  void* const user = found->stream_user;
  bool tell = callback != nullptr;
  std::unique_ptr<Request> ended;
  if (what == CM_HTTP_STREAM_CLOSED) {
    ended = requests_.remove(request);
  } else {
    found->stream_full = false;
    tell = tell && std::exchange(found->busy_told, false);
  }
  if (tell) {
    enter(instance_, CallbackKind::kHttpStream, [&] { callback(user, request, what); });
  }
}

Status HttpListeners::stream_write(cm_handle request, cm_bytes_pview bytes) {
  Request* found = requests_.find(request);
  if (found == nullptr || found->stream == nullptr || found->stream->closed()) {
    return gone_request();
  }
  if (found->stream_full) {
    found->busy_told = true;
    return make_error(ErrorCode::kBusy, "the peer reads too slowly; write again when the stream is drained");
  }
  if (bytes.size == 0) {
    return {};
  }
  const bool may_go_on = found->stream->write(net::SharedBuffer::copy({bytes.data, bytes.size}));
  if (!may_go_on && found->stream->closed()) {
    return gone_request();
  }
  found->stream_full = !may_go_on;
  return {};
}

Status HttpListeners::stream_end(cm_handle request) {
  const Request* found = requests_.find(request);
  if (found == nullptr || found->stream == nullptr) {
    return gone_request();
  }
  const std::unique_ptr<Request> ended = requests_.remove(request);
  ended->stream->close();
  return {};
}

std::shared_ptr<net::HttpRequest> HttpListeners::unanswered_request(cm_handle request) const {
  const Request* found = requests_.find(request);
  return found != nullptr && found->stream == nullptr ? found->request : nullptr;
}

void HttpListeners::forget(cm_handle request) {
  requests_.remove(request);
}

void HttpListeners::watch_unanswered() {
  if (sweep_timer_ != net::TimerId::kNone) {
    return;
  }
  // One sweep for all requests is cheaper than a timer for each: almost all are answered at once.
  const std::uint64_t interval_ms = std::max<std::uint64_t>(1, instance_.services().unanswered_request_ms / 16);
  sweep_timer_ = instance_.loop_thread().loop().start_timer_after_ms(interval_ms, [this] { sweep_unanswered(); });
}

void HttpListeners::sweep_unanswered() {
  sweep_timer_ = net::TimerId::kNone;
  const std::int64_t now_ns = net::Loop::now_ns();
  for (const cm_handle handle : requests_.handles()) {
    const Request* found = requests_.find(handle);
    if (found == nullptr || found->stream != nullptr || found->answer_until_ns > now_ns) {
      continue;
    }
    const std::unique_ptr<Request> expired = requests_.remove(handle);
    instance_.services().counters.unanswered_requests.fetch_add(1, std::memory_order_relaxed);
    instance_.misbehaved("the request " + std::string(expired->request->method()) + " " +
                         std::string(expired->request->path()) + " was not answered within " +
                         std::to_string(instance_.services().unanswered_request_ms) + " ms and got 503");
    answer_plain(*expired->request, 503, "the service did not answer in time; try again later\n");
  }
  if (!requests_.empty()) {
    watch_unanswered();
  }
}

void HttpListeners::quiesce(std::uint64_t timeout_ms, net::UniqueFunction<void()> done) {
  // Kept alive by each server's function, so that the last one to end calls `done`.
  const auto all = std::make_shared<net::UniqueFunction<void()>>(std::move(done));
  const auto waiting = std::make_shared<std::size_t>(1);
  const auto one_done = [all, waiting] {
    if (--*waiting == 0) {
      (*all)();
    }
  };
  listeners_.for_each([&](cm_handle, Listener& listener) {
    if (listener.ending == 0) {
      ++*waiting;
      listener.server->quiesce(timeout_ms, one_done);
    }
  });
  one_done();
}

void HttpListeners::begin_accepting() {
  listeners_.for_each([](cm_handle, Listener& listener) {
    if (listener.ending == 0) {
      listener.server->set_accepting(true);
    }
  });
}

void HttpListeners::silence() {
  for (const cm_handle handle : requests_.handles()) {
    const std::unique_ptr<Request> open = requests_.remove(handle);
    if (open->stream != nullptr) {
      open->stream->close();
    } else {
      answer_plain(*open->request, 503, "the service behind this address is stopping; try again later\n");
    }
  }
  listeners_.for_each([this](cm_handle, Listener& listener) { end(listener); });
}

}  // namespace cm::host
