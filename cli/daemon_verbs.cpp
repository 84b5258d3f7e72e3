#include "cli/daemon_verbs.hpp"

#include <ostream>

#include "cli/config_file.hpp"
#include "cli/daemon_process.hpp"
#include "cli/files.hpp"
#include "cli/json_fields.hpp"
#include "cli/local_api.hpp"

namespace cm::cli {

namespace {

constexpr int kFailed = 1;

int fail_up(const DaemonArguments& arguments, const Context& context, const Failure& failure) {
  if (arguments.json) {
    context.output.json(object_of({{"ok", json_bool(false)},
                                   {"detached", json_bool(!arguments.foreground)},
                                   {"log", json_text(context.paths.log_file())},
                                   {"reason", json_text(failure.found)}}));
  }
  context.output.fail(failure);
  return kFailed;
}

int report_up(const DaemonArguments& arguments, const Context& context, int pid, bool already) {
  if (arguments.json) {
    JsonValue json = object_of({{"ok", json_bool(true)},
                                {"detached", json_bool(true)},
                                {"pid", json_number(pid)},
                                {"log", json_text(context.paths.log_file())}});
    if (already) {
      json.set("reason", json_text("already_running"));
    }
    context.output.json(json);
    return 0;
  }
  context.output.success((already ? "daemon already running (pid " : "daemon started (pid ") + std::to_string(pid) +
                         ")");
  if (!already) {
    context.output.hint("its log is " + context.paths.log_file());
  }
  return 0;
}

// The pid that the daemon itself names; 0 when nobody answers.
int pid_of_health(const Result<ApiReply>& reply) {
  return reply && reply->ok() ? static_cast<int>(number_of(reply->body, "pid").value_or(0)) : 0;
}

int report_down(const DaemonArguments& arguments, const Context& context, bool stopped, int pid,
                const std::string& reason) {
  if (arguments.json) {
    JsonValue json = object_of({{"stopped", json_bool(stopped)}});
    if (pid > 0) {
      json.set("pid", json_number(pid));
    }
    if (!reason.empty()) {
      json.set("reason", json_text(reason));
    }
    context.output.json(json);
  } else if (stopped) {
    context.output.success("daemon stopped (pid " + std::to_string(pid) + ")");
  } else if (reason == "not_running") {
    context.output.out << "  daemon is not running\n";
  }
  return stopped || reason == "not_running" ? 0 : kFailed;
}

std::string link_text(const JsonValue& link, double now_ms) {
  std::string text;
  if (const std::optional<double> since = number_of(link, "since_ms"); since.has_value() && *since <= now_ms) {
    // A small number is an age already; a large one is a time since 1970.
    text += " since " + duration_text(*since > 1e12 ? now_ms - *since : *since);
  }
  if (const std::optional<double> attempt = number_of(link, "attempt"); attempt.value_or(0) > 0) {
    text += ", attempt " + count_text(*attempt);
  }
  if (const std::optional<double> retry = number_of(link, "retry_in_ms"); retry.value_or(0) > 0) {
    text += ", next in " + duration_text(*retry);
  }
  if (const std::string reason = text_of(link, "reason"); !reason.empty()) {
    text += " — " + printable(reason);
  }
  std::string degraded;
  for (const JsonValue& name : array_of(link, "degraded")) {
    degraded += (degraded.empty() ? "" : ", ") + (name.as_string() != nullptr ? printable(*name.as_string()) : "?");
  }
  return degraded.empty() ? text : text + "\n        not offered by this broker: " + degraded;
}

constexpr std::uint64_t kAnswerPollMs = 20;

struct Running {
  int answering = 0;  // the pid of the daemon that answers
  int silent = 0;     // the pid of one that holds the pid file and does not
};
Running look_for_daemon(ApiClient& client, const Paths& paths) {
  const DaemonPid known = read_daemon_pid(paths);
  const int answering = pid_of_health(client.call("GET", "/v1/health", std::nullopt, 2'500));
  return {answering, answering == 0 && known.locked ? known.pid : 0};
}

// A silent daemon may have been started a moment ago by somebody else: it gets the time that a start may take.
Running wait_for_daemon(ApiClient& client, const Paths& paths) {
  const std::int64_t deadline_ms = steady_ms() + static_cast<std::int64_t>(kStartDeadlineMs);
  Running running = look_for_daemon(client, paths);
  while (running.silent != 0 && steady_ms() < deadline_ms) {
    pause_ms(kAnswerPollMs);
    running = look_for_daemon(client, paths);
  }
  return running;
}

}  // namespace

std::string health_text(const JsonValue& health, double now_ms) {
  std::string text;
  const JsonValue* brokers = health.find("brokers");
  const JsonValue* links = health.find("links");
  if (brokers != nullptr && brokers->as_object() != nullptr) {
    for (const protocol::JsonMember& broker : *brokers->as_object()) {
      const std::string state = broker.value.as_string() != nullptr ? *broker.value.as_string() : "unknown";
      text += std::string("  ") + (state == "open" ? "●" : "○") + " " + printable(broker.key) + "  " + printable(state);
      const JsonValue* link = links != nullptr ? links->find(broker.key) : nullptr;
      text += (link != nullptr ? link_text(*link, now_ms) : std::string()) + "\n";
    }
  }
  if (const JsonValue* outbox = health.find("outbox"); outbox != nullptr) {
    text += "  outbox: " + count_text(number_of(*outbox, "pending").value_or(0)) + " pending, " +
            count_text(number_of(*outbox, "inflight").value_or(0)) + " in flight, " +
            count_text(number_of(*outbox, "dead").value_or(0)) + " failed\n";
  }
  return text;
}

int run_daemon_up(const DaemonArguments& arguments, const Context& context) {
  ApiClient client = local_client(context);
  const Running running =
      arguments.foreground ? look_for_daemon(client, context.paths) : wait_for_daemon(client, context.paths);
  if (running.answering > 0 && !arguments.foreground) {
    return report_up(arguments, context, running.answering, true);
  }
  if (running.answering > 0 || running.silent > 0) {
    const int pid = running.answering > 0 ? running.answering : running.silent;
    return fail_up(arguments, context,
                   {ExitCode::kFailed, "daemon already running (pid " + std::to_string(pid) + ")",
                    "that no other daemon uses " + context.paths.daemon_dir,
                    running.answering > 0 ? "stop it first: claudemesh daemon down"
                                          : "it does not answer on its socket: claudemesh daemon down, then up again"});
  }
  const Outcome<ConfigFile> joined = require_mesh(context.paths, {});
  if (!joined.ok()) {
    return fail_up(arguments, context, joined.failure());
  }
  Outcome<std::string> config = find_daemon_config(context.paths, arguments.config);
  if (!config.ok()) {
    return fail_up(arguments, context, config.failure());
  }
  if (arguments.foreground) {
    return fail_up(arguments, context, exec_daemon(context, *config));
  }
  // Somebody else may be starting it right now; then there is nothing left to do.
  const Status folder = make_private_directory(context.paths.daemon_dir);
  const Result<FileLock> lock =
      folder ? FileLock::acquire(spawn_lock(context.paths), kStartDeadlineMs) : Result<FileLock>(folder.error());
  if (const int other = wait_for_daemon(client, context.paths).answering; other > 0) {
    return report_up(arguments, context, other, true);
  }
  if (!lock) {
    return fail_up(arguments, context,
                   {ExitCode::kFailed, lock.error().message, "a folder that this user can write",
                    "check " + context.paths.daemon_dir + ", or set CLAUDEMESH_DAEMON_DIR to another folder"});
  }
  Outcome<StartedDaemon> started = start_daemon(context, *config, kStartDeadlineMs);
  if (!started.ok()) {
    return fail_up(arguments, context, started.failure());
  }
  return report_up(arguments, context, started->pid, false);
}

int run_daemon_down(const DaemonArguments& arguments, const Context& context) {
  const DaemonPid known = read_daemon_pid(context.paths);
  ApiClient client = local_client(context);
  const int answering = pid_of_health(client.call("GET", "/v1/health", std::nullopt, 2'500));
  // The number in a file may belong to anybody by now: only a process that holds the file's lock, or that says itself
  // that it is this daemon, is signalled.
  const bool ours = known.alive && (known.locked || known.pid == answering);
  const int pid = ours ? known.pid : answering;
  if (pid <= 0) {
    return report_down(arguments, context, false, 0, "not_running");
  }
  switch (stop_process(pid, kStopDeadlineMs)) {
    case StopResult::kGone:
      return report_down(arguments, context, false, 0, "not_running");
    case StopResult::kStopped:
      return report_down(arguments, context, true, pid, {});
    case StopResult::kDenied: {
      const int code = report_down(arguments, context, false, pid, "not_permitted");
      context.output.fail({ExitCode::kFailed, "the daemon (pid " + std::to_string(pid) + ") belongs to another user",
                           "a daemon of this user", "stop it as its owner"});
      return code;
    }
    case StopResult::kTimeout:
      break;
  }
  const int code = report_down(arguments, context, false, pid, "shutdown_timeout");
  context.output.fail({ExitCode::kFailed,
                       "the daemon (pid " + std::to_string(pid) + ") is still there " +
                           std::to_string(kStopDeadlineMs / 1000) + " s after SIGTERM",
                       "that it ends",
                       "look at " + context.paths.log_file() + "; kill -9 " + std::to_string(pid) +
                           " is safe: what was accepted is stored"});
  return code;
}

int run_daemon_status(const DaemonArguments& arguments, const Context& context) {
  const DaemonPid known = read_daemon_pid(context.paths);
  ApiClient client = local_client(context);
  const Result<ApiReply> reply = client.call("GET", "/v1/health", std::nullopt, 3'000);
  const int answering = pid_of_health(reply);
  const Output& output = context.output;
  if (answering > 0) {
    if (arguments.json) {
      output.json(object_of({{"running", json_bool(true)}, {"pid", json_number(answering)}, {"health", reply->body}}));
    } else {
      output.out << "  daemon running (pid " << answering << ")\n"
                 << health_text(reply->body, static_cast<double>(context.now_ms()));
    }
    return 0;
  }
  const std::string problem = reply ? reply->problem() : brief(reply.error().message);
  if (known.alive && (known.locked || reply)) {
    if (arguments.json) {
      output.json(object_of(
          {{"running", json_bool(true)}, {"pid", json_number(known.pid)}, {"ipc_error", json_text(problem)}}));
    }
    output.fail({ExitCode::kFailed, "the daemon (pid " + std::to_string(known.pid) + ") does not answer: " + problem,
                 "an answer on " + context.paths.socket(), "look at " + context.paths.log_file()});
    return kFailed;
  }
  if (arguments.json) {
    output.json(object_of({{"running", json_bool(false)}}));
  } else {
    output.out << "  daemon is not running\n";
    output.hint("claudemesh daemon up");
  }
  return kFailed;
}

int run_daemon_version(const DaemonArguments& arguments, const Context& context) {
  ApiClient client = local_client(context);
  const Result<ApiReply> reply = client.call("GET", "/v1/version", std::nullopt, 3'000);
  if (!reply || !reply->ok()) {
    context.output.fail(
        {ExitCode::kFailed,
         "the daemon did not tell its version: " + (reply ? reply->problem() : brief(reply.error().message)),
         "an answer on " + context.paths.socket(), "run `claudemesh daemon up`"});
    return reply && reply->status == 401 ? 3 : kFailed;
  }
  if (arguments.json) {
    context.output.json(reply->body);
  } else {
    context.output.out << "daemon " << printable(text_of(reply->body, "daemon_version")) << " (ipc "
                       << printable(text_of(reply->body, "ipc_api")) << ", schema "
                       << count_text(number_of(reply->body, "schema_version").value_or(1)) << ")\n";
  }
  return 0;
}

}  // namespace cm::cli
