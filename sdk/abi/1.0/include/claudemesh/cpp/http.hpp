// cm.http.server/1 and cm.http.client/1 as C++.
#pragma once

#include <claudemesh/ext/http.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <claudemesh/cpp/host.hpp>

namespace cm {

// What the client gets when a handler threw.
inline constexpr std::uint32_t kHttpInternalError = 500;

// A header that is sent; the views must live during the call only.
struct HttpHeader {
  std::string_view name;
  std::string_view value;
};

// A request that waits for its answer. A copyable view: all text lives until the answer is given. [loop]
class HttpRequest {
 public:
  HttpRequest(const HostApi* host, const cm_http_server_v1* table, cm_handle handle, const cm_http_request_info* info)
      : host_(host), table_(table), handle_(handle), info_(*info) {}

  // "GET". [loop]
  std::string_view method() const noexcept { return to_view(info_.method); }
  // Raw, with the query. [loop]
  std::string_view target() const noexcept { return to_view(info_.target); }
  // Without the query, not decoded. [loop]
  std::string_view path() const noexcept { return to_view(info_.path); }
  // Raw, without "?". [loop]
  std::string_view query() const noexcept { return to_view(info_.query); }
  // All of it. [loop]
  std::string_view body() const noexcept { return to_view(info_.body); }
  // "127.0.0.1:53122", or "unix". [loop]
  std::string_view remote_address() const noexcept { return to_view(info_.remote_address); }
  // Did it come over a Unix socket? [loop]
  bool is_unix() const noexcept { return (info_.flags & CM_HTTP_UNIX) != 0; }
  // The user at the other end of a Unix socket, else -1. [loop]
  std::int64_t peer_uid() const noexcept { return info_.peer_uid; }
  // The process at the other end of a Unix socket, else -1. [loop]
  std::int64_t peer_pid() const noexcept { return info_.peer_pid; }
  // A header by name, whatever its case; empty when there is none. [loop]
  std::string_view header(std::string_view name) const noexcept {
    return to_view(table_->header(host_->self(), handle_, to_pview(name)));
  }
  // What ":name" or "*name" of the route took, decoded. [loop]
  std::string_view path_parameter(std::string_view name) const noexcept {
    return to_view(table_->path_parameter(host_->self(), handle_, to_pview(name)));
  }
  // Is there such a parameter in the query, even an empty one? [loop]
  bool has_query(std::string_view name) const noexcept {
    bool present = false;
    table_->query_parameter(host_->self(), handle_, to_pview(name), &present);
    return present;
  }
  // A parameter of the query, decoded; empty when there is none. [loop]
  std::string_view query_parameter(std::string_view name) const noexcept {
    return to_view(table_->query_parameter(host_->self(), handle_, to_pview(name), nullptr));
  }

  // The whole answer, copied. The request is over afterwards; a second answer does nothing. [loop]
  void respond(std::uint32_t status, std::initializer_list<HttpHeader> headers, std::string_view body) const {
    const auto raw = raw_headers(headers);
    table_->respond(host_->self(), handle_, status, raw.data(), raw.size(), to_bytes_pview(body));
  }
  // The same with Content-Type application/json. [loop]
  void respond_json(std::uint32_t status, std::string_view json) const {
    const HttpHeader content_type{"Content-Type", "application/json"};
    respond(status, {content_type}, json);
  }

  // `what` is CM_HTTP_STREAM_CLOSED (nothing follows) or CM_HTTP_STREAM_DRAINED.
  cm_status stream_begin(std::uint32_t status, std::initializer_list<HttpHeader> headers,
                         cm_http_stream_callback callback, void* user) const {
    const auto raw = raw_headers(headers);
    return table_->stream_begin(host_->self(), handle_, status, raw.data(), raw.size(), callback, user);
  }
  // CM_BUSY: nothing was taken, too much waits; CM_HTTP_STREAM_DRAINED tells when. [loop]
  cm_status stream_write(std::string_view bytes) const noexcept {
    return table_->stream_write(host_->self(), handle_, to_bytes_pview(bytes));
  }
  // Ends the stream after what waits. [loop]
  void stream_end() const noexcept { table_->stream_end(host_->self(), handle_); }

  // For the C functions. [loop]
  cm_handle handle() const noexcept { return handle_; }

 private:
  static std::vector<cm_http_header> raw_headers(std::initializer_list<HttpHeader> headers) {
    std::vector<cm_http_header> raw;
    raw.reserve(headers.size());
    for (const HttpHeader& header : headers) {
      raw.push_back(cm_http_header{to_pview(header.name), to_pview(header.value)});
    }
    return raw;
  }

  const HostApi* host_;
  const cm_http_server_v1* table_;
  cm_handle handle_;
  cm_http_request_info info_;
};

// One listener with its routes; closes when destroyed. [loop]
class HttpListener {
 public:
  // Called on the loop; it answers now, or keeps a copy of the request and answers later. When it throws, the request
  // is answered with 500, unless it was answered before.
  using Handler = std::function<void(const HttpRequest&)>;

  HttpListener() = default;
  HttpListener(const HttpListener&) = delete;
  HttpListener& operator=(const HttpListener&) = delete;
  ~HttpListener() { close(); }

