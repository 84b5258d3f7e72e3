// `claudemesh daemon outbox`, and `claudemesh list`: what this machine holds.
#include <ostream>

#include "cli/config_file.hpp"
#include "cli/daemon_verbs.hpp"
#include "cli/json_fields.hpp"
#include "cli/local_api.hpp"
#include "protocol/ids.hpp"

namespace cm::cli {

namespace {

constexpr int kFailed = 1;
constexpr std::size_t kStatusWidth = 8;
constexpr std::size_t kErrorShown = 60;
constexpr std::uint64_t kHealthTimeoutMs = 2'500;

int fail_daemon(const Context& context, const Failure& failure) {
  context.output.fail(failure);
  return kFailed;
}

// The state of the mesh's connection; empty when no daemon answers.
std::string link_state(const JsonValue& health, const std::string& slug) {
  const JsonValue* brokers = health.find("brokers");
  return brokers != nullptr ? text_of(*brokers, slug) : std::string();
}

}  // namespace

std::string outbox_line(const JsonValue& row) {
  std::string status = printable(text_of(row, "status"));
  status.resize(std::max(status.size(), kStatusWidth), ' ');
  std::string line = status + " " + printable(text_of(row, "id")) +
                     "  cid=" + printable(text_of(row, "client_message_id")) +
                     "  attempts=" + count_text(number_of(row, "attempts").value_or(0));
  if (const std::string broker_id = text_of(row, "broker_message_id"); !broker_id.empty()) {
    line += " → " + printable(broker_id);
  }
  if (const std::string error = text_of(row, "last_error"); !error.empty()) {
    line += " last_error=\"" + printable(error.substr(0, kErrorShown)) + "\"";
  }
  return line;
}

int run_outbox_list(const OutboxArguments& arguments, const Context& context) {
  ApiClient client = local_client(context);
  const Result<ApiReply> reply = client.call(
      "GET", "/v1/outbox" + query_of({{"status", arguments.status}, {"limit", std::to_string(arguments.limit)}}));
  if (!reply) {
    return fail_daemon(context, no_answer(context, reply.error()));
  }
  if (!reply->ok()) {
    return fail_daemon(context, refused(*reply, "the outbox"));
  }
  const std::vector<JsonValue>& items = array_of(reply->body, "items");
  if (arguments.json) {
    context.output.json(JsonValue(JsonValue::Array(items)));
    return 0;
  }
  for (const JsonValue& row : items) {
    context.output.out << outbox_line(row) << '\n';
  }
  if (items.empty()) {
    context.output.out << "(empty)\n";
  }
  return 0;
}

int run_outbox_requeue(const OutboxArguments& arguments, const Context& context) {
  JsonValue body = object_of({{"id", json_text(arguments.id)}, {"aborted_by", json_text("cli")}});
  if (arguments.new_client_id) {
    body.set("new_client_message_id", json_text(protocol::generate_uuid_v4(protocol::system_random())));
  }
  ApiClient client = local_client(context);
  const Result<ApiReply> reply = client.call("POST", "/v1/outbox/requeue", body);
  if (!reply) {
    return fail_daemon(context, no_answer(context, reply.error()));
  }
  if (!reply->ok()) {
    return fail_daemon(context, {ExitCode::kFailed, "requeueing " + printable(arguments.id) + ": " + reply->problem(),
                                 "the id of a message that is neither done nor aborted",
                                 "run `claudemesh daemon outbox list --failed` to see the ids"});
  }
  if (arguments.json) {
    context.output.json(reply->body);
  } else {
    context.output.success("requeued as " + printable(text_of(reply->body, "new_row_id")) +
                           "  cid=" + printable(text_of(reply->body, "new_client_message_id")));
  }
  return 0;
}

int run_list(const ListArguments& arguments, const Context& context) {
  Outcome<ConfigFile> config = load_config(context.paths);
  if (!config.ok()) {
    return context.output.fail(config.failure());
  }
  JsonValue health;
  if (!config->meshes.empty()) {
    ApiClient client = local_client(context);
    const Result<ApiReply> reply = client.call("GET", "/v1/health", std::nullopt, kHealthTimeoutMs);
    if (reply && reply->ok()) {
      health = reply->body;
    }
  }
  JsonValue::Array items;
  for (const MeshEntry& mesh : config->meshes) {
    const std::string state = link_state(health, mesh.slug);
    items.push_back(object_of({{"slug", json_text(mesh.slug)},
                               {"name", json_text(mesh.name)},
                               {"meshId", json_text(mesh.mesh_id)},
                               {"memberId", json_text(mesh.member_id)},
                               {"pubkey", json_text(mesh.pubkey)},
                               {"brokerUrl", json_text(mesh.broker_url)},
                               {"joinedAt", json_text(mesh.joined_at)},
                               {"link", state.empty() ? JsonValue() : json_text(state)}}));
  }
  if (arguments.json) {
    context.output.json(JsonValue(std::move(items)));
    return 0;
  }
  const Output& output = context.output;
  for (const JsonValue& item : items) {
    const std::string state = printable(text_of(item, "link"));
    output.out << "  " << (state == "open" ? "●" : "○") << ' ' << output.bold(printable(text_of(item, "slug"))) << "  "
               << (state.empty() ? "daemon not running" : state) << '\n'
               << output.dim("      " + printable(text_of(item, "brokerUrl")) + " · " +
                             printable(text_of(item, "pubkey").substr(0, 16)) + "… · joined " +
                             printable(text_of(item, "joinedAt")))
               << '\n';
  }
  if (items.empty()) {
    output.out << "  No meshes joined.\n";
    output.hint("claudemesh join <invite-link>");
  }
  return 0;
}

}  // namespace cm::cli
