#include "plugins/ws_broker/src/options.hpp"

namespace cm::broker {

namespace {

void read_limits(const HostApi& host, Options& options) {
  options.max_message_bytes = static_cast<std::size_t>(host.option_int("max_message_bytes"));
  options.max_connections_per_mesh = static_cast<std::size_t>(host.option_int("max_connections_per_mesh"));
  options.rate_limit_per_min = static_cast<double>(host.option_int("rate_limit_per_min"));
  options.rate_limit_burst = static_cast<double>(host.option_int("rate_limit_burst"));
  options.pre_hello_frames = static_cast<std::uint32_t>(host.option_int("pre_hello_frames"));
  options.open_requests_max = static_cast<std::size_t>(host.option_int("open_requests_max"));
  options.max_pending_connections = static_cast<std::size_t>(host.option_int("max_pending_connections"));
  options.dedupe_cache_entries = static_cast<std::size_t>(host.option_int("dedupe_cache_entries"));
  options.member_queue_rows = static_cast<std::size_t>(host.option_int("member_queue_rows"));
  options.socket_buffer_high = static_cast<std::uint64_t>(host.option_int("socket_buffer_high"));
  options.socket_buffer_max = static_cast<std::uint64_t>(host.option_int("socket_buffer_max"));
}

void read_times(const HostApi& host, Options& options) {
  options.lease.ping_interval_ms = host.option_int("ping_interval_ms");
  options.lease.stale_after_ms = host.option_int("stale_after_ms");
  options.lease.grace_ms = host.option_int("lease_grace_ms");
  options.claim_lease_ms = host.option_int("claim_lease_ms");
  options.claim_lease_max_ms = host.option_int("claim_lease_max_ms");
  options.hello_timeout_ms = host.option_int("hello_timeout_ms");
  options.status_ttl_ms = host.option_int("status_ttl_ms");
  options.hook_fresh_ms = host.option_int("hook_fresh_ms");
  options.session_retention_ms = host.option_int("session_retention");
  options.queue_retention_ms = host.option_int("queue_retention");
  options.delivered_retention_ms = host.option_int("delivered_retention");
  options.dedupe_permanent = host.option_text("dedupe_mode") != "retention_scoped";
  options.dedupe_retention_days = host.option_int("dedupe_retention_days");
  options.audit_retention_days = host.option_int("audit_retention_days");
}

}  // namespace

Result<Options> read_options(const HostApi& host) {
  Options options;
  options.store = host.option_text("store");
  options.listen = host.option_text("listen");
  options.operator_socket = host.option_text("operator_socket");
  options.public_url = host.option_text("public_url");
  options.tls_cert_file = host.option_text("tls_cert_file");
  options.tls_key_file = host.option_text("tls_key_file");
  options.audit_messages = host.option_bool("audit_messages");
  options.hooks = host.option_list("hooks");
  read_limits(host, options);
  read_times(host, options);
  if (options.listen.empty()) {
    return make_error(ErrorCode::kInvalid, "listen is empty; give an address such as \"127.0.0.1:7900\"");
  }
  if (options.tls_cert_file.empty() != options.tls_key_file.empty()) {
    return make_error(ErrorCode::kInvalid,
                      "only one of tls_cert_file and tls_key_file is set; TLS needs both, plain text neither");
  }
  if (options.lease.stale_after_ms <= options.lease.ping_interval_ms) {
    return make_error(ErrorCode::kInvalid, "stale_after_ms is " + std::to_string(options.lease.stale_after_ms) +
                                               ", which is not longer than ping_interval_ms = " +
                                               std::to_string(options.lease.ping_interval_ms) +
                                               "; every connection would be dropped before its first pong");
  }
  if (options.socket_buffer_max <= options.socket_buffer_high) {
    return make_error(ErrorCode::kInvalid, "socket_buffer_max must be larger than socket_buffer_high");
  }
  return options;
}

}  // namespace cm::broker
