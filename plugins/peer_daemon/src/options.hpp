// The options of the daemon, as read from its configuration. Durations in milliseconds, sizes in bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <claudemesh/cpp/host.hpp>

namespace cm::daemon {

enum class FingerprintPolicy : std::uint8_t { kRefuse, kWarn, kAllow };

struct DaemonOptions {
  std::string store;
  std::vector<std::string> transports;
  std::vector<std::string> hooks;
  std::string home;
  std::string daemon_dir;
  std::string sessions_dir;
  std::string socket;      // empty: no Unix socket
  std::string tcp_listen;  // empty: no TCP
  bool public_health = false;
  FingerprintPolicy fingerprint_policy = FingerprintPolicy::kRefuse;
  std::string features_json;
  bool features_required = false;
  std::int64_t outbox_max_age_ms = 0;
  std::int64_t outbox_rows_max = 0;
  std::int64_t inbox_retention_ms = 0;
  std::size_t window = 256;
  std::size_t message_bytes_max = 0;
  std::size_t body_bytes_max = 0;
  bool watch_processes = true;

  std::string config_path() const { return home + "/config.json"; }
  std::string pid_path() const { return daemon_dir + "/daemon.pid"; }
  std::string token_path() const { return daemon_dir + "/local-token"; }
  std::string fingerprint_path() const { return daemon_dir + "/host_fingerprint.json"; }
  std::string sessions_path() const { return daemon_dir + "/sessions.json"; }
};

DaemonOptions read_options(const HostApi& host);

}  // namespace cm::daemon
