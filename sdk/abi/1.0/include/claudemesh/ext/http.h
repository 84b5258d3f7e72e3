/* cm.http.server/1 and cm.http.client/1: HTTP/1.1 in both directions. Sockets, TLS, parsing, limits and time-outs are the
 * host's; the plugin sees requests and responses. */
#ifndef CLAUDEMESH_EXT_HTTP_H
#define CLAUDEMESH_EXT_HTTP_H

#include <claudemesh/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One header of a request or a response that the plugin sends. */
typedef struct cm_http_header {
  cm_text_pview name;
  cm_text_pview value;
} cm_http_header;

/* --- cm.http.server/1 ------------------------------------------------------------------------------------------- */
#define CM_HTTP_SERVER_ID "cm.http.server/1"

/* 0 in a limit means the host's default. */
typedef struct cm_http_listen_options {
  uint32_t size;
  uint32_t unix_mode;          /* permission bits of a Unix socket; 0 means 0600 */
  cm_text_pview address;       /* "127.0.0.1:7900", "[::1]:0", "unix:/path/to.sock" */
  cm_text_pview tls_cert_file; /* PEM chain; empty: no TLS */
  cm_text_pview tls_key_file;
  uint64_t header_bytes_max;
  uint64_t body_bytes_max;
  uint64_t connections_max;
  uint64_t header_timeout_ms;
  uint64_t idle_timeout_ms;
} cm_http_listen_options;

/* What a handler may read of a request. All views live as long as the request handle, that is until respond,
 * stream_end, the upgrade, or `closed`. */
typedef struct cm_http_request_info {
  uint32_t size;
  uint32_t flags; /* CM_HTTP_TLS, CM_HTTP_UNIX */
  cm_text_hview method;
  cm_text_hview target; /* raw, with the query */
  cm_text_hview path;   /* without the query, not decoded */
  cm_text_hview query;  /* raw, without '?' */
  cm_bytes_hview body;
  cm_text_hview remote_address; /* "127.0.0.1:53122", or "unix" */
  int64_t peer_uid;             /* of a Unix socket, else -1 */
  int64_t peer_gid;
  int64_t peer_pid;
} cm_http_request_info;
#define CM_HTTP_TLS UINT32_C(1)
#define CM_HTTP_UNIX UINT32_C(2)

/* Called on the instance's loop; `request` must be answered by exactly one of respond, stream_begin or a WebSocket
 * upgrade, now or later. A request that is not answered within 120 s gets 503 and counts as misbehaviour. [loop] */
typedef void (*cm_http_handler)(void* user, cm_handle request, const cm_http_request_info* info) CM_NOEXCEPT;

/* A stream's peer went away, or the stream can take bytes again. */
#define CM_HTTP_STREAM_CLOSED UINT32_C(1)
#define CM_HTTP_STREAM_DRAINED UINT32_C(2)
/* Tells one of CM_HTTP_STREAM_*; after CLOSED the request is stale and nothing follows. [loop] */
typedef void (*cm_http_stream_callback)(void* user, cm_handle request, uint32_t what) CM_NOEXCEPT;

