// The operator's API over a Unix socket (docs/contracts.md). Only the owner of this process and root may use it.
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "plugins/ws_broker/src/handlers.hpp"
#include "protocol/encoding.hpp"
#include "protocol/ids.hpp"
#include "protocol/invite.hpp"
#include "protocol/object_writer.hpp"

#ifndef CM_BROKER_VERSION
#define CM_BROKER_VERSION "0.0.0"
#endif

namespace cm::broker {

using protocol::JsonValue;
using protocol::ObjectWriter;

namespace {

constexpr std::string_view kSelfEditable = R"({"displayName":true,"roleTag":true,"groups":true,"messageMode":true})";
constexpr std::int64_t kMaxUsesDefault = 1;
constexpr std::int64_t kMaxUsesMax = 10'000;
constexpr std::int64_t kExpiresDefaultS = 7 * 86'400;
constexpr std::int64_t kExpiresMinS = 1;
constexpr std::int64_t kExpiresMaxS = 365 * 86'400;
constexpr std::size_t kNameBytesMax = 200;
constexpr std::size_t kSlugBytesMax = 64;
constexpr std::size_t kRootKeyBytes = 32;

void respond_error(const HttpRequest& request, std::uint32_t status, std::string_view code, std::string_view detail) {
  std::string body;
  ObjectWriter object(body);
  object.text("error", code);
  object.text("detail", detail);
  object.close();
  request.respond_json(status, body);
}

void respond_storage_error(const HttpRequest& request, const Status& status) {
  respond_error(request, 503, "storage_unavailable",
                "the store refused: " + status.error().message + "; nothing was changed, try again");
}

bool is_allowed(const HttpRequest& request) {
  const auto own = static_cast<std::int64_t>(::geteuid());
  return request.is_unix() && (request.peer_uid() == own || request.peer_uid() == 0);
}

// [a-z0-9]+ joined with '-', as the original makes slugs of names.
std::string slug_of(std::string_view name) {
  std::string slug;
  for (const char character : name) {
    const char lower = static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
    const bool keep = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9');
    if (keep) {
      slug.push_back(lower);
    } else if (!slug.empty() && slug.back() != '-') {
      slug.push_back('-');
    }
  }
  while (!slug.empty() && slug.back() == '-') {
    slug.pop_back();
  }
  return slug.substr(0, kSlugBytesMax);
}

std::optional<std::int64_t> whole_number(const JsonValue& json, std::string_view name) {
  const JsonValue* value = json.find(name);
  const double* number = value == nullptr ? nullptr : value->as_number();
  if (number == nullptr || !(*number >= -1e15 && *number <= 1e15) ||
      static_cast<double>(static_cast<std::int64_t>(*number)) != *number) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(*number);
}

// An absent member gives the default; anything else must be a whole number in the range.
Result<std::int64_t> bounded(const JsonValue& json, std::string_view name, std::int64_t fallback, std::int64_t min,
                             std::int64_t max) {
  const JsonValue* value = json.find(name);
  if (value == nullptr || value->is_null()) {
    return fallback;
  }
  const auto number = whole_number(json, name);
  if (!number || *number < min || *number > max) {
    return make_error(ErrorCode::kInvalid, std::string(name) + " must be a whole number from " + std::to_string(min) +
                                               " to " + std::to_string(max));
  }
  return *number;
}

std::size_t online_members(const Mesh& mesh) {
  std::size_t count = 0;
  for (const auto& [key, member] : mesh.active_by_key) {
    count += member->presences.empty() ? 0 : 1;
  }
  return count;
}

// --- status, backup -------------------------------------------------------------------------------------------------

void get_status(Broker& broker, const HttpRequest& request) {
  std::string body;
  ObjectWriter object(body);
  object.text("version", CM_BROKER_VERSION);
  object.integer("uptime_ms", broker.uptime_ms());
  object.integer("meshes", static_cast<std::int64_t>(broker.cache().meshes().size()));
  object.integer("presences", static_cast<std::int64_t>(broker.registry().size()));
  object.integer("queue_depth", broker.delivery().depth());
  object.close();
  request.respond_json(200, body);
}

std::int64_t file_bytes(const std::string& path) {
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<std::int64_t>(bytes);
}

void post_backup(Broker& broker, const HttpRequest& request, const JsonValue& json) {
  const std::string path(text_member(json, "path"));
  if (path.empty() || path.front() != '/') {
    respond_error(request, 400, "invalid_path", "path must be absolute and must not exist yet; found \"" + path + "\"");
    return;
  }
  const std::uint64_t started_us = broker.context().host.monotonic_us();
  broker.context().storage.backup(path, [&broker, request, path, started_us](Status status) {
    if (!status.ok()) {
      const bool invalid = status.error().code == ErrorCode::kInvalid;
      respond_error(request, invalid ? 400 : 503, invalid ? "invalid_path" : "backup_failed", status.error().message);
      return;
    }
    std::string body;
    ObjectWriter object(body);
    object.text("path", path);
    object.integer("bytes", file_bytes(path));
    object.integer("duration_ms",
                   static_cast<std::int64_t>((broker.context().host.monotonic_us() - started_us) / 1000));
    object.close();
    request.respond_json(200, body);
  });
}

// --- meshes ---------------------------------------------------------------------------------------------------------

void post_mesh(Broker& broker, const HttpRequest& request, const JsonValue& json) {
  const std::string name(text_member(json, "name"));
  const std::string wanted(text_member(json, "slug"));
  const std::string slug = wanted.empty() ? slug_of(name) : wanted;
  if (name.empty() || name.size() > kNameBytesMax) {
    respond_error(request, 400, "invalid_name", "name must have 1 to 200 bytes");
    return;
  }
  if (slug.empty() || slug.size() > kSlugBytesMax || slug_of(slug) != slug) {
    respond_error(
        request, 400, "invalid_slug",
        "a slug has 1 to 64 characters a-z, 0-9 and single hyphens; found \"" + slug + "\"; give another slug");
    return;
  }
  if (broker.cache().slug_taken(slug) || broker.slugs_in_flight().taken(slug)) {
    respond_error(request, 409, "slug_taken", "a mesh with the slug \"" + slug + "\" exists; give another slug");
    return;
  }
  Context& context = broker.context();
  const protocol::KeyPair owner = protocol::KeyPair::generate(context.random);
  protocol::Bytes root_key(kRootKeyBytes);
  context.random(root_key);
  auto mesh = std::make_shared<std::unique_ptr<Mesh>>(std::make_unique<Mesh>());
  Mesh& fresh = **mesh;
  fresh.id = protocol::generate_row_id(context.random);
  fresh.slug = slug;
  fresh.name = name;
  fresh.owner_pubkey = owner.public_key.hex();
  fresh.owner_secret_key = owner.secret_key.hex();
  fresh.root_key = protocol::base64url_encode(root_key);
  fresh.self_editable_json = kSelfEditable;
  fresh.created_at_ms = context.wall_ms();
  context.storage.submit([sql = context.sql, mesh](SqlTransaction& tx) { return sql->insert_mesh(tx, **mesh); },
                         [&broker, request, mesh, slug, claim = broker.slugs_in_flight().claim(slug)](Status status) {
                           if (!status.ok()) {
                             respond_storage_error(request, status);
                             return;
                           }
                           const Mesh& added = broker.cache().add(std::move(*mesh));
                           std::string body;
                           ObjectWriter object(body);
                           object.text("id", added.id);
                           object.text("slug", added.slug);
                           object.text("name", added.name);
                           object.text("owner_pubkey", added.owner_pubkey);
                           object.text("created_at", iso_time(added.created_at_ms));
                           object.close();
                           request.respond_json(201, body);
                           broker.messages().mesh_created(added);
                         });
}

// Writes a JSON array whose elements `write` appends, one call per element.
template <typename Range, typename Write>
void write_array(std::string& out, const Range& range, Write&& write) {
  out.push_back('[');
  bool first = true;
  for (const auto& element : range) {
    const std::size_t before = out.size();
    if (!first) {
      out.push_back(',');
    }
    const std::size_t start = out.size();
    write(element);
    if (out.size() == start) {
      out.resize(before);  // left out
    } else {
      first = false;
    }
  }
  out.push_back(']');
}

void get_meshes(Broker& broker, const HttpRequest& request) {
  std::string body;
  ObjectWriter object(body);
  object.key("meshes");
  write_array(body, broker.cache().meshes(), [&](const auto& entry) {
    const Mesh& mesh = *entry.second;
    ObjectWriter row(body);
    row.text("id", mesh.id);
    row.text("slug", mesh.slug);
    row.text("name", mesh.name);
    row.integer("members", static_cast<std::int64_t>(mesh.active_by_key.size()));
    row.integer("online", static_cast<std::int64_t>(online_members(mesh)));
    row.text("created_at", iso_time(mesh.created_at_ms));
    row.close();
  });
  object.close();
  request.respond_json(200, body);
}

void get_members(const HttpRequest& request, const Mesh& mesh) {
  std::string body;
  ObjectWriter object(body);
  object.key("members");
  write_array(body, mesh.members, [&](const auto& entry) {
    const Member& member = *entry.second;
    if (!member.active()) {
      return;
    }
    ObjectWriter row(body);
    row.text("id", member.id);
    row.text("display_name", member.display_name);
    row.text("role", member.role);
    row.text("pubkey", member.pubkey);
    row.text("joined_at", iso_time(member.joined_at_ms));
    row.boolean("online", !member.presences.empty());
    row.close();
  });
  object.close();
  request.respond_json(200, body);
}

// --- invites --------------------------------------------------------------------------------------------------------

Result<std::string> make_token(const Mesh& mesh, const std::string& broker_url, const Invite& invite) {
  auto secret = protocol::SecretKey::from_hex(mesh.owner_secret_key);
  if (!secret.ok()) {
    return make_error(ErrorCode::kInternal, "the mesh has no usable owner key");
  }
  protocol::InvitePayload payload;
  payload.mesh_id = mesh.id;
  payload.mesh_slug = mesh.slug;
  payload.broker_url = broker_url;
  const std::int64_t expires_at_s = invite.expires_at_ms / 1000;
  payload.expires_at_s = static_cast<double>(expires_at_s);
  payload.mesh_root_key = mesh.root_key;
  payload.role = invite.role;
  protocol::sign_invite(payload, *secret);
  return protocol::build_invite_token(payload);
}

// Whole seconds, because the token carries seconds and both must say the same. A token is its fields and nothing else,
// so two invites of one role and second would be the same text: the later one lives a little longer. The claim holds
// the expiry for as long as the invite is being stored.
ClaimedKeys::Claim claim_expiry(Broker& broker, const Mesh& mesh, Invite& invite) {
  const auto same = [&](const auto& other) {
    return other->role == invite.role && other->expires_at_ms == invite.expires_at_ms;
  };
  while (true) {
    if (std::none_of(mesh.invites.begin(), mesh.invites.end(), same)) {
      if (auto claim = broker.invites_in_flight().claim(mesh.id + invite.role + std::to_string(invite.expires_at_ms))) {
        return claim;
      }
    }
    invite.expires_at_ms += 1'000;
  }
}

void respond_invite(Broker& broker, const HttpRequest& request, const Invite& invite) {
  const auto base = protocol::broker_http_base(broker.public_url());
  std::string body;
  ObjectWriter object(body);
  object.text("id", invite.id);
  object.text("code", invite.code);
  object.text("token", invite.token);
  object.text("url", protocol::invite_join_link(base.ok() ? *base : broker.public_url(), invite.token));
  object.text("ic_url", protocol::invite_ic_link(invite.token));
  object.text("role", invite.role);
  object.integer("max_uses", invite.max_uses);
  object.text("expires_at", iso_time(invite.expires_at_ms));
  object.close();
  request.respond_json(201, body);
}

void post_invite(Broker& broker, const HttpRequest& request, Mesh& mesh, const JsonValue& json) {
  const std::string role = text_if_set(json, "role").value_or("member");
  const auto max_uses = bounded(json, "max_uses", kMaxUsesDefault, 1, kMaxUsesMax);
  const auto expires_in_s = bounded(json, "expires_in_s", kExpiresDefaultS, kExpiresMinS, kExpiresMaxS);
  if (role != "member" && role != "admin") {
    respond_error(request, 400, "invalid_role", "role must be member or admin; found \"" + role + "\"");
    return;
  }
  if (!max_uses.ok() || !expires_in_s.ok()) {
    respond_error(request, 400, "invalid_argument",
                  max_uses.ok() ? expires_in_s.error().message : max_uses.error().message);
    return;
  }
  Context& context = broker.context();
  auto invite = std::make_shared<std::unique_ptr<Invite>>(std::make_unique<Invite>());
  Invite& fresh = **invite;
  fresh.id = protocol::generate_row_id(context.random);
  fresh.code = protocol::generate_invite_code(context.random);
  fresh.role = role;
  fresh.max_uses = *max_uses;
  fresh.created_at_ms = context.wall_ms();
  fresh.expires_at_ms = (fresh.created_at_ms / 1000 + *expires_in_s) * 1000;
  auto claim = claim_expiry(broker, mesh, fresh);
  auto token = make_token(mesh, broker.public_url(), fresh);
  if (!token.ok()) {
    respond_error(request, 500, "internal", token.error().message);
    return;
  }
  fresh.token = std::move(*token);
  context.storage.submit([sql = context.sql, invite,
                          mesh_id = mesh.id](SqlTransaction& tx) { return sql->insert_invite(tx, **invite, mesh_id); },
                         [&broker, request, &mesh, invite, claim = std::move(claim)](Status status) {
                           if (!status.ok()) {
                             respond_storage_error(request, status);
                             return;
                           }
                           respond_invite(broker, request, broker.cache().add_invite(mesh, std::move(*invite)));
                         });
}

void get_invites(const HttpRequest& request, const Mesh& mesh) {
  std::string body;
  ObjectWriter object(body);
  object.key("invites");
  write_array(body, mesh.invites, [&](const auto& invite) {
    ObjectWriter row(body);
    row.text("id", invite->id);
    row.text("code", invite->code);
    row.text("role", invite->role);
    row.integer("max_uses", invite->max_uses);
    row.integer("used_count", invite->used_count);
    row.text("expires_at", iso_time(invite->expires_at_ms));
    row.text_or_null("revoked_at", invite->revoked_at_ms ? std::optional<std::string>(iso_time(*invite->revoked_at_ms))
                                                         : std::nullopt);
    row.text("created_at", iso_time(invite->created_at_ms));
    row.close();
  });
  object.close();
  request.respond_json(200, body);
}

void respond_revoked(const HttpRequest& request, const Invite& invite) {
  std::string body;
  ObjectWriter object(body);
  object.text("id", invite.id);
  object.text("revoked_at", iso_time(*invite.revoked_at_ms));
  object.close();
  request.respond_json(200, body);
}

void delete_invite(Broker& broker, const HttpRequest& request, Mesh& mesh) {
  const std::string wanted(request.path_parameter("invite"));
  Invite* invite = MeshCache::find_invite(mesh, wanted);
  if (invite == nullptr) {
    respond_error(request, 404, "invite_not_found",
                  "no invite with this id or code in the mesh " + mesh.slug + "; list them with GET /v1/meshes/" +
                      mesh.slug + "/invites");
    return;
  }
  if (invite->revoked_at_ms) {
    respond_revoked(request, *invite);
    return;
  }
  Context& context = broker.context();
  const std::int64_t at_ms = context.wall_ms();
  context.storage.submit(
      [sql = context.sql, id = invite->id, at_ms](SqlTransaction& tx) { return sql->revoke_invite(tx, id, at_ms); },
      [request, invite, at_ms](Status status) {
        if (!status.ok()) {
          respond_storage_error(request, status);
          return;
        }
        invite->revoked_at_ms = at_ms;
        respond_revoked(request, *invite);
      });
}

// --- routes ---------------------------------------------------------------------------------------------------------

using Guarded = std::function<void(const HttpRequest&)>;

Guarded guarded(Guarded handler) {
  return [handler = std::move(handler)](const HttpRequest& request) {
    if (!is_allowed(request)) {
      respond_error(request, 403, "forbidden",
                    "uid " + std::to_string(request.peer_uid()) +
                        " may not use the operator socket; its owner is uid " + std::to_string(::geteuid()));
      return;
    }
    handler(request);
  };
}

// An empty body is an empty object.
Guarded with_json(std::function<void(const HttpRequest&, const JsonValue&)> handler) {
  return [handler = std::move(handler)](const HttpRequest& request) {
    const auto json = protocol::parse_json(request.body().empty() ? std::string_view("{}") : request.body());
    if (!json.ok() || !json->is_object()) {
      respond_error(request, 400, "invalid_json",
                    json.ok() ? std::string("the body must be a JSON object") : json.error().message);
      return;
    }
    handler(request, *json);
  };
}

Guarded with_mesh(Broker& broker, std::function<void(const HttpRequest&, Mesh&)> handler) {
  return [&broker, handler = std::move(handler)](const HttpRequest& request) {
    const std::string wanted(request.path_parameter("mesh"));
    Mesh* mesh = broker.cache().find_by_id_or_slug(wanted);
    if (mesh == nullptr) {
      respond_error(request, 404, "mesh_not_found",
                    "no mesh has the id or slug \"" + wanted + "\"; list them with GET /v1/meshes");
      return;
    }
    handler(request, *mesh);
  };
}

}  // namespace

void add_operator_routes(Broker& broker, HttpListener& listener) {
  const auto route = [&](std::string_view method, std::string_view pattern, Guarded handler) {
    listener.route(method, pattern, guarded(std::move(handler)));
  };
  route("GET", "/v1/status", [&broker](const HttpRequest& request) { get_status(broker, request); });
  route("POST", "/v1/backup", with_json([&broker](const HttpRequest& request, const JsonValue& json) {
          post_backup(broker, request, json);
        }));
  route("POST", "/v1/meshes",
        with_json([&broker](const HttpRequest& request, const JsonValue& json) { post_mesh(broker, request, json); }));
  route("GET", "/v1/meshes", [&broker](const HttpRequest& request) { get_meshes(broker, request); });
  route("GET", "/v1/meshes/:mesh/members",
        with_mesh(broker, [](const HttpRequest& request, Mesh& mesh) { get_members(request, mesh); }));
  route("POST", "/v1/meshes/:mesh/invites", with_mesh(broker, [&broker](const HttpRequest& request, Mesh& mesh) {
          with_json([&broker, &mesh](const HttpRequest& inner, const JsonValue& json) {
            post_invite(broker, inner, mesh, json);
          })(request);
        }));
  route("GET", "/v1/meshes/:mesh/invites",
        with_mesh(broker, [](const HttpRequest& request, Mesh& mesh) { get_invites(request, mesh); }));
  route("DELETE", "/v1/meshes/:mesh/invites/:invite",
        with_mesh(broker, [&broker](const HttpRequest& request, Mesh& mesh) { delete_invite(broker, request, mesh); }));
}

}  // namespace cm::broker
