#include "cli/inbox.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <ostream>
#include <set>
#include <thread>

#include "cli/config_file.hpp"
#include "cli/files.hpp"
#include "cli/json_fields.hpp"
#include "cli/stop_signals.hpp"
#include "host/net/url.hpp"

namespace cm::cli {

namespace {

constexpr std::size_t kKeyShown = 8;
constexpr std::size_t kFollowIdsMax = 20'000;  // printed ids that are remembered; older rows are not listed any more
constexpr std::uint64_t kFollowRefreshMs = 5'000;  // also without an event, in case one was missed
constexpr std::uint64_t kReconnectMs = 500;
constexpr std::uint64_t kNamesTimeoutMs = 1'000;

// Tells the printing thread that something arrived. Events are only wake-ups: what is printed always comes from the
// stored inbox, so that a broken stream or a restarted daemon loses nothing.
class Doorbell {
 public:
  void ring() {
    const std::lock_guard<std::mutex> guard(mutex_);
    rung_ = true;
    condition_.notify_one();
  }
  void wait(std::uint64_t at_most_ms) {
    std::unique_lock<std::mutex> guard(mutex_);
    constexpr std::uint64_t kSliceMs = 100;  // a signal cannot ring: look at the flag often enough
    for (std::uint64_t waited = 0; waited < at_most_ms && !rung_ && !stop_requested().load(); waited += kSliceMs) {
      condition_.wait_for(guard, std::chrono::milliseconds(kSliceMs), [this] { return rung_; });
    }
    rung_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool rung_ = false;
};

void listen_for_events(const Context& context, Doorbell& doorbell) {
  ApiClient client = local_client(context);
  while (!stop_requested().load()) {
    const auto on_event = [&doorbell](const net::SseEvent& event) {
      if (event.event == "message") {
        doorbell.ring();
      }
      return !stop_requested().load();
    };
    // The end of the stream, whatever its cause, is followed by a new one: the daemon may just be restarting.
    static_cast<void>(client.events("/v1/events", on_event, &stop_requested()));
    doorbell.ring();
    for (std::uint64_t waited = 0; waited < kReconnectMs && !stop_requested().load(); waited += 50) {
      pause_ms(50);
    }
  }
}

// Asks who is online only when a row needs it, and does not wait for a broker that is away.
SenderNames ask_names(ApiClient& client, const std::vector<JsonValue>& rows) {
  if (std::none_of(rows.begin(), rows.end(), is_nameless)) {
    return {};
  }
  const Result<ApiReply> reply = client.call("GET", "/v1/peers", std::nullopt, kNamesTimeoutMs);
  return reply && reply->ok() ? names_of(reply->body) : SenderNames();
}

void print_rows(const InboxArguments& arguments, const Context& context, ApiClient& client,
                std::vector<JsonValue> newest_first, std::set<std::string>& printed, std::string& since) {
  std::erase_if(newest_first, [&printed](const JsonValue& row) { return printed.contains(text_of(row, "id")); });
  const SenderNames names = arguments.json ? SenderNames() : ask_names(client, newest_first);
  for (auto row = newest_first.rbegin(); row != newest_first.rend(); ++row) {
    printed.insert(text_of(*row, "id"));
    since = std::max(since, text_of(*row, "received_at"));
    if (arguments.json) {
      context.output.json_line(*row);
    } else {
      context.output.out << inbox_text(*row, names, context.output);
    }
  }
  context.output.out.flush();
  if (printed.size() > kFollowIdsMax) {
    printed.clear();
  }
}

// Ctrl-C and SIGTERM end it in order, with exit code 0.
int follow(const InboxArguments& arguments, const Context& context, ApiClient& client) {
  stop_on_signals();
  Doorbell doorbell;
  std::jthread listener([&context, &doorbell] { listen_for_events(context, doorbell); });
  std::set<std::string> printed;
  std::string since;
  bool lost = false;
  while (!stop_requested().load() && context.output.out.good()) {
    InboxArguments page = arguments;
    page.limit = since.empty() ? arguments.limit : 1000;
    page.unread = arguments.unread && since.empty();  // another session may mark a row before it is printed here
    const Result<ApiReply> reply = client.call("GET", inbox_target(page, since));
    if (reply && reply->ok()) {
      print_rows(arguments, context, client, array_of(reply->body, "items"), printed, since);
    }
    const bool now_lost = !reply;
    if (now_lost && !lost) {
      context.output.warning("the daemon does not answer; waiting for it");
    }
    lost = now_lost;
    doorbell.wait(lost ? kReconnectMs : kFollowRefreshMs);
  }
  stop_requested().store(true);
  return 0;
}

}  // namespace

std::string inbox_target(const InboxArguments& arguments, std::string_view since) {
  return "/v1/inbox" + query_of({{"limit", std::to_string(arguments.limit)},
                                 {"mesh", arguments.mesh},
                                 {"unread_only", arguments.unread ? "true" : ""},
                                 {"since", std::string(since)}});
}

bool is_nameless(const JsonValue& row) {
  const std::string name = text_of(row, "sender_name");
  return name.empty() || text_of(row, "sender_pubkey").starts_with(name);
}

SenderNames names_of(const JsonValue& peers) {
  SenderNames names;
  for (const JsonValue& peer : array_of(peers, "peers")) {
    for (const char* key : {"pubkey", "memberPubkey"}) {
      names.emplace(text_of(peer, key), text_of(peer, "displayName"));
    }
  }
  return names;
}

std::string inbox_text(const JsonValue& row, const SenderNames& names, const Output& output) {
  const std::string full_key = text_of(row, "sender_pubkey");
  const auto known = names.find(full_key);
  const std::string name = !is_nameless(row)      ? text_of(row, "sender_name")
                           : known != names.end() ? known->second
                                                  : std::string();
  const std::string key = printable(full_key.substr(0, kKeyShown));
  std::string text = "  " + (name.empty() ? output.bold(key) : output.bold(printable(name)) + " (" + key + ")");
  text += " [" + printable(text_of(row, "mesh")) + "]";
  const std::string topic = printable(text_of(row, "topic"));
  text += topic.empty() ? "" : " (#" + topic + ")";
  text += output.dim(" " + printable(text_of(row, "received_at"))) + "\n";
  const JsonValue* body = row.find("body");
  std::string content =
      body != nullptr && body->as_string() != nullptr ? printable(*body->as_string(), true) : output.dim("[encrypted]");
  for (std::size_t at = content.find('\n'); at != std::string::npos; at = content.find('\n', at + 5)) {
    content.replace(at, 1, "\n    ");
  }
  return text + "    " + content + "\n";
}

int run_inbox(const InboxArguments& arguments, const Context& context) {
  Outcome<MeshAccess> access = reach_mesh(context, arguments.mesh, arguments.daemon);
  if (!access.ok()) {
    return context.output.fail(access.failure());
  }
  ApiClient& client = access->client;
  if (arguments.follow) {
    return follow(arguments, context, client);
  }
  const Result<ApiReply> reply = client.call("GET", inbox_target(arguments, {}));
  if (!reply) {
    return context.output.fail(no_answer(context, reply.error()));
  }
  if (!reply->ok()) {
    return context.output.fail(refused(*reply, "the inbox"));
  }
  const std::vector<JsonValue>& items = array_of(reply->body, "items");
  if (arguments.json) {
    context.output.json(JsonValue(JsonValue::Array(items)));
    return 0;
  }
  const SenderNames names = ask_names(client, items);
  for (auto row = items.rbegin(); row != items.rend(); ++row) {
    context.output.out << inbox_text(*row, names, context.output);
  }
  if (items.empty()) {
    context.output.out << (arguments.unread ? "  (nothing unread)\n" : "  (the inbox is empty)\n");
  }
  return 0;
}

int run_inbox_delete(const InboxDeleteArguments& arguments, const Context& context) {
  const auto fail = [&arguments, &context](const char* error, const Failure& failure) {
    if (arguments.json) {
      context.output.json_line(
          object_of({{"ok", json_bool(false)}, {"error", json_text(error)}, {"id", json_text(arguments.id)}}));
    }
    return context.output.fail(failure);
  };
  Outcome<ApiClient> client = reach_daemon(context, arguments.daemon);
  if (!client.ok()) {
    return fail("daemon_unreachable", client.failure());
  }
  const Result<ApiReply> reply = client->call("DELETE", "/v1/inbox/" + net::percent_encode(arguments.id));
  if (!reply) {
    return fail("daemon_unreachable", no_answer(context, reply.error()));
  }
  if (reply->status == 404) {
    return fail("not_found", {ExitCode::kNotFound, "the inbox has no message \"" + printable(arguments.id) + "\"",
                              "the whole id of a message", "run `claudemesh inbox --json` to see the ids"});
  }
  if (!reply->ok()) {
    return fail("refused", refused(*reply, "deleting the message"));
  }
  if (arguments.json) {
    context.output.json_line(object_of({{"ok", json_bool(true)}, {"id", json_text(arguments.id)}}));
  } else {
    context.output.success("deleted " + printable(arguments.id));
  }
  return 0;
}

int run_inbox_flush(const InboxFlushArguments& arguments, const Context& context) {
  if (arguments.mesh.empty() && arguments.before.empty() && !arguments.all) {
    if (arguments.json) {
      context.output.json_line(object_of({{"ok", json_bool(false)}, {"error", json_text("missing_filter")}}));
    }
    return context.output.fail({ExitCode::kFailed, "inbox flush without a filter would delete everything",
                                "--mesh SLUG, --before TIME, or --all", "add one of them"});
  }
  Outcome<ApiClient> client = reach_daemon(context, arguments.daemon);
  if (!client.ok()) {
    return context.output.fail(client.failure());
  }
  const Result<ApiReply> reply =
      client->call("DELETE", "/v1/inbox" + query_of({{"mesh", arguments.mesh}, {"before", arguments.before}}));
  if (!reply) {
    return context.output.fail(no_answer(context, reply.error()));
  }
  if (reply->status == 400 && !arguments.before.empty()) {
    return context.output.fail({ExitCode::kUsage, "--before: found \"" + printable(arguments.before) + "\"",
                                "an ISO 8601 time such as 2026-01-31T12:00:00Z", "nothing was deleted; try again"});
  }
  if (!reply->ok()) {
    return context.output.fail(refused(*reply, "flushing the inbox"));
  }
  const double removed = number_of(reply->body, "removed").value_or(0);
  if (arguments.json) {
    context.output.json_line(object_of({{"ok", json_bool(true)}, {"removed", json_number(removed)}}));
  } else {
    context.output.success("deleted " + count_text(removed) + " messages");
  }
  return 0;
}

}  // namespace cm::cli
