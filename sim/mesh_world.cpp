#include "sim/mesh_world.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "protocol/invite.hpp"
#include "protocol/json.hpp"

namespace cm::sim {
namespace {

using protocol::JsonValue;

constexpr const char* kBrokerAddress = "127.0.0.1:7900";
constexpr const char* kMemberNames[] = {"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"};
constexpr std::uint64_t kSetUpTimeoutMs = 120'000;

// Shared by all simulations of one process would be wrong: two runs may overlap in time.
std::filesystem::path make_root() {
  std::string pattern = (std::filesystem::temp_directory_path() / "claudemesh-sim-XXXXXX").string();
  const char* made = ::mkdtemp(pattern.data());
  return made == nullptr ? std::filesystem::path() : std::filesystem::path(made);
}

std::string text_member(const JsonValue& json, std::string_view key) {
  const JsonValue* value = json.find(key);
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  return text == nullptr ? std::string() : *text;
}

std::string object(std::initializer_list<std::pair<std::string, std::string>> members) {
  JsonValue json{JsonValue::Object()};
  for (const auto& [key, value] : members) {
    json.set(key, JsonValue(value));
  }
  return protocol::to_json(json);
}

Error unexpected(const std::string& step, const HttpAnswer& answer) {
  return make_error(ErrorCode::kInternal,
                    step + ": found HTTP status " + std::to_string(answer.status) + " " + answer.body);
}

}  // namespace

MeshWorld::MeshWorld(MeshWorldOptions options) : options_(std::move(options)), root_(make_root()) {
  WorldOptions world_options;
  world_options.seed = options_.seed;
  world_options.trace = options_.trace;
  world_options.log_level = options_.trace ? CM_LOG_DEBUG : CM_LOG_CRITICAL;
  world_ = std::make_unique<World>(std::move(world_options));
  broker_ = &world_->add_node("broker", broker_toml());
  for (std::uint32_t i = 0; i < options_.members && i < std::size(kMemberNames); ++i) {
    Member member;
    member.name = kMemberNames[i];
    member.home = root_ / member.name;
    member.socket = "unix:" + (member.home / "daemon" / "daemon.sock").string();
    std::filesystem::create_directories(member.home);
    std::filesystem::permissions(member.home, std::filesystem::perms::owner_all);
    member.node = &world_->add_node(member.name, daemon_toml(member));
    members_.push_back(std::move(member));
  }
}

MeshWorld::~MeshWorld() {
  world_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(root_, ignored);
}

std::string MeshWorld::broker_toml() const {
  // Generous rate limit: the point here is loss, not throttling; connections and leases keep their real times.
  return "[plugins.store]\n"
         "use = \"storage_sqlite\"\n"
         "path = \"/cmsim/broker/broker.db\"\n"
         "vfs = \"cmsim\"\n"
         "[plugins.broker]\n"
         "use = \"" +
         options_.broker_plugin +
         "\"\n"
         "store = \"store\"\n"
         "listen = \"" +
         std::string(kBrokerAddress) +
         "\"\n"
         "public_url = \"ws://" +
         std::string(kBrokerAddress) +
         "/ws\"\n"
         "operator_socket = \"" +
         (root_ / "operator.sock").string() +
         "\"\n"
         "rate_limit_per_min = 60000\n"
         "rate_limit_burst = 1000\n";
}

std::string MeshWorld::daemon_toml(const Member& member) const {
  return "[plugins.store]\n"
         "use = \"storage_sqlite\"\n"
         "path = \"/cmsim/" +
         member.name +
         "/daemon.db\"\n"
         "vfs = \"cmsim\"\n"
         "[plugins.link]\n"
         "use = \"broker_link\"\n"
         "[plugins.daemon]\n"
         "use = \"" +
         options_.daemon_plugin +
         "\"\n"
         "store = \"store\"\n"
         "transports = [\"link\"]\n"
         "home = \"" +
         member.home.string() + "\"\n";
}

HttpAnswer MeshWorld::call(const std::string& address, const std::string& method, const std::string& target,
                           const std::string& body, std::uint64_t timeout_ms) {
  HttpExchange exchange;
  exchange.method = method;
  exchange.target = target;
  exchange.headers = {{"Content-Type", "application/json"}, {"Host", "localhost"}};
  exchange.body = body;
  // The answer may come after the time-out: it must not point to this frame.
  auto answer = std::make_shared<std::optional<HttpAnswer>>();
  world_->http(address, std::move(exchange), [answer](HttpAnswer result) { *answer = std::move(result); });
  world_->run_for_ms(timeout_ms, [&answer] { return answer->has_value(); });
  return answer->value_or(HttpAnswer());
}

Status MeshWorld::set_up() {
  if (!world_->boot(*broker_) || !world_->run_for_ms(kSetUpTimeoutMs, [this] { return broker_->running(); })) {
    return make_error(ErrorCode::kInternal, "the broker does not start: " + broker_->last_error);
  }
  const std::string operator_address = "unix:" + (root_ / "operator.sock").string();
  const HttpAnswer made =
      call(operator_address, "POST", "/v1/meshes", object({{"name", "Simulated"}, {"slug", "sim"}}));
  if (made.status != 201) {
    return unexpected("create mesh", made);
  }
  slug_ = "sim";
  const std::string invite_body = "{\"role\":\"member\",\"max_uses\":" + std::to_string(members_.size()) + "}";
  const HttpAnswer invite = call(operator_address, "POST", "/v1/meshes/sim/invites", invite_body);
  const auto invite_json = protocol::parse_json(invite.body);
  if (invite.status != 201 || !invite_json) {
    return unexpected("invite", invite);
  }
  const std::string token = text_member(*invite_json, "token");
  for (Member& member : members_) {
    if (Status joined = join(member, token); !joined.ok()) {
      return joined;
    }
    if (!world_->boot(*member.node)) {
      return make_error(ErrorCode::kInternal, member.name + " does not boot: " + member.node->last_error);
    }
  }
  if (!world_->run_for_ms(kSetUpTimeoutMs, [this] { return all_linked(); })) {
    std::string text = "not everybody got connected";
    for (const Member& member : members_) {
      text +=
          "; " + member.name + ": " + (member.node->running() ? "running" : "not running " + member.node->last_error);
    }
    return make_error(ErrorCode::kInternal, text);
  }
  return {};
}

Status MeshWorld::join(Member& member, const std::string& token) {
  const auto payload = protocol::parse_invite_token(token);
  if (!payload) {
    return payload.error();
  }
  std::array<std::uint8_t, protocol::kSeedBytes> seed;
  for (auto& byte : seed) {
    byte = static_cast<std::uint8_t>(world_->random().next());
  }
  const protocol::KeyPair keys = protocol::KeyPair::from_seed(seed);
  member.pubkey = keys.public_key.hex();

  JsonValue payload_json{JsonValue::Object()};
  payload_json.set("v", JsonValue(1.0));
  payload_json.set("mesh_id", JsonValue(payload->mesh_id));
  payload_json.set("mesh_slug", JsonValue(payload->mesh_slug));
  payload_json.set("broker_url", JsonValue(payload->broker_url));
  payload_json.set("expires_at", JsonValue(payload->expires_at_s));
  payload_json.set("mesh_root_key", JsonValue(payload->mesh_root_key));
  payload_json.set("role", JsonValue(payload->role));
  payload_json.set("owner_pubkey", JsonValue(payload->owner_pubkey));
  payload_json.set("signature", JsonValue(payload->signature));
  JsonValue body{JsonValue::Object()};
  body.set("invite_token", JsonValue(token));
  body.set("invite_payload", std::move(payload_json));
  body.set("peer_pubkey", JsonValue(member.pubkey));
  body.set("display_name", JsonValue(member.name));
  const HttpAnswer joined = call(kBrokerAddress, "POST", "/join", protocol::to_json(body));
  const auto answer = protocol::parse_json(joined.body);
  if (joined.status != 200 || !answer) {
    return unexpected("join", joined);
  }

  JsonValue mesh{JsonValue::Object()};
  mesh.set("meshId", JsonValue(payload->mesh_id));
  mesh.set("memberId", JsonValue(text_member(*answer, "memberId")));
  mesh.set("slug", JsonValue(payload->mesh_slug));
  mesh.set("name", JsonValue(payload->mesh_slug));
  mesh.set("pubkey", JsonValue(member.pubkey));
  mesh.set("secretKey", JsonValue(keys.secret_key.hex()));
  mesh.set("brokerUrl", JsonValue("ws://" + std::string(kBrokerAddress) + "/ws"));
  mesh.set("joinedAt", JsonValue("2025-06-15T00:00:00.000Z"));
  JsonValue config{JsonValue::Object()};
  config.set("version", JsonValue(1.0));
  config.set("meshes", JsonValue(JsonValue::Array{mesh}));
  config.set("displayName", JsonValue(member.name));
  const std::filesystem::path file = member.home / "config.json";
  std::ofstream(file) << protocol::to_json(config) << "\n";
  std::filesystem::permissions(file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  return {};
}

bool MeshWorld::all_linked() {
  for (const Member& member : members_) {
    if (!member.node->running()) {
      return false;
    }
    // The link's own metric would do, but the broker's view is what counts for the scenario.
  }
  const Instance* broker = broker_->find("broker");
  if (broker == nullptr) {
    return false;
  }
  const auto active = broker->metric_values.find("broker_connections_active");
  return active != broker->metric_values.end() && active->second >= static_cast<std::int64_t>(members_.size());
}

Result<std::vector<ReceivedMessage>> MeshWorld::inbox(Member& member) {
  const HttpAnswer answer = call(member.socket, "GET", "/v1/inbox?limit=1000&mark_seen=false");
  const auto json = protocol::parse_json(answer.body);
  if (answer.status != 200 || !json || json->find("items") == nullptr || json->find("items")->as_array() == nullptr) {
    return unexpected("inbox of " + member.name, answer);
  }
  std::vector<ReceivedMessage> result;
  for (const JsonValue& item : *json->find("items")->as_array()) {
    ReceivedMessage message;
    message.client_message_id = text_member(item, "client_message_id");
    message.sender_name = text_member(item, "sender_name");
    const JsonValue* body = item.find("body");
    message.has_text = body != nullptr && body->as_string() != nullptr;
    message.text = message.has_text ? *body->as_string() : std::string();
    result.push_back(std::move(message));
  }
  std::reverse(result.begin(), result.end());
  return result;
}

}  // namespace cm::sim
