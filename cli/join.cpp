#include "cli/join.hpp"

#include <unistd.h>

#include <array>
#include <ostream>

#include "cli/files.hpp"
#include "cli/http_api.hpp"
#include "cli/json_fields.hpp"
#include "cli/local_api.hpp"
#include "protocol/ids.hpp"
#include "protocol/keys.hpp"

namespace cm::cli {

namespace {

constexpr std::uint64_t kJoinTimeoutMs = 10'000;
constexpr std::size_t kDisplayNameMax = 128;

struct CheckedInvite {
  std::string token;
  protocol::InvitePayload payload;
};

Failure unreachable(std::string_view what, std::string_view where, const Error& error) {
  return {ExitCode::kNetwork,
          std::string(what) + " " + std::string(where) + " cannot be reached: " + brief(error.message),
          "an answer over HTTP", "check the network and whether the broker runs; joining again is safe"};
}

// A short code becomes a token with one request to the host that the link names.
Outcome<std::string> resolve_code(const protocol::InviteShortCode& code) {
  ApiClient client(code.resolve_url);
  const Result<ApiReply> reply = client.call("GET", "", std::nullopt, kJoinTimeoutMs);
  if (!reply) {
    return unreachable("the host", code.host, reply.error());
  }
  const std::string token = text_of(reply->body, "token");
  if (reply->ok() && flag_of(reply->body, "found") && !token.empty()) {
    return token;
  }
  return Failure{ExitCode::kNotFound,
                 "short invite code not found (status " + std::to_string(reply->status) + " from " + code.host + ")",
                 "a code that the host knows", "ask for the whole link, it ends in /join/<token>"};
}

Outcome<CheckedInvite> check_invite(const std::string& text, std::int64_t now_ms) {
  Result<protocol::InviteInput> input = protocol::classify_invite(protocol::normalise_invite_url(text));
  std::optional<protocol::InviteShortCode> code;
  if (!input) {
    code = protocol::parse_invite_code(text);
    if (!code.has_value()) {
      return invite_failure(input.error());
    }
  } else if (const auto* short_code = std::get_if<protocol::InviteShortCode>(&*input)) {
    code = *short_code;
  }
  CheckedInvite invite;
  if (code.has_value()) {
    Outcome<std::string> token = resolve_code(*code);
    if (!token.ok()) {
      return token.failure();
    }
    invite.token = *token;
  } else {
    invite.token = std::get<protocol::InviteToken>(*input).token;
  }
  Result<protocol::InvitePayload> payload = protocol::parse_invite_token(invite.token);
  if (!payload) {
    return invite_failure(payload.error());
  }
  if (const Status verified = protocol::verify_invite(*payload, now_ms); !verified) {
    return invite_failure(verified.error());
  }
  invite.payload = std::move(*payload);
  return invite;
}

std::string default_name(const Context& context) {
  for (const char* variable : {"CLAUDEMESH_DISPLAY_NAME", "USER", "USERNAME"}) {
    const std::string name = context.environment.get(variable);
    if (!name.empty()) {
      return name;
    }
  }
  std::array<char, 256> host{};
  return (::gethostname(host.data(), host.size() - 1) == 0 ? std::string(host.data()) : std::string("peer")) + "-" +
         std::to_string(::getpid());
}

// Everything that can refuse without the broker refuses before the invite is used up.
std::optional<Failure> refuse_early(const ConfigFile& config, const std::string& slug,
                                    const protocol::InvitePayload& payload, const std::string& name) {
  if (!protocol::is_mesh_slug(slug)) {
    return Failure{ExitCode::kUsage, "the mesh name \"" + printable(slug) + "\" cannot be used here",
                   "2 to 64 lower-case letters, digits and single hyphens", "add --slug NAME"};
  }
  if (name.size() > kDisplayNameMax || printable(name) != name) {
    return Failure{ExitCode::kUsage, "the display name cannot be used",
                   "at most " + std::to_string(kDisplayNameMax) + " bytes without control characters",
                   "give another --name"};
  }
  const MeshEntry* existing = config.find(slug);
  if (existing != nullptr && existing->mesh_id != payload.mesh_id) {
    return Failure{ExitCode::kExists, "another mesh is already called \"" + slug + "\" here; its key would be lost",
                   "a name that is free", "add --slug NAME to give this one another local name"};
  }
  return std::nullopt;
}

Outcome<JsonValue> post_join(const CheckedInvite& invite, const std::string& pubkey, const std::string& name) {
  Result<std::string> base = protocol::broker_http_base(invite.payload.broker_url);
  if (!base) {
    return invite_failure(base.error());
  }
  ApiClient client(*base);
  const Result<ApiReply> reply =
      client.call("POST", "/join", join_body(invite.token, invite.payload, pubkey, name), kJoinTimeoutMs);
  if (!reply) {
    return unreachable("the broker", *base, reply.error());
  }
  if (!reply->ok() || !flag_of(reply->body, "ok") || text_of(reply->body, "memberId").empty()) {
    return join_refused(reply->status, reply->code());
  }
  return reply->body;
}

// nullopt: no daemon runs. Otherwise whether it took the mesh over.
std::optional<bool> reload_daemon(const Context& context, const std::string& slug) {
  ApiClient client = local_client(context);
  if (probe_daemon(client, context.paths) != DaemonState::kUp) {
    return std::nullopt;
  }
  const Result<ApiReply> reply = client.call("POST", "/v1/meshes/reload");
  if (!reply || !reply->ok()) {
    return false;
  }
  for (const JsonValue& attached : array_of(reply->body, "meshes")) {
    if (attached.as_string() != nullptr && *attached.as_string() == slug) {
      return true;
    }
  }
  return false;
}

void print_joined(const JoinArguments& arguments, const Context& context, const MeshEntry& entry,
                  const std::string& name, bool already_member, std::optional<bool> reloaded) {
  const Output& output = context.output;
  if (arguments.json) {
    output.json(object_of({{"ok", json_bool(true)},
                           {"slug", json_text(entry.slug)},
                           {"meshId", json_text(entry.mesh_id)},
                           {"memberId", json_text(entry.member_id)},
                           {"pubkey", json_text(entry.pubkey)},
                           {"displayName", json_text(name)},
                           {"brokerUrl", json_text(entry.broker_url)},
                           {"alreadyMember", json_bool(already_member)},
                           {"daemonReloaded", json_bool(reloaded.value_or(false))},
                           {"config", json_text(context.paths.config_file())}}));
    return;
  }
  output.success("joined " + output.bold(entry.slug) + " as " + printable(name));
  output.out << "    broker  " << printable(entry.broker_url) << "\n    key     " << entry.pubkey.substr(0, 16)
             << "…\n";
  if (!reloaded.has_value()) {
    output.hint("start the daemon: claudemesh daemon up");
  } else if (!*reloaded) {
    output.warning("the running daemon has not attached the mesh: claudemesh daemon down && claudemesh daemon up");
  }
  output.hint("see who is there: claudemesh peer list --mesh " + entry.slug + " --all");
  output.hint("say hello:        claudemesh send --mesh " + entry.slug + " '*' hello");
}

}  // namespace

JsonValue join_body(std::string_view token, const protocol::InvitePayload& payload, std::string_view pubkey,
                    std::string_view display_name) {
  JsonValue invite = object_of({{"v", json_number(payload.v)},
                                {"mesh_id", json_text(payload.mesh_id)},
                                {"mesh_slug", json_text(payload.mesh_slug)},
                                {"broker_url", json_text(payload.broker_url)},
                                {"expires_at", json_number(payload.expires_at_s)},
                                {"mesh_root_key", json_text(payload.mesh_root_key)},
                                {"role", json_text(payload.role)},
                                {"owner_pubkey", json_text(payload.owner_pubkey)},
                                {"signature", json_text(payload.signature)}});
  return object_of({{"invite_token", json_text(token)},
                    {"invite_payload", invite},
                    {"peer_pubkey", json_text(pubkey)},
                    {"display_name", json_text(display_name)}});
}

Failure invite_failure(const Error& error) {
  const bool expired = error.code == ErrorCode::kGone;
  return {ExitCode::kFailed, brief(error.message),
          expired ? "an invite that is still valid"
                  : "an invite as `claudemesh mesh invite` printed it, complete and unchanged",
          expired ? "ask for a new invite, and check this machine's clock"
                  : "copy the whole link again, or ask for a new one"};
}

Failure join_refused(int status, std::string_view code) {
  struct Reason {
    std::string_view code;
    const char* expected;
    const char* next;
  };
  constexpr std::array<Reason, 8> kReasons = {{
      {"invite_expired", "an invite that is still valid", "ask for a new invite"},
      {"invite_exhausted", "an invite with uses left", "ask for a new invite"},
      {"invite_revoked", "an invite that was not revoked", "ask for a new invite"},
      {"invite_not_found", "an invite that this broker issued",
       "check that the link is complete, or ask for a new one"},
      {"invite_bad_signature", "an unchanged invite", "copy the whole link again"},
      {"invite_owner_mismatch", "an invite of the mesh's owner", "ask for a new invite"},
      {"invite_mesh_mismatch", "an invite of this mesh", "ask for a new invite"},
      {"mesh_not_found", "a mesh that exists", "ask whether the mesh was deleted"},
  }};
  for (const Reason& reason : kReasons) {
    if (reason.code == code) {
      return {ExitCode::kFailed, "the broker refused the invite: " + std::string(code), reason.expected, reason.next};
    }
  }
  return {ExitCode::kFailed,
          "the broker refused to join: " + (code.empty() ? "status " + std::to_string(status) : printable(code)),
          "a member id", "try again later, or ask the operator of the broker"};
}

int run_join(const JoinArguments& arguments, const Context& context) {
  if (const Status folder = make_private_directory(context.paths.config_dir); !folder) {
    return context.output.fail({ExitCode::kIo, folder.error().message, "a folder that this user can write",
                                "set CLAUDEMESH_CONFIG_DIR to another existing folder"});
  }
  Outcome<ConfigFile> config = load_config(context.paths);
  if (!config.ok()) {
    return context.output.fail(config.failure());
  }
  Outcome<CheckedInvite> invite = check_invite(arguments.invite, context.now_ms());
  if (!invite.ok()) {
    return context.output.fail(invite.failure());
  }
  const std::string slug = arguments.slug.empty() ? invite->payload.mesh_slug : arguments.slug;
  const std::string configured = text_of(config->others, "displayName");
  const std::string name = !arguments.name.empty() ? arguments.name
                           : !configured.empty()   ? configured
                                                   : default_name(context);
  if (std::optional<Failure> failure = refuse_early(*config, slug, invite->payload, name); failure.has_value()) {
    return context.output.fail(*failure);
  }
  if (::access(context.paths.config_dir.c_str(), W_OK | X_OK) != 0) {
    return context.output.fail({ExitCode::kIo, "cannot write into " + context.paths.config_dir,
                                "a folder that this user can write",
                                "check its owner and mode; the invite was not used"});
  }
  const protocol::KeyPair keys = protocol::KeyPair::generate(protocol::system_random());
  const std::string pubkey = keys.public_key.hex();
  Outcome<JsonValue> reply = post_join(*invite, pubkey, name);
  if (!reply.ok()) {
    return context.output.fail(reply.failure());
  }
  const auto entry_with = [&](protocol::SecretText secret_key) {
    MeshEntry entry;
    entry.mesh_id = invite->payload.mesh_id;
    entry.member_id = text_of(*reply, "memberId");
    entry.slug = slug;
    entry.name = invite->payload.mesh_slug;
    entry.pubkey = pubkey;
    entry.secret_key = std::move(secret_key);
    entry.broker_url = invite->payload.broker_url;
    entry.joined_at = iso_time(context.now_ms());
    return entry;
  };
  const std::optional<std::string> new_name =
      arguments.name.empty() ? std::nullopt : std::optional<std::string>(arguments.name);
  MeshEntry entry = entry_with(protocol::SecretText(keys.secret_key.hex()));
  if (std::optional<Failure> failure = add_mesh_to_config(context.paths, std::move(entry), new_name);
      failure.has_value()) {
    return context.output.fail(*failure);
  }
  const std::string link_file = context.paths.config_dir + "/invite-" + slug + ".txt";
  if (const Status saved = write_private_file(link_file, arguments.invite + "\n"); !saved) {
    context.output.warning("the invite link was not kept: " + saved.error().message);
  }
  const std::optional<bool> reloaded = reload_daemon(context, slug);
  print_joined(arguments, context, entry_with({}), name, flag_of(*reply, "alreadyMember"), reloaded);
  return 0;
}

}  // namespace cm::cli
