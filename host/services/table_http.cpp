// cm.http.server/1 and cm.http.client/1 as C functions.
#include <cstring>

#include "host/services/host_view.hpp"
#include "host/services/http_calls.hpp"
#include "host/services/http_listeners.hpp"
#include "host/services/http_views.hpp"
#include "host/services/services.hpp"

namespace cm::host {

namespace {

HttpListeners& listeners_of(const Admission& admission) {
  return *admission.instance->holdings->http;
}

cm_status answer(const Admission& admission, const Status& status) {
  return status ? CM_OK : refuse(*admission.instance, status.error());
}

Status check_response(std::uint32_t status, const cm_http_header* headers, std::uint64_t header_count) {
  if (status < 200 || status > 599) {
    return make_error(ErrorCode::kInvalid, "HTTP status " + std::to_string(status) + "; expected 200 to 599");
  }
  if (header_count > kResponseHeadersMax || (headers == nullptr && header_count != 0)) {
    return make_error(ErrorCode::kInvalid, std::to_string(header_count) + " response headers; expected at most " +
                                               std::to_string(kResponseHeadersMax));
  }
  return {};
}

cm_status server_listen(cm_handle self, const cm_http_listen_options* options, cm_handle* out_listener) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 listen");
  if (!admission) {
    return admission.status;
  }
  if (options == nullptr || out_listener == nullptr) {
    return CM_INVALID;
  }
  const auto known = copy_prefix(*options);
  const auto listener = listeners_of(admission).listen(known);
  if (!listener) {
    // Logged as well: the plugin cannot read the text, so it may report less than the host knows.
    admission.instance->log(LogLevel::kError, "cannot listen: " + listener.error().message);
    return refuse(*admission.instance, listener.error());
  }
  *out_listener = *listener;
  return CM_OK;
}

cm_status server_local_address(cm_handle self, cm_handle listener, cm_text_hview* out) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 local_address");
  if (!admission) {
    return admission.status;
  }
  const auto address = listeners_of(admission).local_address(listener);
  if (!address.has_value() || out == nullptr) {
    return out == nullptr ? CM_INVALID : CM_GONE;
  }
  *out = view_of(*address);
  return CM_OK;
}

cm_status server_route(cm_handle self, cm_handle listener, cm_text_pview method, cm_text_pview pattern,
                       cm_http_handler handler, void* user) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 route");
  if (!admission) {
    return admission.status;
  }
  return answer(admission, listeners_of(admission).route(listener, text_of(method), text_of(pattern), handler, user));
}

cm_status server_fallback(cm_handle self, cm_handle listener, cm_http_handler handler, void* user) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 fallback");
  if (!admission) {
    return admission.status;
  }
  return answer(admission, listeners_of(admission).fallback(listener, handler, user));
}

cm_status server_close(cm_handle self, cm_handle listener) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 close");
  if (admission.instance == nullptr) {
    return admission.status;
  }
  return listeners_of(admission).close(listener) ? admission.status : CM_GONE;
}

cm_text_hview server_header(cm_handle self, cm_handle request, cm_text_pview name) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 header");
  return admission ? view_of(listeners_of(admission).header(request, text_of(name))) : cm_text_hview{nullptr, 0};
}

cm_text_hview server_path_parameter(cm_handle self, cm_handle request, cm_text_pview name) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 path_parameter");
  return admission ? view_of(listeners_of(admission).path_parameter(request, text_of(name)))
                   : cm_text_hview{nullptr, 0};
}

cm_text_hview server_query_parameter(cm_handle self, cm_handle request, cm_text_pview name, bool* present) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 query_parameter");
  if (!admission) {
    return cm_text_hview{nullptr, 0};
  }
  return view_of(listeners_of(admission).query_parameter(request, text_of(name), present));
}

cm_status server_respond(cm_handle self, cm_handle request, uint32_t status, const cm_http_header* headers,
                         uint64_t header_count, cm_bytes_pview body) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 respond");
  if (!admission) {
    return admission.status;
  }
  if (Status good = check_response(status, headers, header_count); !good) {
    return refuse(*admission.instance, good.error());
  }
  return answer(admission,
                listeners_of(admission).respond(request, static_cast<int>(status), headers_of(headers, header_count),
                                                net::SharedBuffer::copy({body.data, body.size})));
}

cm_status server_stream_begin(cm_handle self, cm_handle request, uint32_t status, const cm_http_header* headers,
                              uint64_t header_count, cm_http_stream_callback callback, void* user) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 stream_begin");
  if (!admission) {
    return admission.status;
  }
  if (Status good = check_response(status, headers, header_count); !good) {
    return refuse(*admission.instance, good.error());
  }
  return answer(admission, listeners_of(admission).stream_begin(request, static_cast<int>(status),
                                                                headers_of(headers, header_count), callback, user));
}

cm_status server_stream_write(cm_handle self, cm_handle request, cm_bytes_pview bytes) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 stream_write");
  if (!admission) {
    return admission.status;
  }
  return answer(admission, listeners_of(admission).stream_write(request, bytes));
}

cm_status server_stream_end(cm_handle self, cm_handle request) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpServer, "cm.http.server/1 stream_end");
  if (!admission) {
    return admission.status;
  }
  return answer(admission, listeners_of(admission).stream_end(request));
}

constexpr cm_http_server_v1 kHttpServerTable = {sizeof(cm_http_server_v1),
                                                0,
                                                server_listen,
                                                server_local_address,
                                                server_route,
                                                server_fallback,
                                                server_close,
                                                server_header,
                                                server_path_parameter,
                                                server_query_parameter,
                                                server_respond,
                                                server_stream_begin,
                                                server_stream_write,
                                                server_stream_end};

cm_status client_send(cm_handle self, const cm_http_call* call, cm_http_callback callback, void* user,
                      cm_handle* out_call) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpClient, "cm.http.client/1 send");
  if (!admission) {
    return admission.status;
  }
  if (call == nullptr || callback == nullptr) {
    return CM_INVALID;
  }
  const auto known = copy_prefix(*call);
  const auto handle = admission.instance->holdings->calls->send(known, callback, user);
  if (!handle) {
    return refuse(*admission.instance, handle.error());
  }
  if (out_call != nullptr) {
    *out_call = *handle;
  }
  return CM_OK;
}

cm_status client_cancel(cm_handle self, cm_handle call) noexcept {
  const Admission admission = admit_loop(self, HostTable::kHttpClient, "cm.http.client/1 cancel");
  if (admission.instance == nullptr) {
    return admission.status;
  }
  return admission.instance->holdings->calls->cancel(call) ? admission.status : CM_GONE;
}

constexpr cm_http_client_v1 kHttpClientTable = {sizeof(cm_http_client_v1), 0, client_send, client_cancel};

}  // namespace

const void* http_server_table() noexcept {
  return &kHttpServerTable;
}
const void* http_client_table() noexcept {
  return &kHttpClientTable;
}

}  // namespace cm::host
