#include "cli/send.hpp"

#include <charconv>
#include <istream>
#include <iterator>
#include <ostream>

#include "cli/config_file.hpp"
#include "cli/delivery_wait.hpp"
#include "cli/json_fields.hpp"
#include "cli/peers.hpp"
#include "cli/recipient.hpp"
#include "cli/stop_signals.hpp"
#include "protocol/ids.hpp"

namespace cm::cli {

namespace {

constexpr std::uint64_t kSendTimeoutMs = 15'000;
constexpr std::size_t kIdShown = 8;
constexpr std::size_t kKeyShown = 16;

Outcome<std::string> message_text(const SendArguments& arguments, std::istream& in) {
  std::string text;
  if (arguments.words.size() == 1 && arguments.words.front() == "-") {
    std::vector<char> buffer(kMessageBytesMax + 1);
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    text.assign(buffer.data(), static_cast<std::size_t>(in.gcount()));
  } else {
    for (const std::string& word : arguments.words) {
      text += (text.empty() ? "" : " ") + word;
    }
  }
  if (text.size() > kMessageBytesMax) {
    return Failure{ExitCode::kUsage, "the message has more than " + std::to_string(kMessageBytesMax) + " bytes",
                   "at most that many", "share a large text as a file, and send where it is"};
  }
  if (text.empty()) {
    return Failure{ExitCode::kUsage, "the message is empty", "a text, or - to read it from standard input",
                   "see `claudemesh send --help`"};
  }
  return text;
}

// The roster of one mesh or of all; nullopt when it cannot be had, which only costs the resolution of names.
std::optional<std::vector<JsonValue>> roster(ApiClient& client, const std::string& mesh) {
  const Result<ApiReply> reply = client.call("GET", "/v1/peers" + query_of({{"mesh", mesh}}));
  if (!reply || !reply->ok()) {
    return std::nullopt;
  }
  return array_of(reply->body, "peers");
}

// The mesh of this user in which `key` is the user's own member key; empty when it is somebody else's.
std::string mesh_of_own_key(const ConfigFile& config, const std::string& key, const std::string& mesh) {
  for (const MeshEntry& entry : config.meshes) {
    if (entry.pubkey == key && (mesh.empty() || mesh == entry.slug)) {
      return entry.slug;
    }
  }
  return {};
}

// One attempt is repeated once when the connection broke: the message id makes the repetition harmless.
Result<ApiReply> post_send(ApiClient& client, const JsonValue& body) {
  Result<ApiReply> reply = client.call("POST", "/v1/send", body, kSendTimeoutMs);
  if (!reply && reply.error().code == ErrorCode::kIo) {
    reply = client.call("POST", "/v1/send", body, kSendTimeoutMs);
  }
  return reply;
}

std::string shown_id(const JsonValue& body) {
  const std::string broker_id = text_of(body, "broker_message_id");
  return broker_id.empty() ? text_of(body, "client_message_id") : broker_id;
}

// The daemon remembers members that were here before; when it knows nobody either, the roster's answer says more.
Failure send_failure(const Recipient& recipient, const ApiReply& reply) {
  const std::string detail = text_of(reply.body, "detail");
  const bool unknown = detail.find("\" not found") != std::string::npos ||
                       detail.find("no peer matching prefix") != std::string::npos || reply.code() == "mesh_required";
  return recipient.stranger.has_value() && unknown ? *recipient.stranger : send_refused(reply);
}

int fail_send(const SendArguments& arguments, const Context& context, const Failure& failure) {
  if (arguments.json) {
    context.output.json_line(
        object_of({{"ok", json_bool(false)}, {"error", json_text(failure.found)}, {"via", json_text("daemon")}}));
  }
  return context.output.fail(failure);
}

struct Sent {
  Recipient recipient;
  std::string client_message_id;
  JsonValue reply;
  Delivery delivery = Delivery::kNotAwaited;
};

void print_sent(const SendArguments& arguments, const Context& context, const Sent& sent) {
  const std::string id =
      sent.delivery == Delivery::kNotAwaited ? shown_id(sent.reply) : text_of(sent.reply, "messageId");
  if (arguments.json) {
    JsonValue json = object_of({{"ok", json_bool(true)},
                                {"messageId", json_text(id)},
                                {"target", json_text(sent.recipient.target)},
                                {"via", json_text("daemon")},
                                {"duplicate", json_bool(flag_of(sent.reply, "duplicate"))}});
    if (const std::string status = text_of(sent.reply, "status"); !status.empty()) {
      json.set("status", json_text(status));
    }
    json.set("recipientOnline", sent.recipient.online.has_value() ? json_bool(*sent.recipient.online) : JsonValue());
    json.set("clientMessageId", json_text(sent.client_message_id));
    if (sent.delivery != Delivery::kNotAwaited) {
      json.set("delivery", json_text(delivery_name(sent.delivery)));
    }
    context.output.json_line(json);
    return;
  }
  const std::string& target = sent.recipient.target;
  const std::string to = sent.recipient.name.empty()
                             ? printable(target.size() > kKeyShown ? target.substr(0, kKeyShown) + "…" : target)
                             : printable(sent.recipient.name) + " (" + target.substr(0, kKeyShown) + "…)";
  const std::string how = sent.delivery != Delivery::kNotAwaited  ? std::string(delivery_name(sent.delivery))
                          : sent.recipient.online.value_or(false) ? "online"
                                                                  : "daemon";
  context.output.success("sent to " + to + " (" + how + ") (" + printable(id.substr(0, kIdShown)) + ")");
  if (sent.recipient.online == false && sent.delivery != Delivery::kDelivered) {
    context.output.warning("the recipient is not online; the message waits at the broker");
  }
}

// To every online session of the own member but this one (wire/07 section 6.4, step 4).
int send_to_siblings(const SendArguments& arguments, const Context& context, ApiClient& client,
                     const std::string& own_key, const std::string& mesh, const std::string& message) {
  const std::string own_session = own_session_key(client, context);
  JsonValue::Array fanout;
  for (const JsonValue& row : roster(client, mesh).value_or(std::vector<JsonValue>())) {
    const std::string pubkey = text_of(row, "pubkey");
    if (is_control_plane(row) || text_of(row, "channel") == "claudemesh-daemon" ||
        text_of(row, "memberPubkey") != own_key || pubkey == own_session) {
      continue;
    }
    const std::string id = protocol::generate_uuid_v4(protocol::system_random());
    const Result<ApiReply> reply = post_send(client, send_body(pubkey, message, arguments.priority, id, mesh));
    JsonValue item = object_of({{"pubkey", json_text(pubkey)}, {"ok", json_bool(reply && reply->ok())}});
    if (reply && reply->ok()) {
      item.set("messageId", json_text(shown_id(reply->body)));
    } else {
      item.set("error", json_text(reply ? reply->problem() : reply.error().message));
    }
    fanout.push_back(std::move(item));
  }
  if (fanout.empty()) {
    return fail_send(arguments, context,
                     {ExitCode::kFailed, "no other session of yours is online on mesh \"" + mesh + "\"", "at least one",
                      "run `claudemesh peer list --mesh " + mesh + "`"});
  }
  if (!arguments.json) {
    for (const JsonValue& item : fanout) {
      const std::string key = text_of(item, "pubkey").substr(0, kKeyShown) + "…";
      if (flag_of(item, "ok")) {
        context.output.success("sent to your session " + key);
      } else {
        context.output.warning("your session " + key + ": " + text_of(item, "error"));
      }
    }
    return 0;
  }
  context.output.json_line(
      object_of({{"ok", json_bool(true)}, {"fanout", JsonValue(std::move(fanout))}, {"via", json_text("daemon")}}));
  return 0;
}

int send_one(const SendArguments& arguments, const Context& context, ApiClient& client, Sent sent,
             const std::string& message) {
  const std::string id = arguments.id.empty() ? protocol::generate_uuid_v4(protocol::system_random()) : arguments.id;
  sent.client_message_id = id;
  const JsonValue body = send_body(sent.recipient.target, message, arguments.priority, id, sent.recipient.mesh);
  const double wait_seconds = parse_wait(arguments.wait).value_or(0);
  if (wait_seconds > 0) {
    stop_on_signals();  // before the message is on its way: whoever ends the wait learns that it is
  }
  Result<ApiReply> reply = post_send(client, body);
  if (!reply) {
    return fail_send(arguments, context, no_answer(context, reply.error()));
  }
  if (!reply->ok()) {
    return fail_send(arguments, context, send_failure(sent.recipient, *reply));
  }
  sent.reply = reply->body;
  if (wait_seconds > 0) {
    Outcome<AwaitedMessage> awaited =
        await_delivery(client, context, id, text_of(sent.reply, "broker_message_id"), sent.recipient, wait_seconds);
    if (!awaited.ok()) {
      return fail_send(arguments, context, awaited.failure());
    }
    sent.delivery = awaited->delivery;
    sent.reply.set("messageId", json_text(awaited->message_id.empty() ? id : awaited->message_id));
  }
  print_sent(arguments, context, sent);
  return 0;
}

}  // namespace

JsonValue send_body(std::string_view to, std::string_view message, std::string_view priority,
                    std::string_view client_message_id, std::string_view mesh) {
  JsonValue body = object_of({{"to", json_text(to)},
                              {"message", json_text(message)},
                              {"priority", json_text(priority)},
                              {"client_message_id", json_text(client_message_id)}});
  if (!mesh.empty()) {
    body.set("mesh", json_text(mesh));
  }
  return body;
}

std::optional<double> parse_wait(std::string_view text) {
  if (text.empty() || text == "true") {
    return text.empty() ? 0 : kWaitSecondsDefault;
  }
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && seconds > 0 && seconds <= kWaitSecondsMax ? std::optional<double>(seconds) : std::nullopt;
}

Failure send_refused(const ApiReply& reply) {
  const std::string code = reply.code();
  if (reply.status == 413 || code.find("payload_too_large") != std::string::npos) {
    return {ExitCode::kFailed, "the message is too large: " + reply.problem(),
            "at most " + std::to_string(kMessageBytesMax) + " bytes with its JSON",
            "share a large text as a file, and send where it is"};
  }
  if (code == "idempotency_key_reused") {
    const std::string conflict = text_of(reply.body, "conflict");
    const bool dead = conflict.starts_with("outbox_dead") || conflict.starts_with("outbox_aborted");
    return {ExitCode::kFailed, "the id was used before (" + printable(conflict) + ")",
            dead ? "an id of a message that did not fail" : "an id of its own for each message",
            dead ? "see `claudemesh daemon outbox list --failed`, or send with another --id" : "leave --id away"};
  }
  if (code == "route_failed") {
    return {ExitCode::kFailed, reply.problem(), "a recipient that the daemon can resolve",
            "run `claudemesh peer list` to see who is online"};
  }
  if (const std::string said = text_of(reply.body, "detail"); code == "denied_by_hook" && !said.empty()) {
    return {ExitCode::kFailed, printable(said), {}, {}};  // the hook's own words say what to do
  }
  return refused(reply, "the message");
}

int run_send(const SendArguments& arguments, const Context& context) {
  if (arguments.to.empty()) {
    return fail_send(arguments, context,
                     {ExitCode::kUsage, "the recipient is empty", "a name, a key or the beginning of one, @group or *",
                      "run `claudemesh peer list` to see who is online"});
  }
  Outcome<std::string> message = message_text(arguments, context.in);
  if (!message.ok()) {
    return fail_send(arguments, context, message.failure());
  }
  Outcome<MeshAccess> access = reach_mesh(context, arguments.mesh, arguments.daemon);
  if (!access.ok()) {
    return fail_send(arguments, context, access.failure());
  }
  const std::string mesh =
      arguments.mesh.empty() && access->config.meshes.size() == 1 ? access->config.meshes.front().slug : arguments.mesh;
  const RecipientKind kind = classify_recipient(arguments.to);
  const std::string own_mesh =
      kind == RecipientKind::kKey ? mesh_of_own_key(access->config, lower(arguments.to), mesh) : std::string();
  if (!own_mesh.empty() && !arguments.self) {
    return fail_send(arguments, context,
                     {ExitCode::kFailed, "the recipient is your own member key", "somebody else's key",
                      "add --self to reach your other sessions"});
  }
  if (!own_mesh.empty()) {
    return send_to_siblings(arguments, context, access->client, lower(arguments.to), own_mesh, *message);
  }
  if (arguments.self) {
    context.output.warning("--self has no effect: the recipient is not your own member key");
  }
  std::optional<std::vector<JsonValue>> rows;
  if (kind != RecipientKind::kMany) {
    rows = roster(access->client, mesh);
  }
  Outcome<Recipient> recipient = resolve_recipient(arguments.to, mesh, rows);
  if (!recipient.ok()) {
    return fail_send(arguments, context, recipient.failure());
  }
  return send_one(arguments, context, access->client, Sent{*recipient, {}, {}, Delivery::kNotAwaited}, *message);
}

}  // namespace cm::cli
