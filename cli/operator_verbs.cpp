#include "cli/operator_verbs.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <ostream>

#include "cli/json_fields.hpp"
#include "host/net/url.hpp"
#include "protocol/invite.hpp"

namespace cm::cli {

namespace {

constexpr std::int64_t kExpiresMaxS = 365 * 86'400;
constexpr std::uint64_t kBackupTimeoutMs = 600'000;

struct Call {
  std::string method;
  std::string target;
  std::optional<JsonValue> body = std::nullopt;
  std::uint64_t timeout_ms = ApiClient::kTimeoutMs;
};

Outcome<JsonValue> call_operator(const OperatorArguments& arguments, const Context& context, const Call& call,
                                 std::string_view what) {
  const std::string socket = find_operator_socket(arguments.socket, context.environment, context.paths.home);
  ApiClient client(unix_base(socket));
  const Result<ApiReply> reply = client.call(call.method, call.target, call.body, call.timeout_ms);
  if (!reply) {
    return Failure{ExitCode::kNetwork, "the broker does not answer on " + socket + ": " + brief(reply.error().message),
                   "the operator socket of a running broker of this user",
                   "start it with `claudemesh run broker.toml`, or name its socket: --socket PATH"};
  }
  if (!reply->ok()) {
    return operator_refused(*reply, what);
  }
  return reply->body;
}

std::string mesh_target(const OperatorArguments& arguments, std::string_view rest) {
  return "/v1/meshes/" + net::percent_encode(arguments.mesh) + std::string(rest);
}

std::string cell(const JsonValue& row, const char* key) {
  const JsonValue* member = row.find(key);
  if (member == nullptr || member->is_null()) {
    return "-";
  }
  if (member->as_string() != nullptr) {
    return printable(*member->as_string());
  }
  if (member->as_bool() != nullptr) {
    return *member->as_bool() ? "yes" : "no";
  }
  return protocol::to_json(*member);
}

// A table with a line of titles, as wide as its widest cell.
void print_table(const Output& output, const std::vector<JsonValue>& rows,
                 const std::vector<std::pair<const char*, const char*>>& columns, const char* when_empty) {
  if (rows.empty()) {
    output.out << "  " << when_empty << '\n';
    return;
  }
  std::vector<std::size_t> widths;
  for (const auto& [title, key] : columns) {
    std::size_t width = std::string_view(title).size();
    for (const JsonValue& row : rows) {
      width = std::max(width, cell(row, key).size());
    }
    widths.push_back(width);
  }
  const auto line = [&](const auto& text_of_column) {
    std::string text = "  ";
    for (std::size_t i = 0; i < columns.size(); ++i) {
      std::string content = text_of_column(columns[i]);
      content.resize(std::max(content.size(), widths[i]), ' ');
      text += content + "  ";
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  };
  output.out << output.dim(line([](const auto& column) { return std::string(column.first); })) << '\n';
  for (const JsonValue& row : rows) {
    output.out << line([&row](const auto& column) { return cell(row, column.second); }) << '\n';
  }
}

}  // namespace

std::string find_operator_socket(const std::string& chosen, const Environment& environment, const std::string& home) {
  if (!chosen.empty()) {
    return chosen;
  }
  const std::string named = environment.get("CLAUDEMESH_OPERATOR_SOCKET");
  if (!named.empty()) {
    return named;
  }
  const std::string own = home + "/.claudemesh/broker/operator.sock";
  // Where etc/standalone.toml has it, a socket of the runtime directory, and where etc/broker.toml has it.
  for (const std::string& socket :
       {own, home + "/.claudemesh/operator.sock", std::string("/run/claudemesh/operator.sock"),
        std::string("/var/lib/claudemesh/operator.sock")}) {
    if (::access(socket.c_str(), F_OK) == 0) {
      return socket;
    }
  }
  return own;
}

std::optional<std::int64_t> parse_duration_s(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  std::int64_t factor = 0;
  if (unit.empty() || unit == "s") {
    factor = 1;
  } else if (unit == "m" || unit == "min") {
    factor = 60;
  } else if (unit == "h") {
    factor = 3'600;
  } else if (unit == "d") {
    factor = 86'400;
  } else if (unit == "w") {
    factor = 7 * 86'400;
  }
  if (error != std::errc() || factor == 0 || number < 1 || number > kExpiresMaxS / factor) {
    return std::nullopt;
  }
  return number * factor;
}

std::string invite_key(std::string_view text) {
  const Result<protocol::InviteInput> input = protocol::classify_invite(protocol::normalise_invite_url(text));
  if (input) {
    if (const auto* token = std::get_if<protocol::InviteToken>(&*input)) {
      return token->token;
    }
    return std::get<protocol::InviteShortCode>(*input).code;
  }
  return std::string(text);
}

Failure operator_refused(const ApiReply& reply, std::string_view what) {
  const std::string found = std::string(what) + " was refused: " + reply.problem();
  switch (reply.status) {
    case 400:
    case 422:
      return {ExitCode::kUsage, found, "values that the broker accepts", "see the --help of this command"};
    case 401:
    case 403:
      return {ExitCode::kDenied, found, "the owner of the operator socket, or root", "run it as the broker's user"};
    case 404:
      return {ExitCode::kNotFound, found, "the slug or id of something that exists",
              "run `claudemesh mesh list` or `claudemesh mesh invites SLUG`"};
    case 409:
      return {ExitCode::kExists, found, "a name or path that is free", "choose another one"};
    default:
      return {ExitCode::kInternal, found, "an answer without an error", "look at the broker's log"};
  }
}

int run_mesh_create(const OperatorArguments& arguments, const Context& context) {
  JsonValue body = object_of({{"name", json_text(arguments.name)}});
  if (!arguments.slug.empty()) {
    body.set("slug", json_text(arguments.slug));
  }
  Outcome<JsonValue> mesh = call_operator(arguments, context, {"POST", "/v1/meshes", body}, "creating the mesh");
  if (!mesh.ok()) {
    return context.output.fail(mesh.failure());
  }
  if (arguments.json) {
    context.output.json(*mesh);
    return 0;
  }
  const std::string slug = printable(text_of(*mesh, "slug"));
  context.output.success("created the mesh " + context.output.bold(slug) + " (" + cell(*mesh, "id") + ")");
  context.output.hint("invite somebody: claudemesh mesh invite " + slug);
  return 0;
}

int run_mesh_list(const OperatorArguments& arguments, const Context& context) {
  Outcome<JsonValue> reply = call_operator(arguments, context, {"GET", "/v1/meshes"}, "the list of meshes");
  if (!reply.ok()) {
    return context.output.fail(reply.failure());
  }
  const std::vector<JsonValue>& meshes = array_of(*reply, "meshes");
  if (arguments.json) {
    context.output.json(*reply);
    return 0;
  }
  print_table(context.output, meshes,
              {{"SLUG", "slug"}, {"NAME", "name"}, {"MEMBERS", "members"}, {"ONLINE", "online"}, {"ID", "id"}},
              "(no mesh yet: claudemesh mesh create NAME)");
  return 0;
}

int run_mesh_members(const OperatorArguments& arguments, const Context& context) {
  Outcome<JsonValue> reply =
      call_operator(arguments, context, {"GET", mesh_target(arguments, "/members")}, "the list of members");
  if (!reply.ok()) {
    return context.output.fail(reply.failure());
  }
  const std::vector<JsonValue>& members = array_of(*reply, "members");
  if (arguments.json) {
    context.output.json(*reply);
    return 0;
  }
  print_table(context.output, members,
              {{"NAME", "display_name"}, {"ROLE", "role"}, {"ONLINE", "online"}, {"KEY", "pubkey"}, {"ID", "id"}},
              "(no member yet)");
  return 0;
}

int run_mesh_invite(const OperatorArguments& arguments, const Context& context) {
  const std::optional<std::int64_t> expires = parse_duration_s(arguments.expires);
  if (!expires.has_value()) {
    return context.output.fail({ExitCode::kUsage, "--expires \"" + printable(arguments.expires) + "\" is no duration",
                                "a number with s, m, h, d or w, from 1s to 365d", "for example --expires 7d"});
  }
  const JsonValue body = object_of({{"role", json_text(arguments.role)},
                                    {"max_uses", json_number(arguments.uses)},
                                    {"expires_in_s", json_number(static_cast<double>(*expires))}});
  Outcome<JsonValue> invite =
      call_operator(arguments, context, {"POST", mesh_target(arguments, "/invites"), body}, "making the invite");
  if (!invite.ok()) {
    return context.output.fail(invite.failure());
  }
  const Output& output = context.output;
  if (arguments.json) {
    output.json(*invite);
    return 0;
  }
  output.success("invite " + cell(*invite, "code") + " for " + cell(*invite, "max_uses") + " use(s) as " +
                 cell(*invite, "role") + ", until " + cell(*invite, "expires_at"));
  output.out << "\n" << printable(text_of(*invite, "url")) << "\n\n";
  output.hint("whoever has this link can join: hand it over on a private way");
  output.hint("on the other machine: claudemesh join <link>");
  return 0;
}

int run_mesh_invites(const OperatorArguments& arguments, const Context& context) {
  Outcome<JsonValue> reply =
      call_operator(arguments, context, {"GET", mesh_target(arguments, "/invites")}, "the list of invites");
  if (!reply.ok()) {
    return context.output.fail(reply.failure());
  }
  const std::vector<JsonValue>& invites = array_of(*reply, "invites");
  if (arguments.json) {
    context.output.json(*reply);
    return 0;
  }
  print_table(context.output, invites,
              {{"CODE", "code"},
               {"ROLE", "role"},
               {"USED", "used_count"},
               {"OF", "max_uses"},
               {"EXPIRES", "expires_at"},
               {"REVOKED", "revoked_at"},
               {"ID", "id"}},
              "(no invite yet: claudemesh mesh invite SLUG)");
  return 0;
}

int run_mesh_revoke(const OperatorArguments& arguments, const Context& context) {
  const std::string target = mesh_target(arguments, "/invites/" + net::percent_encode(invite_key(arguments.invite)));
  Outcome<JsonValue> reply = call_operator(arguments, context, {"DELETE", target}, "revoking the invite");
  if (!reply.ok()) {
    return context.output.fail(reply.failure());
  }
  if (arguments.json) {
    context.output.json(*reply);
  } else {
    context.output.success("revoked the invite " + cell(*reply, "id") + "; who has joined with it stays a member");
  }
  return 0;
}

int run_mesh_backup(const OperatorArguments& arguments, const Context& context) {
  std::string path = arguments.path;
  std::array<char, PATH_MAX> folder{};
  if (!path.empty() && path.front() != '/' && ::getcwd(folder.data(), folder.size()) != nullptr) {
    path = std::string(folder.data()) + "/" + path;
  }
  const JsonValue body = object_of({{"path", json_text(path)}});
  Outcome<JsonValue> reply =
      call_operator(arguments, context, {"POST", "/v1/backup", body, kBackupTimeoutMs}, "the backup");
  if (!reply.ok()) {
    return context.output.fail(reply.failure());
  }
  if (arguments.json) {
    context.output.json(*reply);
  } else {
    context.output.success("wrote " + cell(*reply, "path") + " (" + cell(*reply, "bytes") + " bytes in " +
                           cell(*reply, "duration_ms") + " ms)");
  }
  return 0;
}

}  // namespace cm::cli
