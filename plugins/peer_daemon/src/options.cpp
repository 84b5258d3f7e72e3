#include "plugins/peer_daemon/src/options.hpp"

#include "plugins/peer_daemon/src/json_out.hpp"

namespace cm::daemon {
namespace {

std::string list_json(const std::vector<std::string>& names) {
  JsonArray array;
  for (const std::string& name : names) {
    array.add_text(name);
  }
  return array.finish();
}

std::string or_default(std::string value, const std::string& fallback) {
  return value.empty() ? fallback : value;
}

FingerprintPolicy parse_policy(const std::string& word) {
  if (word == "warn") {
    return FingerprintPolicy::kWarn;
  }
  return word == "allow" ? FingerprintPolicy::kAllow : FingerprintPolicy::kRefuse;
}

}  // namespace

DaemonOptions read_options(const HostApi& host) {
  DaemonOptions options;
  options.store = host.option_text("store");
  options.transports = host.option_list("transports");
  options.hooks = host.option_list("hooks");
  options.home = host.option_text("home");
  options.daemon_dir = or_default(host.option_text("daemon_dir"), options.home + "/daemon");
  options.sessions_dir = or_default(host.option_text("sessions_dir"), options.home + "/sessions");
  if (host.option_bool("local_api")) {
    options.socket = or_default(host.option_text("socket"), options.daemon_dir + "/daemon.sock");
  }
  options.tcp_listen = host.option_text("tcp_listen");
  options.public_health = host.option_bool("public_health");
  options.fingerprint_policy = parse_policy(host.option_text("host_fingerprint"));
  const std::vector<std::string> require = host.option_list("features_require");
  const std::vector<std::string> optional = host.option_list("features_optional");
  options.features_required = !require.empty();
  if (!require.empty() || !optional.empty()) {
    options.features_json =
        JsonObject().raw("require", list_json(require)).raw("optional", list_json(optional)).finish();
  }
  options.outbox_max_age_ms = host.option_int("outbox_max_age");
  options.outbox_rows_max = host.option_int("outbox_rows_max");
  options.inbox_retention_ms = host.option_int("inbox_retention");
  options.window = static_cast<std::size_t>(host.option_int("window"));
  options.message_bytes_max = static_cast<std::size_t>(host.option_int("message_bytes_max"));
  options.body_bytes_max = static_cast<std::size_t>(host.option_int("body_bytes_max"));
  options.watch_processes = host.option_bool("watch_processes");
  return options;
}

}  // namespace cm::daemon
