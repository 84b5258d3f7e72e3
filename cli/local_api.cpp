#include "cli/local_api.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <ostream>

#include "cli/daemon_process.hpp"
#include "cli/files.hpp"
#include "protocol/encoding.hpp"

namespace cm::cli {

namespace {

constexpr std::uint64_t kProbeTimeoutMs = 2'500;
constexpr std::uint64_t kServiceWaitMs = 8'000;
constexpr std::uint64_t kServicePollMs = 150;
constexpr std::uint64_t kAutoStartDeadlineMs = 5'000;
constexpr std::int64_t kSpawnFailureMemoryMs = 30'000;
constexpr std::size_t kSessionTokenLength = 64;

std::string trimmed(std::string text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

Failure daemon_failure(const Context& context, const std::string& why) {
  return {ExitCode::kNetwork, "the daemon is not running (" + why + ")",
          "one that listens on " + context.paths.socket(), "run `claudemesh daemon up`"};
}

bool has_service_unit(const Paths& paths) {
  return ::access((paths.home + "/.config/systemd/user/claudemesh-daemon.service").c_str(), F_OK) == 0;
}

bool failed_recently(const Context& context) {
  struct stat info{};
  if (::stat((context.paths.daemon_dir + "/.spawn-failure").c_str(), &info) != 0) {
    return false;
  }
  const std::int64_t age_ms = context.now_ms() - std::int64_t{info.st_mtim.tv_sec} * 1000;
  return age_ms >= 0 && age_ms < kSpawnFailureMemoryMs;
}

// Another process may be starting the daemon right now; then its success is ours.
bool wait_until_up(ApiClient& client, const Paths& paths, std::uint64_t wait_ms) {
  const std::int64_t deadline = steady_ms() + static_cast<std::int64_t>(wait_ms);
  for (;;) {
    if (probe_daemon(client, paths) == DaemonState::kUp) {
      return true;
    }
    if (steady_ms() >= deadline) {
      return false;
    }
    pause_ms(kServicePollMs);
  }
}

std::optional<Failure> start_automatically(const Context& context, ApiClient& client, const DaemonOptions& options) {
  const Paths& paths = context.paths;
  Outcome<std::string> config = find_daemon_config(paths, {});
  if (!config.ok()) {
    return config.failure();
  }
  if (const Status folder = make_private_directory(paths.daemon_dir); !folder) {
    return daemon_failure(context, folder.error().message);
  }
  const Result<FileLock> lock = FileLock::acquire(spawn_lock(paths), kAutoStartDeadlineMs);
  if (probe_daemon(client, paths) == DaemonState::kUp) {
    return std::nullopt;
  }
  if (!lock) {
    return daemon_failure(context, "another process has been starting it for too long");
  }
  Outcome<StartedDaemon> started = start_daemon(context, *config, kAutoStartDeadlineMs);
  const std::string marker = paths.daemon_dir + "/.spawn-failure";
  if (!started.ok()) {
    // Best effort: without the marker the next command merely tries again.
    static_cast<void>(write_private_file(marker, std::to_string(context.now_ms())));
    Failure failure = started.failure();
    failure.code = ExitCode::kNetwork;
    return failure;
  }
  ::unlink(marker.c_str());
  if (!options.strict) {
    context.output.err << "[claudemesh] info daemon started automatically (took " << started->took_ms << "ms)\n";
  }
  return std::nullopt;
}

}  // namespace

std::string session_authorization(const Environment& environment) {
  std::string token = environment.get("CLAUDEMESH_IPC_TOKEN");
  const std::string file = environment.get("CLAUDEMESH_IPC_TOKEN_FILE");
  if (token.empty() && !file.empty()) {
    const Result<std::optional<std::string>> content = read_file(file);
    token = content && content->has_value() ? trimmed(**content) : std::string();
  }
  if (!protocol::is_hex(token, kSessionTokenLength, protocol::HexCase::kAny)) {
    return {};
  }
  return "ClaudeMesh-Session " + token;
}

ApiClient local_client(const Context& context) {
  return ApiClient(unix_base(context.paths.socket()), session_authorization(context.environment));
}

DaemonState probe_daemon(ApiClient& client, const Paths& paths) {
  if (::access(paths.socket().c_str(), F_OK) != 0) {
    return DaemonState::kAbsent;
  }
  const Result<ApiReply> reply = client.call("GET", "/v1/version", std::nullopt, kProbeTimeoutMs);
  return reply && reply->ok() ? DaemonState::kUp : DaemonState::kSilent;
}

Outcome<ApiClient> reach_daemon(const Context& context, const DaemonOptions& options) {
  ApiClient client = local_client(context);
  const DaemonState state = probe_daemon(client, context.paths);
  if (state == DaemonState::kUp) {
    return client;
  }
  const std::string why = state == DaemonState::kAbsent ? "no socket" : "nobody answers on the socket";
  if (options.no_daemon || context.environment.is_on("CLAUDEMESH_NO_DAEMON") ||
      context.environment.is_on("CLAUDEMESH_INTERNAL_NO_AUTOSPAWN")) {
    return daemon_failure(context, why + ", and it must not be started automatically");
  }
  const Outcome<ConfigFile> joined = require_mesh(context.paths, {});
  if (!joined.ok()) {
    return joined.failure();
  }
  if (has_service_unit(context.paths)) {
    if (wait_until_up(client, context.paths, kServiceWaitMs)) {
      return client;
    }
    return Failure{ExitCode::kNetwork,
                   "service-managed daemon not responding within " + std::to_string(kServiceWaitMs) + "ms",
                   "an answer on " + context.paths.socket(), "run `systemctl --user status claudemesh-daemon.service`"};
  }
  if (failed_recently(context)) {
    return daemon_failure(context, "an automatic start failed less than 30 s ago");
  }
  if (std::optional<Failure> failure = start_automatically(context, client, options); failure.has_value()) {
    return *failure;
  }
  return client;
}

Outcome<MeshAccess> reach_mesh(const Context& context, std::string_view mesh, const DaemonOptions& options) {
  Outcome<ConfigFile> config = require_mesh(context.paths, mesh);
  if (!config.ok()) {
    return config.failure();
  }
  Outcome<ApiClient> client = reach_daemon(context, options);
  if (!client.ok()) {
    return client.failure();
  }
  return MeshAccess{std::move(*config), std::move(*client)};
}

Failure no_answer(const Context& context, const Error& error) {
  return {ExitCode::kNetwork, "the daemon did not answer: " + brief(error.message),
          "an answer on " + context.paths.socket(), "look at `claudemesh daemon status`"};
}

Failure refused(const ApiReply& reply, std::string_view what) {
  const std::string code = reply.code();
  if (code == "mesh_required") {
    return {ExitCode::kUsage, std::string(what) + " needs a mesh, and several are attached", "one of them",
            "add --mesh SLUG; `claudemesh list` shows them"};
  }
  if (code == "mesh_not_attached") {
    return {ExitCode::kNotFound, std::string(what) + " names a mesh that the daemon has not attached",
            "an attached mesh", "compare `claudemesh list` and `claudemesh daemon status`"};
  }
  return {ExitCode::kFailed, std::string(what) + " was refused: " + reply.problem(),
          "a request that the daemon accepts", "look at `claudemesh daemon status` and at the daemon's log"};
}

}  // namespace cm::cli