/* Listens and answers. Since ABI 1.0. */
typedef struct cm_http_server_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Binds and listens. The text of an error names the address, what stands in the way and what to do. [loop] */
  cm_status (*listen)(cm_handle self, const cm_http_listen_options* options, cm_handle* out_listener) CM_NOEXCEPT;
  /* The bound address with the real port. Valid until close. [loop] */
  cm_status (*local_address)(cm_handle self, cm_handle listener, cm_text_hview* out) CM_NOEXCEPT;
  /* `method` "*" takes every method; `pattern` segments: literal, ":name", and a last "*name" for the rest of the path.
   * The most literal pattern wins; unknown paths answer 404, known paths with another method 405. [loop] */
  cm_status (*route)(cm_handle self, cm_handle listener, cm_text_pview method, cm_text_pview pattern,
                     cm_http_handler handler, void* user) CM_NOEXCEPT;
  /* Answer for paths without a route. [loop] */
  cm_status (*fallback)(cm_handle self, cm_handle listener, cm_http_handler handler, void* user) CM_NOEXCEPT;
  /* Takes no new connections and ends the others. CM_GONE: the handle is stale. [loop] */
  cm_status (*close)(cm_handle self, cm_handle listener) CM_NOEXCEPT;

  /* The value of a header, whatever the case of its name; empty when there is none. Lives as long as the request.
   * [loop] */
  cm_text_hview (*header)(cm_handle self, cm_handle request, cm_text_pview name) CM_NOEXCEPT;
  /* The part of the path that ":name" or "*name" of the route took, decoded; empty when there is none. [loop] */
  cm_text_hview (*path_parameter)(cm_handle self, cm_handle request, cm_text_pview name) CM_NOEXCEPT;
  /* Decoded, like a parameter of the path. `present` may be null; it tells an empty value from none. [loop] */
  cm_text_hview (*query_parameter)(cm_handle self, cm_handle request, cm_text_pview name, bool* present) CM_NOEXCEPT;

  /* The whole answer; copied. The handle is stale afterwards. CM_GONE: answered before, or the peer went away.
   * CM_INVALID: a header that could not be sent as it is. [loop] */
  cm_status (*respond)(cm_handle self, cm_handle request, uint32_t status, const cm_http_header* headers,
                       uint64_t header_count, cm_bytes_pview body) CM_NOEXCEPT;
  /* A streaming answer (server-sent events). `callback` may be null. [loop] */
  cm_status (*stream_begin)(cm_handle self, cm_handle request, uint32_t status, const cm_http_header* headers,
                            uint64_t header_count, cm_http_stream_callback callback, void* user) CM_NOEXCEPT;
  /* CM_BUSY: nothing was taken, more than 1 MiB waits for the peer; CM_HTTP_STREAM_DRAINED tells when. [loop] */
  cm_status (*stream_write)(cm_handle self, cm_handle request, cm_bytes_pview bytes) CM_NOEXCEPT;
  /* Ends the stream after what waits. The handle is stale afterwards. [loop] */
  cm_status (*stream_end)(cm_handle self, cm_handle request) CM_NOEXCEPT;
} cm_http_server_v1;

/* --- cm.http.client/1 ------------------------------------------------------------------------------------------- */
#define CM_HTTP_CLIENT_ID "cm.http.client/1"

/* A request that the plugin sends; everything is copied by `send`. */
typedef struct cm_http_call {
  uint32_t size;
  uint32_t retries; /* for idempotent methods and failures before a response; 0 none */
  cm_text_pview method;
  cm_text_pview url; /* http://, https://, unix:///path/to.sock:/request/path */
  const cm_http_header* headers;
  uint64_t header_count;
  cm_bytes_pview body;
  uint64_t connect_timeout_ms; /* 0: 10 s */
  uint64_t total_timeout_ms;   /* 0: 30 s */
  uint64_t response_bytes_max; /* 0: 8 MiB */
} cm_http_call;

/* What became of a call. The views are valid until the callback returns. */
typedef struct cm_http_result {
  uint32_t size;
  cm_status status;     /* CM_OK when a response came, whatever its HTTP status */
  uint32_t http_status; /* 0 unless CM_OK */
  uint32_t reserved;
  cm_text_hview error; /* text unless CM_OK */
  cm_text_hview headers; /* raw lines "name: value\r\n", names lower case */
  cm_bytes_hview body;
} cm_http_result;

/* The one answer to a call. [loop] */
typedef void (*cm_http_callback)(void* user, cm_handle call, const cm_http_result* result) CM_NOEXCEPT;

/* Sends requests, on pooled connections. Since ABI 1.0. */
typedef struct cm_http_client_v1 {
  uint32_t size;
  uint32_t reserved;
  /* `callback` is called exactly once on the instance's loop, unless cancelled. [loop] */
  cm_status (*send)(cm_handle self, const cm_http_call* call, cm_http_callback callback, void* user,
                    cm_handle* out_call) CM_NOEXCEPT;
  /* After the return the callback will not be called. CM_GONE: it was called, or the handle is stale. [loop] */
  cm_status (*cancel)(cm_handle self, cm_handle call) CM_NOEXCEPT;
} cm_http_client_v1;

#ifdef __cplusplus
}
#endif

CM_STATIC_ASSERT(sizeof(cm_http_header) == 32, "layout of cm_http_header");
CM_STATIC_ASSERT(sizeof(cm_http_listen_options) == 96, "layout of cm_http_listen_options");
CM_STATIC_ASSERT(sizeof(cm_http_request_info) == 128, "layout of cm_http_request_info");
CM_STATIC_ASSERT(sizeof(cm_http_server_v1) == 104, "layout of cm_http_server_v1");
CM_STATIC_ASSERT(sizeof(cm_http_call) == 96, "layout of cm_http_call");
CM_STATIC_ASSERT(sizeof(cm_http_result) == 64, "layout of cm_http_result");
CM_STATIC_ASSERT(sizeof(cm_http_client_v1) == 24, "layout of cm_http_client_v1");

#endif
