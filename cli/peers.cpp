#include "cli/peers.hpp"

#include <algorithm>
#include <ostream>

#include "cli/json_fields.hpp"

namespace cm::cli {

namespace {

constexpr std::size_t kKeyShown = 16;
constexpr std::size_t kSessionShown = 8;

// The records of one mesh.
std::vector<JsonValue> records_of(const JsonValue& body, const MeshEntry& mesh, std::string_view session_key) {
  std::vector<JsonValue> records;
  for (const JsonValue& row : array_of(body, "peers")) {
    const std::string row_mesh = text_of(row, "mesh");
    if (row_mesh.empty() || row_mesh == mesh.slug) {
      records.push_back(peer_record(row, mesh.pubkey, session_key));
    }
  }
  sort_peers(records);
  return records;
}

void print_mesh(const MeshEntry& mesh, const std::vector<JsonValue>& records, std::size_t hidden,
                const Output& output) {
  std::string title = "peers on " + printable(mesh.slug) + " (" + std::to_string(records.size());
  if (hidden > 0) {
    title += ", " + std::to_string(hidden) + " control-plane hidden — use --all";
  }
  output.header(title + ")");
  for (const JsonValue& record : records) {
    output.out << peer_text(record, output);
  }
  if (records.empty()) {
    output.out << "  (nobody is online)\n";
  }
}

JsonValue json_of(const std::vector<JsonValue>& records, const std::string& fields) {
  JsonValue::Array items;
  for (const JsonValue& record : records) {
    items.push_back(fields.empty() || fields == "true" ? record : project(record, fields));
  }
  return JsonValue(std::move(items));
}

std::string group_text(const JsonValue& group) {
  const std::string role = text_of(group, "role");
  return "@" + printable(text_of(group, "name")) + (role.empty() ? "" : ":" + printable(role));
}

}  // namespace

bool is_control_plane(const JsonValue& peer) {
  return text_of(peer, "peerRole") == "control-plane";
}

JsonValue peer_record(const JsonValue& row, std::string_view own_member_key, std::string_view own_session) {
  JsonValue record = row;
  const JsonValue* profile = row.find("profile");
  std::string role = profile != nullptr ? text_of(*profile, "role") : std::string();
  while (!role.empty() && role.back() == ' ') {
    role.pop_back();
  }
  role.erase(0, std::min(role.find_first_not_of(' '), role.size()));
  if (!role.empty()) {
    record.set("role", json_text(role));
  }
  if (text_of(row, "peerRole").empty()) {
    record.set("peerRole", json_text("session"));
  }
  const bool is_self = !own_member_key.empty() && text_of(row, "memberPubkey") == own_member_key;
  record.set("isSelf", json_bool(is_self));
  record.set("isThisSession", json_bool(is_self && !own_session.empty() && text_of(row, "pubkey") == own_session));
  return record;
}

JsonValue project(const JsonValue& record, std::string_view fields) {
  JsonValue result{JsonValue::Object()};
  while (!fields.empty()) {
    const std::size_t comma = std::min(fields.find(','), fields.size());
    const std::string_view field = fields.substr(0, comma);
    fields.remove_prefix(std::min(comma + 1, fields.size()));
    const JsonValue* member = record.find(field == "name" ? "displayName" : field);
    if (member != nullptr) {
      result.set(std::string(field), *member);
    }
  }
  return result;
}

std::string peer_text(const JsonValue& record, const Output& output) {
  std::string text = "  ● " + output.bold(printable(text_of(record, "displayName")));
  if (flag_of(record, "isThisSession")) {
    text += " (this session)";
  } else if (flag_of(record, "isSelf")) {
    text += " (your other session)";
  }
  const std::string role = printable(text_of(record, "role"));
  std::string belongs = role.empty() ? "" : "role:" + role;
  for (const JsonValue& group : array_of(record, "groups")) {
    belongs += (belongs.empty() ? "" : ", ") + group_text(group);
  }
  text += belongs.empty() ? "" : " [" + belongs + "]";
  std::string kind;
  for (const char* field : {"peerType", "channel", "model"}) {
    const std::string value = printable(text_of(record, field));
    kind += value.empty() ? "" : (kind.empty() ? "" : ", ") + value;
  }
  text += kind.empty() ? "" : " (" + kind + ")";
  text += output.dim(" · " + printable(text_of(record, "pubkey").substr(0, kKeyShown)) + "…");
  const std::string session = text_of(record, "sessionId");
  text += session.empty() ? "" : output.dim(" · sid:" + printable(session.substr(0, kSessionShown)));
  const std::string status = printable(text_of(record, "status"));
  text += status.empty() ? "" : output.dim(" · " + status);
  const std::string summary = printable(text_of(record, "summary"));
  text += summary.empty() ? "\n" : "  — " + summary + "\n";
  const std::string folder = printable(text_of(record, "cwd"));
  text += folder.empty() ? "" : "      cwd: " + folder + "\n";
  text += belongs.empty() ? "      role: (none)  groups: (none)\n" : "";
  return text;
}

void sort_peers(std::vector<JsonValue>& records) {
  const auto rank = [](const JsonValue& record) {
    return flag_of(record, "isThisSession") ? 0 : flag_of(record, "isSelf") ? 1 : 2;
  };
  std::vector<JsonValue> sorted;
  for (int wanted = 0; wanted < 3; ++wanted) {
    for (JsonValue& record : records) {
      if (rank(record) == wanted) {
        sorted.push_back(record);
      }
    }
  }
  records = std::move(sorted);
}

std::string own_session_key(ApiClient& client, const Context& context) {
  if (session_authorization(context.environment).empty()) {
    return {};
  }
  const Result<ApiReply> reply = client.call("GET", "/v1/sessions/me");
  const JsonValue* session = reply && reply->ok() ? reply->body.find("session") : nullptr;
  const JsonValue* presence = session != nullptr ? session->find("presence") : nullptr;
  return presence != nullptr ? text_of(*presence, "sessionPubkey") : std::string();
}

namespace {

// The mesh of this process' session, or empty: a launched session means its own mesh when none is named.
std::string session_mesh(ApiClient& client, const Context& context) {
  if (session_authorization(context.environment).empty()) {
    return {};
  }
  const Result<ApiReply> reply = client.call("GET", "/v1/sessions/me");
  const JsonValue* session = reply && reply->ok() ? reply->body.find("session") : nullptr;
  return session != nullptr ? text_of(*session, "mesh") : std::string();
}

}  // namespace

int run_peer_list(const PeerListArguments& arguments, const Context& context) {
  Outcome<MeshAccess> access = reach_mesh(context, arguments.mesh, arguments.daemon);
  if (!access.ok()) {
    return context.output.fail(access.failure());
  }
  ApiClient& client = access->client;
  const std::string wanted = arguments.mesh.empty() ? session_mesh(client, context) : arguments.mesh;
  const Result<ApiReply> reply = client.call("GET", "/v1/peers" + query_of({{"mesh", wanted}}));
  if (!reply) {
    return context.output.fail(no_answer(context, reply.error()));
  }
  if (!reply->ok()) {
    Failure failure = refused(*reply, "the list of peers");
    failure.code = reply->status == 502 ? ExitCode::kNetwork : failure.code;
    return context.output.fail(failure);
  }
  const std::string session_key = own_session_key(client, context);
  std::vector<std::pair<std::string, JsonValue>> meshes;
  for (const MeshEntry& mesh : access->config.meshes) {
    if (!wanted.empty() && mesh.slug != wanted) {
      continue;
    }
    std::vector<JsonValue> records = records_of(reply->body, mesh, session_key);
    const std::size_t before = records.size();
    if (!arguments.all) {
      std::erase_if(records, is_control_plane);
    }
    if (arguments.json.empty()) {
      print_mesh(mesh, records, before - records.size(), context.output);
    }
    meshes.emplace_back(mesh.slug, json_of(records, arguments.json));
  }
  if (arguments.json.empty()) {
    return 0;
  }
  if (meshes.size() == 1) {
    context.output.json(meshes.front().second);
    return 0;
  }
  JsonValue::Array groups;
  for (auto& [slug, peers] : meshes) {
    groups.push_back(object_of({{"mesh", json_text(slug)}, {"peers", peers}}));
  }
  context.output.json(JsonValue(std::move(groups)));
  return 0;
}

}  // namespace cm::cli
