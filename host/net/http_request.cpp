#include <cassert>

#include "host/net/detail/http_server_core.hpp"
#include "host/net/url.hpp"

namespace cm::net {

namespace {

// The path and query of an absolute-form target; other forms are that already.
std::string_view without_origin(std::string_view target) {
  if (target.empty() || target.front() == '/' || target == "*") {
    return target;
  }
  const std::size_t authority = target.find("://");
  const std::size_t start = authority == std::string_view::npos ? authority : target.find_first_of("/?", authority + 3);
  return start == std::string_view::npos ? std::string_view("/") : target.substr(start);
}

}  // namespace

HttpRequest::HttpRequest(std::unique_ptr<detail::HttpRequestData> data,
                         std::shared_ptr<detail::HttpServerConnection> connection)
    : data_(std::move(data)), connection_(std::move(connection)) {}

HttpRequest::~HttpRequest() {
  if (!answered_ && connection_ != nullptr) {
    connection_->request_dropped();
  }
}

std::string_view HttpRequest::method() const {
  return data_->head.method;
}
std::string_view HttpRequest::target() const {
  return data_->head.target;
}

std::string_view HttpRequest::path() const {
  const std::string_view target = without_origin(data_->head.target);
  return target.substr(0, target.find('?'));
}

std::string_view HttpRequest::query() const {
  const std::string_view target = without_origin(data_->head.target);
  const std::size_t mark = target.find('?');
  return mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
}

std::optional<std::string> HttpRequest::query_parameter(std::string_view name) const {
  for (auto& [key, value] : parse_query(query())) {
    if (key == name) {
      return std::move(value);
    }
  }
  return std::nullopt;
}

const Headers& HttpRequest::headers() const {
  return data_->head.headers;
}
std::string_view HttpRequest::header(std::string_view name) const {
  return data_->head.headers.get(name);
}
const SharedBuffer& HttpRequest::body() const {
  return data_->body;
}
int HttpRequest::minor_version() const {
  return data_->head.minor_version;
}
const RemoteAddress& HttpRequest::remote() const {
  return data_->remote;
}
const std::optional<PeerCredentials>& HttpRequest::peer_credentials() const {
  return data_->credentials;
}
bool HttpRequest::tls() const {
  return data_->tls;
}
std::uint32_t HttpRequest::listener() const {
  return data_->listener;
}
Loop& HttpRequest::loop() const {
  return *data_->loop;
}

bool HttpRequest::wants_websocket() const {
  return method() == "GET" && headers().has_token("Upgrade", "websocket") &&
         headers().has_token("Connection", "upgrade");
}

Status HttpRequest::answerable() const {
  assert(loop().on_loop());
  if (answered_) {
    return make_error(ErrorCode::kGone, "the request was answered or ended already; expected one answer; drop it");
  }
  if (connection_ == nullptr || !connection_->open()) {
    return make_error(ErrorCode::kGone, "the client has left before the answer; nothing can be sent; drop the request");
  }
  return {};
}

Status HttpRequest::respond(int status, const Headers& headers, SharedBuffer body) {
  const Status possible = answerable();
  if (!possible) {
    return possible;
  }
  mark_answered();
  return connection_->send_response(status, headers, std::move(body));
}

Result<std::shared_ptr<ResponseStream>> HttpRequest::start_stream(int status, const Headers& headers,
                                                                  const StreamLimits& limits) {
  const Status possible = answerable();
  if (!possible) {
    return possible.error();
  }
  mark_answered();
  return connection_->start_stream(status, headers, limits);
}

bool HttpRequest::answered() const {
  return answered_;
}

void HttpRequest::on_abort(UniqueFunction<void()> fn) {
  on_abort_ = std::move(fn);
}

void HttpRequest::mark_answered() {
  answered_ = true;
  on_abort_ = nullptr;
}

void HttpRequest::abort() {
  if (on_abort_) {
    UniqueFunction<void()> fn = std::move(on_abort_);
    on_abort_ = nullptr;
    fn();
  }
}

}  // namespace cm::net
