#include <claudemesh/cpp/text.hpp>

#include "host/isolation/forward.hpp"

namespace cm::isolation {

namespace {

constexpr std::uint32_t kHeaderBytesMin = 8;

// Headers as the table wants them; the views point into the frame.
bool read_headers(FrameReader& reader, std::vector<cm_http_header>& headers) {
  const std::uint32_t count = reader.count(kHeaderBytesMin);
  if (count > kHeadersMax) {
    return false;
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::string_view name = reader.bytes();
    const std::string_view value = reader.bytes();
    headers.push_back({to_pview(name), to_pview(value)});
  }
  return reader.good();
}

}  // namespace

bool ForwardHttp::handle(const Frame& frame) {
  switch (frame.method) {
    case Method::kHttpListen:
      listen(frame);
      return true;
    case Method::kHttpRoute:
      route(frame);
      return true;
    case Method::kHttpClose:
      close(frame);
      return true;
    case Method::kHttpLookup:
      lookup(frame);
      return true;
    case Method::kHttpRespond:
      respond(frame);
      return true;
    case Method::kHttpSend:
      send(frame);
      return true;
    case Method::kHttpCancel:
      cancel(frame);
      return true;
    default:
      return handle_stream(frame);
  }
}

bool ForwardHttp::handle_stream(const Frame& frame) {
  switch (frame.method) {
    case Method::kHttpStreamBegin:
      stream_begin(frame);
      return true;
    case Method::kHttpStreamWrite:
      stream_write(frame);
      return true;
    case Method::kHttpStreamEnd:
      stream_end(frame);
      return true;
    default:
      return false;
  }
}

void ForwardHttp::listen(const Frame& frame) {
  FrameReader reader(frame);
  cm_http_listen_options options = {};
  options.size = sizeof(options);
  options.unix_mode = reader.u32();
  options.address = to_pview(reader.text());
  options.tls_cert_file = to_pview(reader.text());
  options.tls_key_file = to_pview(reader.text());
  options.header_bytes_max = reader.u64();
  options.body_bytes_max = reader.u64();
  options.connections_max = reader.u64();
  options.header_timeout_ms = reader.u64();
  options.idle_timeout_ms = reader.u64();
  if (!reader.done()) {
    context_.session.garbage("a request to listen that cannot be read");
    return;
  }
  const auto* table = context_.table<cm_http_server_v1>(CM_HTTP_SERVER_ID);
  cm_handle listener = CM_NO_HANDLE;
  cm_text_hview address = {nullptr, 0};
  const cm_status status = table == nullptr ? CM_DENIED : table->listen(context_.self(), &options, &listener);
  if (status == CM_OK) {
    listeners_.insert(listener);
    table->local_address(context_.self(), listener, &address);
  }
  context_.session.reply(frame.call, status, [&](FrameWriter& writer) {
    writer.u64(listener);
    writer.text(to_view(address));
  });
}

void ForwardHttp::route(const Frame& frame) {
  FrameReader reader(frame);
  const cm_handle listener = reader.u64();
  const std::uint64_t id = reader.u64();
  const bool fallback = reader.boolean();
  const std::string_view method = reader.text();
  const std::string_view pattern = reader.text();
  if (!reader.done()) {
    context_.session.garbage("a route that cannot be read");
    return;
  }
  const auto* table = context_.table<cm_http_server_v1>(CM_HTTP_SERVER_ID);
  if (table == nullptr || routes_.size() >= kRoutesMax) {
    context_.session.reply(frame.call, table == nullptr ? CM_DENIED : CM_BUSY);
    return;
  }
  routes_.push_back(std::make_unique<Route>(Route{this, id}));
  Route* user = routes_.back().get();
  const cm_status status =
      fallback ? table->fallback(context_.self(), listener, &request_callback, user)
               : table->route(context_.self(), listener, to_pview(method), to_pview(pattern), &request_callback, user);
  context_.session.reply(frame.call, status);
}

void ForwardHttp::close(const Frame& frame) {
  FrameReader reader(frame);
  const cm_handle listener = reader.u64();
  if (!reader.done()) {
    context_.session.garbage("a listener that cannot be read");
    return;
  }
  cm_status status = CM_GONE;
  if (listeners_.erase(listener) != 0) {
    status = context_.table<cm_http_server_v1>(CM_HTTP_SERVER_ID)->close(context_.self(), listener);
  }
  context_.session.reply(frame.call, status);
}

void ForwardHttp::request_callback(void* user, cm_handle request, const cm_http_request_info* info) noexcept {
  const auto* route = static_cast<const Route*>(user);
  route->owner->on_request(route->id, request, *info);
}

void ForwardHttp::on_request(std::uint64_t route, cm_handle request, const cm_http_request_info& info) {
  Session& session = context_.session;
  if (session.broken() || session.crowded()) {
    refuse_request(request, 503, "the plugin that answers here is not running now; try again later\n");
    return;
  }
  const bool sent = session.send(Method::kHttpRequest, route, [&](FrameWriter& writer) {
    writer.u64(request);
    writer.u32(info.flags);
    writer.bytes(to_view(info.method));
    writer.bytes(to_view(info.target));
    writer.bytes(to_view(info.path));
    writer.bytes(to_view(info.query));
    writer.bytes(to_view(info.body));
    writer.bytes(to_view(info.remote_address));
    writer.i64(info.peer_uid);
    writer.i64(info.peer_gid);
    writer.i64(info.peer_pid);
  });
  if (!sent) {
    refuse_request(request, 413, "the body is larger than what crosses to the plugin's process\n");
  } else if (unanswered_.size() < kUnansweredMax) {
    unanswered_.insert(request);
  }
}

void ForwardHttp::refuse_request(cm_handle request, std::uint32_t status, std::string_view text) {
  const auto* table = context_.table<cm_http_server_v1>(CM_HTTP_SERVER_ID);
  const cm_http_header type = {to_pview("content-type"), to_pview("text/plain; charset=utf-8")};
  table->respond(context_.self(), request, status, &type, 1, to_bytes_pview(text));
}

void ForwardHttp::lookup(const Frame& frame) {
  FrameReader reader(frame);
  const std::uint8_t what = reader.u8();
  const cm_handle request = reader.u64();
  const std::string_view name = reader.bytes();
  if (!reader.done() || what > 2) {
    context_.session.garbage("a question about a request that cannot be read");
    return;
  }
  const auto* table = context_.table<cm_http_server_v1>(CM_HTTP_SERVER_ID);
  cm_text_hview value = {nullptr, 0};
  bool present = false;
  if (table != nullptr) {
    value = what == 0   ? table->header(context_.self(), request, to_pview(name))
            : what == 1 ? table->path_parameter(context_.self(), request, to_pview(name))
                        : table->query_parameter(context_.self(), request, to_pview(name), &present);
  }
  context_.session.reply(frame.call, table == nullptr ? CM_DENIED : CM_OK, [&](FrameWriter& writer) {
    writer.boolean(present);
    writer.bytes(to_view(value));
  });
}

void ForwardHttp::respond(const Frame& frame) {
  FrameReader reader(frame);
  const cm_handle request = reader.u64();
  const std::uint32_t status = reader.u32();
  std::vector<cm_http_header> headers;
  const bool readable = read_headers(reader, headers);
  const std::string_view body = reader.bytes();
  if (!readable || !reader.done()) {
    context_.session.garbage("a response that cannot be read");
    return;
  }
  unanswered_.erase(request);
  const auto* table = context_.table<cm_http_server_v1>(CM_HTTP_SERVER_ID);
  if (table != nullptr && table->respond(context_.self(), request, status, headers.data(), headers.size(),
                                         to_bytes_pview(body)) == CM_INVALID) {
    // The child was told that it worked; somebody waits for an answer.
    context_.host_side.misbehaved("it answered an HTTP request with a status or headers that cannot be sent");
    refuse_request(request, 500, "the plugin gave an answer that cannot be sent\n");
  }
}

void ForwardHttp::stream_callback(void* user, cm_handle request, std::uint32_t what) noexcept {
  // An event of a former child's stream is for a request that the child of today does not know, and passes over.
  if (ForwardHttp* self = static_cast<const StreamRelay*>(user)->current; self != nullptr) {
    self->context_.session.send(Method::kHttpStream, request, [what](FrameWriter& writer) { writer.u32(what); });
  }
}

void ForwardHttp::stream_begin(const Frame& frame) {
  FrameReader reader(frame);
  const cm_handle request = reader.u64();
  const std::uint32_t http_status = reader.u32();
  std::vector<cm_http_header> headers;
  if (!read_headers(reader, headers) || !reader.done()) {
    context_.session.garbage("a response that cannot be read");
    return;
  }
  unanswered_.erase(request);
  const auto* table = context_.table<cm_http_server_v1>(CM_HTTP_SERVER_ID);
  const cm_status status = table == nullptr ? CM_DENIED
                                            : table->stream_begin(context_.self(), request, http_status, headers.data(),
                                                                  headers.size(), &stream_callback, &context_.streams);
  context_.session.reply(frame.call, status);
}

void ForwardHttp::stream_write(const Frame& frame) {
  FrameReader reader(frame);
  const cm_handle request = reader.u64();
  const std::string_view bytes = reader.bytes();
  if (!reader.done()) {
    context_.session.garbage("a part of a response that cannot be read");
    return;
  }
  const auto* table = context_.table<cm_http_server_v1>(CM_HTTP_SERVER_ID);
  context_.session.reply(
      frame.call, table == nullptr ? CM_DENIED : table->stream_write(context_.self(), request, to_bytes_pview(bytes)));
}

void ForwardHttp::stream_end(const Frame& frame) {
  FrameReader reader(frame);
  const cm_handle request = reader.u64();
  if (!reader.done()) {
    context_.session.garbage("the end of a response that cannot be read");
    return;
  }
  const auto* table = context_.table<cm_http_server_v1>(CM_HTTP_SERVER_ID);
  context_.session.reply(frame.call, table == nullptr ? CM_DENIED : table->stream_end(context_.self(), request));
}

void ForwardHttp::result_callback(void* user, cm_handle call, const cm_http_result* result) noexcept {
  auto* self = static_cast<ForwardHttp*>(user);
  self->calls_.erase(call);
  const auto write = [&](FrameWriter& writer, const cm_http_result& value) {
    writer.u32(value.status);
    writer.u32(value.http_status);
    writer.bytes(to_view(value.error));
    writer.bytes(to_view(value.headers));
    writer.bytes(to_view(value.body));
  };
  Session& session = self->context_.session;
  if (!session.send(Method::kHttpResult, call, [&](FrameWriter& writer) { write(writer, *result); })) {
    cm_http_result failure = {};
    failure.status = CM_BUSY;
    failure.error = to_hview("the response is larger than what crosses to the plugin's process");
    session.send(Method::kHttpResult, call, [&](FrameWriter& writer) { write(writer, failure); });
  }
}

void ForwardHttp::send(const Frame& frame) {
  FrameReader reader(frame);
  cm_http_call call = {};
  call.size = sizeof(call);
  call.retries = reader.u32();
  call.method = to_pview(reader.bytes());
  call.url = to_pview(reader.bytes());
  std::vector<cm_http_header> headers;
  const bool readable = read_headers(reader, headers);
  call.headers = headers.data();
  call.header_count = headers.size();
  call.body = to_bytes_pview(reader.bytes());
  call.connect_timeout_ms = reader.u64();
  call.total_timeout_ms = reader.u64();
  call.response_bytes_max = reader.u64();
  if (!readable || !reader.done()) {
    context_.session.garbage("an HTTP request that cannot be read");
    return;
  }
  const auto* table = context_.table<cm_http_client_v1>(CM_HTTP_CLIENT_ID);
  cm_handle handle = CM_NO_HANDLE;
  const cm_status status =
      table == nullptr ? CM_DENIED : table->send(context_.self(), &call, &result_callback, this, &handle);
  if (status == CM_OK) {
    calls_.insert(handle);
  }
  context_.session.reply(frame.call, status, [handle](FrameWriter& writer) { writer.u64(handle); });
}

void ForwardHttp::cancel(const Frame& frame) {
  FrameReader reader(frame);
  const cm_handle call = reader.u64();
  if (!reader.done()) {
    context_.session.garbage("an HTTP request that cannot be read");
    return;
  }
  cm_status status = CM_GONE;
  if (calls_.erase(call) != 0) {
    status = context_.table<cm_http_client_v1>(CM_HTTP_CLIENT_ID)->cancel(context_.self(), call);
  }
  context_.session.reply(frame.call, status);
}

void ForwardHttp::release_all() {
  for (const cm_handle request : unanswered_) {
    refuse_request(request, 503, "the plugin that would have answered has ended; try again later\n");
  }
  unanswered_.clear();
  // A stream is not ended here, because that would make its reader believe that it is complete: the listener cuts it
  // off.
  for (const cm_handle call : calls_) {
    context_.table<cm_http_client_v1>(CM_HTTP_CLIENT_ID)->cancel(context_.self(), call);
  }
  for (const cm_handle listener : listeners_) {
    context_.table<cm_http_server_v1>(CM_HTTP_SERVER_ID)->close(context_.self(), listener);
  }
  calls_.clear();
  listeners_.clear();
}

}  // namespace cm::isolation
