// The options of the plugin as one value. Limits have the defaults of the original broker (wire/05 section 22).
#pragma once

#include <claudemesh/cpp/host.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "protocol/lease.hpp"

namespace cm::broker {

struct Options {
  std::string store;
  std::string listen;
  std::string operator_socket;  // empty: no operator API
  std::string public_url;       // empty: made of the listen address
  std::string tls_cert_file;
  std::string tls_key_file;

  std::size_t max_message_bytes = 65'536;
  std::size_t max_connections_per_mesh = 100;
  double rate_limit_per_min = 60;
  double rate_limit_burst = 10;

  protocol::LeaseTimes lease;
  std::int64_t claim_lease_ms = 30'000;
  std::int64_t claim_lease_max_ms = 3'600'000;
  std::int64_t hello_timeout_ms = 10'000;
  std::uint32_t pre_hello_frames = 64;
  std::size_t open_requests_max = 1'024;
  std::size_t max_pending_connections = 10'000;
  std::int64_t status_ttl_ms = 60'000;
  std::int64_t hook_fresh_ms = 30'000;

  std::int64_t session_retention_ms = 0;
  std::int64_t queue_retention_ms = 0;
  std::int64_t delivered_retention_ms = 0;
  bool dedupe_permanent = true;
  std::int64_t dedupe_retention_days = 365;
  std::size_t dedupe_cache_entries = 100'000;
  bool audit_messages = true;
  std::int64_t audit_retention_days = 0;  // 0: for ever

  std::uint64_t socket_buffer_high = 0;
  std::uint64_t socket_buffer_max = 0;
  std::size_t member_queue_rows = 4'096;
  std::vector<std::string> hooks;
};

// Reads what the host has validated against plugin.toml. kInvalid when two options contradict each other. [loop]
Result<Options> read_options(const HostApi& host);

}  // namespace cm::broker
