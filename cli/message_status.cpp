// `claudemesh message status`: what became of a message, as the broker knows it.
#include <algorithm>
#include <ostream>

#include "cli/config_file.hpp"
#include "cli/json_fields.hpp"
#include "cli/send.hpp"
#include "protocol/ids.hpp"

namespace cm::cli {

namespace {

constexpr std::size_t kIdMax = 32;         // of a broker's id
constexpr std::size_t kClientIdMax = 256;  // of an id that the sender chose

bool is_client_id_text(std::string_view id) {
  return std::all_of(id.begin(), id.end(), [](char c) {
    return protocol::is_base62(std::string_view(&c, 1)) || c == '-' || c == '_' || c == '.' || c == ':';
  });
}

int fail_invalid_id(const StatusArguments& arguments, const Context& context, const std::string& code) {
  const std::string expected = "8 to 32 letters and digits, or the id that the message was sent with";
  const std::string reason = "the message id \"" + printable(arguments.id) + "\" cannot be one (" + code + ")";
  if (arguments.json) {
    context.output.json_line(object_of({{"ok", json_bool(false)},
                                        {"error", json_text("invalid_argument")},
                                        {"field", json_text("messageId")},
                                        {"code", json_text(code)},
                                        {"reason", json_text(reason)},
                                        {"expected", json_text(expected)}}));
  }
  return context.output.fail({ExitCode::kUsage, reason, expected, "copy the id that `claudemesh send` printed"});
}

int fail_not_found(const StatusArguments& arguments, const Context& context, const ApiReply& reply) {
  const bool prefix = arguments.id.size() < kIdMax;
  if (arguments.json) {
    context.output.json_line(object_of({{"ok", json_bool(false)},
                                        {"error", json_text("not_found")},
                                        {"id", json_text(arguments.id)},
                                        {"isPrefix", json_bool(prefix)}}));
  }
  return context.output.fail({ExitCode::kNotFound, "message " + arguments.id + ": " + reply.problem(),
                              prefix ? "the beginning of exactly one message id of the mesh" : "a message of the mesh",
                              "add --mesh SLUG if it was sent on another mesh, or give the whole id"});
}

// `outbox` is there while no broker has the message.
std::string state_text(const JsonValue& body, const std::string& delivered_at) {
  const std::string outbox = text_of(body, "outbox");
  const std::string error = text_of(body, "lastError");
  const std::string why = error.empty() ? std::string() : ": " + printable(error);
  if (outbox == "dead" || outbox == "aborted") {
    return (outbox == "dead" ? "refused for good" : "given up") + why;
  }
  if (!outbox.empty()) {
    return "waits in the daemon's outbox" + why;
  }
  return flag_of(body, "delivered") ? "delivered " + printable(delivered_at) : "held at the broker";
}

void print_status(const JsonValue& body, const Output& output) {
  const std::string target = text_of(body, "targetSpec");
  output.out << "  " << output.bold(printable(text_of(body, "messageId"))) << " to "
             << printable(target.size() > 20 ? target.substr(0, 16) + "…" : target) << '\n';
  const std::string delivered_at = text_of(body, "deliveredAt");
  output.out << "  " << state_text(body, delivered_at) << '\n';
  for (const JsonValue& recipient : array_of(body, "recipients")) {
    output.out << "    " << printable(text_of(recipient, "status")) << "  " << printable(text_of(recipient, "name"))
               << output.dim(" " + printable(text_of(recipient, "pubkey").substr(0, 16)) + "…") << '\n';
  }
}

}  // namespace

std::optional<std::string> message_id_problem(std::string_view id) {
  if (id.empty()) {
    return "missing";
  }
  if (!is_client_id_text(id)) {
    return "bad_charset";
  }
  if (id.size() < protocol::kMessageIdPrefixMin) {
    return "too_short";
  }
  return id.size() > (protocol::is_base62(id) ? kIdMax : kClientIdMax) ? std::optional<std::string>("too_long")
                                                                       : std::nullopt;
}

int run_message_status(const StatusArguments& arguments, const Context& context) {
  if (const std::optional<std::string> problem = message_id_problem(arguments.id); problem.has_value()) {
    return fail_invalid_id(arguments, context, *problem);
  }
  Outcome<MeshAccess> access = reach_mesh(context, arguments.mesh, arguments.daemon);
  if (!access.ok()) {
    return context.output.fail(access.failure());
  }
  ApiClient& client = access->client;
  const Result<ApiReply> reply =
      client.call("GET", "/v1/messages/" + arguments.id + "/status" + query_of({{"mesh", arguments.mesh}}));
  if (!reply) {
    return context.output.fail(no_answer(context, reply.error()));
  }
  if (!reply->ok()) {
    const bool missing = reply->status == 404 && reply->code() != "mesh_not_attached";
    if (missing || reply->code() == "ambiguous_prefix") {
      return fail_not_found(arguments, context, *reply);
    }
    Failure failure = refused(*reply, "the question for the message's status");
    failure.code = reply->status >= 502 ? ExitCode::kNetwork : failure.code;
    return context.output.fail(failure);
  }
  if (arguments.json) {
    context.output.json(reply->body);
  } else {
    print_status(reply->body, context.output);
  }
  return 0;
}

}  // namespace cm::cli