  // The options' text needs to live only during the call.
  Status listen(const HostApi& host, cm_http_listen_options options) {
    host_ = &host;
    table_ = host.find<cm_http_server_v1>(CM_HTTP_SERVER_ID);
    if (table_ == nullptr) {
      return make_error(ErrorCode::kDenied,
                        "the table cm.http.server/1 was not granted; add it to `requires` of the manifest and, if the "
                        "configuration has one, to `permissions` of this instance");
    }
    options.size = sizeof(options);
    const cm_status status = table_->listen(host.self(), &options, &handle_);
    if (status != CM_OK) {
      return error_from_status(status, "cannot listen on " + std::string(to_view(options.address)) +
                                           ": the host's log line above this one says what stands in the way");
    }
    return {};
  }

  // The bound address with the real port. [loop]
  std::string local_address() const {
    cm_text_hview address = to_hview(std::string_view());
    table_->local_address(host_->self(), handle_, &address);
    return std::string(to_view(address));
  }

  // `method` "*" takes all; `pattern` as in cm_http_server_v1. [loop]
  void route(std::string_view method, std::string_view pattern, Handler handler) {
    Route* route = keep(std::move(handler));
    table_->route(host_->self(), handle_, to_pview(method), to_pview(pattern), &HttpListener::dispatch, route);
  }
  // Answers paths without a route. [loop]
  void fallback(Handler handler) {
    table_->fallback(host_->self(), handle_, &HttpListener::dispatch, keep(std::move(handler)));
  }

  // Takes no new connections and ends the others; the destructor does it too. [loop]
  void close() noexcept {
    if (handle_ != CM_NO_HANDLE) {
      table_->close(host_->self(), std::exchange(handle_, CM_NO_HANDLE));
    }
  }
  // Is it listening? [loop]
  bool is_open() const noexcept { return handle_ != CM_NO_HANDLE; }

 private:
  struct Route {
    HttpListener* listener;
    Handler handler;
  };
  Route* keep(Handler handler) {
    routes_.push_back(std::make_unique<Route>(Route{this, std::move(handler)}));
    return routes_.back().get();
  }
  static void dispatch(void* user, cm_handle request, const cm_http_request_info* info) noexcept {
    auto* route = static_cast<Route*>(user);
    const HttpListener* listener = route->listener;
    const HttpRequest view(listener->host_, listener->table_, request, info);  // the handler may destroy the listener
    if (!listener->host_->guarded("http_request", [&] { route->handler(view); })) {
      view.respond(kHttpInternalError, {}, {});
    }
  }

  const HostApi* host_ = nullptr;
  const cm_http_server_v1* table_ = nullptr;
  cm_handle handle_ = CM_NO_HANDLE;
  std::vector<std::unique_ptr<Route>> routes_;
};

// The response to http_send. `headers`: raw lines "name: value\r\n", names lower case.
struct HttpResponse {
  std::uint32_t status = 0;
  std::string headers;
  std::string body;
};

// A request for http_send. 0 is the default of the host.
struct HttpCall {
  std::string method = "GET";
  std::string url;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::uint64_t total_timeout_ms = 0;
  std::uint32_t retries = 0;
};

// Sends one HTTP request; `done` runs on the loop, exactly once unless the instance is stopped before.
inline void http_send(const HostApi& host, const HttpCall& call, std::function<void(Result<HttpResponse>)> done) {
  const auto* table = host.find<cm_http_client_v1>(CM_HTTP_CLIENT_ID);
  if (table == nullptr) {
    done(make_error(ErrorCode::kDenied,
                    "the table cm.http.client/1 was not granted; add it to `requires` of the manifest and, if the "
                    "configuration has one, to `permissions` of this instance"));
    return;
  }
  std::vector<cm_http_header> headers;
  for (const auto& [name, value] : call.headers) {
    headers.push_back(cm_http_header{to_pview(name), to_pview(value)});
  }
  cm_http_call raw = {};
  raw.size = sizeof(raw);
  raw.retries = call.retries;
  raw.method = to_pview(call.method);
  raw.url = to_pview(call.url);
  raw.headers = headers.data();
  raw.header_count = headers.size();
  raw.body = to_bytes_pview(call.body);
  raw.total_timeout_ms = call.total_timeout_ms;
  struct Waiting {
    const HostApi* host;
    std::function<void(Result<HttpResponse>)> done;
  };
  const auto owned = std::make_shared<Waiting>(Waiting{&host, std::move(done)});
  host.kept().add(owned);
  cm_handle handle = CM_NO_HANDLE;
  const cm_status status = table->send(
      host.self(), &raw,
      [](void* user, cm_handle, const cm_http_result* result) noexcept {
        auto* const waiting = static_cast<Waiting*>(user);
        const HostApi* const owner = waiting->host;
        owner->guarded("http_result", [&] {
          if (result->status != CM_OK) {
            waiting->done(error_from_status(result->status, std::string(to_view(result->error))));
            return;
          }
          HttpResponse response;
          response.status = result->http_status;
          response.headers = std::string(to_view(result->headers));
          response.body = std::string(to_view(result->body));
          waiting->done(std::move(response));
        });
        owner->kept().remove(user);
      },
      owned.get(), &handle);
  if (status != CM_OK) {
    host.kept().remove(owned.get());
    owned->done(error_from_status(status, "the host refused the HTTP request to " + call.url));
  }
}

}  // namespace cm
