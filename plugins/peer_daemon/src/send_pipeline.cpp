#include "plugins/peer_daemon/src/send_pipeline.hpp"

#include <utility>

#include "plugins/peer_daemon/src/json_out.hpp"
#include "protocol/ids.hpp"
#include "protocol/priority_number.hpp"

namespace cm::daemon {
namespace {

ApiAnswer storage_unavailable(const Error& error) {
  return api_error(503, "storage_unavailable", error.message + "; nothing was accepted, send again later");
}

std::string topic_id_of(const std::string& frame, const std::string& name) {
  const Result<protocol::JsonValue> tree = protocol::parse_json(frame);
  const protocol::JsonValue* topics = tree ? tree->find("topics") : nullptr;
  if (topics == nullptr || topics->as_array() == nullptr) {
    return {};
  }
  for (const protocol::JsonValue& topic : *topics->as_array()) {
    const protocol::JsonValue* topic_name = topic.find("name");
    const protocol::JsonValue* id = topic.find("id");
    if (topic_name != nullptr && topic_name->as_string() != nullptr && *topic_name->as_string() == name &&
        id != nullptr && id->as_string() != nullptr) {
      return *id->as_string();
    }
  }
  return {};
}

}  // namespace

ParsedOr<Mesh*> choose_mesh(Membership& membership, std::string_view asked, std::string_view of_caller) {
  const std::vector<std::string> slugs = membership.slugs();
  if (slugs.empty()) {
    return {std::nullopt,
            api_error(503, "broker not initialised", "no mesh is joined; run `claudemesh join <invite-url>` first")};
  }
  const std::string_view wanted = asked.empty() ? of_caller : asked;
  if (wanted.empty() && slugs.size() == 1) {
    return {membership.find(slugs.front()), {}};
  }
  if (wanted.empty()) {
    JsonArray attached;
    for (const std::string& slug : slugs) {
      attached.add_text(slug);
    }
    return {std::nullopt,
            {400, JsonObject()
                      .text("error", "mesh_required")
                      .text("detail", "several meshes are joined; say which one with `mesh`")
                      .raw("attached", attached.finish())
                      .finish()}};
  }
  Mesh* mesh = membership.find(wanted);
  if (mesh == nullptr) {
    return {std::nullopt, {404, JsonObject().text("error", "mesh_not_attached").text("mesh", wanted).finish()}};
  }
  return {mesh, {}};
}

void SendPipeline::bind(const HostApi& host, const DaemonOptions& options, Membership& membership, OutboxStore& outbox,
                        KnownPeers& known, Drain& drain, HookChain& hooks, SendMetrics metrics) {
  host_ = &host;
  options_ = &options;
  membership_ = &membership;
  outbox_ = &outbox;
  known_ = &known;
  drain_ = &drain;
  hooks_ = &hooks;
  metrics_ = metrics;
}

protocol::RandomSource SendPipeline::random_source() const {
  return [host = host_](std::span<std::uint8_t> bytes) { host->fill_random(bytes.data(), bytes.size()); };
}

void SendPipeline::refuse(const Shared& operation, ApiAnswer answer) {
  metrics_.refused.add();
  operation->reply(std::move(answer));
}

void SendPipeline::fail_route(const Shared& operation, std::string_view why) {
  refuse(operation, api_error(502, "route_failed", "Error: " + std::string(why)));
}

void SendPipeline::send(SendRequest request, Caller caller, Reply reply) {
  auto operation = std::make_shared<Operation>();
  operation->request = std::move(request);
  operation->caller = std::move(caller);
  operation->reply = std::move(reply);
  const Result<protocol::Fingerprint> fingerprint = fingerprint_of(operation->request);
  if (!fingerprint) {
    refuse(operation, api_error(400, "invalid request", fingerprint.error().message));
    return;
  }
  operation->fingerprint = *fingerprint;
  check_known_id(operation);
}

// A repetition gets its first answer even when the peer is away, the mesh is gone or the outbox is full: so this comes
// before everything that can fail.
void SendPipeline::check_known_id(const Shared& operation) {
  if (operation->request.client_message_id.empty()) {
    operation->request.client_message_id = protocol::generate_uuid_v4(random_source());
    select_mesh(operation);
    return;
  }
  outbox_->find(operation->request.client_message_id,
                [this, operation](const Result<std::optional<ExistingSend>>& found) {
                  if (!found) {
                    refuse(operation, storage_unavailable(found.error()));
                  } else if (found->has_value()) {
                    metrics_.repeated.add();
                    operation->reply(answer_known(*operation, **found));
                  } else {
                    select_mesh(operation);
                  }
                });
}

// The store knows "pending"; whether a link has it at this moment is known here.
ApiAnswer SendPipeline::answer_known(const Operation& operation, ExistingSend existing) const {
  if (existing.status == OutboxStatus::kPending && drain_->is_inflight(operation.request.client_message_id)) {
    existing.status = OutboxStatus::kInflight;
  }
  return answer_existing(operation.request.client_message_id, operation.fingerprint, existing);
}

void SendPipeline::select_mesh(const Shared& operation) {
  if (!accepting_) {
    refuse(operation, api_error(503, "shutting_down", "the daemon is stopping; send again when it runs"));
    return;
  }
  if (operation->request.message.size() > options_->message_bytes_max) {
    refuse(operation,
           api_error(413, "payload_too_large",
                     "the message has " + std::to_string(operation->request.message.size()) + " bytes, at most " +
                         std::to_string(options_->message_bytes_max) + " fit a frame; share a file instead"));
    return;
  }
  const std::size_t waiting = drain_->pending() + drain_->inflight();
  if (waiting >= static_cast<std::size_t>(options_->outbox_rows_max)) {
    refuse(operation, api_error(503, "outbox_full",
                                std::to_string(waiting) + " messages wait for delivery, which is the limit "
                                                          "(outbox_rows_max); look at GET /v1/health for the links"));
    return;
  }
  const ParsedOr<Mesh*> mesh = choose_mesh(*membership_, operation->request.mesh, operation->caller.mesh);
  if (!mesh.value.has_value()) {
    refuse(operation, mesh.refusal);
    return;
  }
  operation->mesh = (*mesh.value)->slug();
  resolve_target(operation);
}

void SendPipeline::resolve_target(const Shared& operation) {
  operation->target = parse_target(operation->request.to);
  if (operation->target.kind == ParsedTarget::Kind::kTopicName) {
    resolve_topic_name(operation);
  } else if (operation->target.needs_peers()) {
    resolve_among_peers(operation, false);
  } else {
    operation->target_spec = operation->target.value;
    run_hooks(operation);
  }
}

// First with the list at hand, then, if nobody fits, with a new one: somebody may have come meanwhile.
void SendPipeline::resolve_among_peers(const Shared& operation, bool fresh) {
  Mesh* mesh = membership_->find(operation->mesh);
  if (mesh == nullptr) {
    fail_route(operation, "the mesh " + operation->mesh + " was left meanwhile");
    return;
  }
  mesh->peers().get(fresh ? -1 : kPeersFreshMs, [this, operation, fresh](const auto& answer) {
    Mesh* current = membership_->find(operation->mesh);
    const std::shared_ptr<const PeerList> list = answer               ? *answer
                                                 : current != nullptr ? current->peers().last()
                                                                      : nullptr;
    if (list == nullptr) {
      resolve_among_known(operation, "peer \"" + operation->request.to + "\" not found: " + answer.error().message);
      return;
    }
    const Result<std::string> key = resolve_peer(operation->target, list->peers);
    if (key) {
      operation->target_spec = *key;
      run_hooks(operation);
    } else if (!fresh && answer && list->at_ms != host_->unix_ms()) {
      resolve_among_peers(operation, true);
    } else if (key.error().code == ErrorCode::kGone) {
      resolve_among_known(operation, key.error().message);
    } else {
      fail_route(operation, key.error().message);
    }
  });
}

// Nobody who is online fits, or the broker is away: perhaps exactly one member that was here before does. The broker
// keeps the message for it.
void SendPipeline::resolve_among_known(const Shared& operation, std::string why_not_online) {
  const Mesh* mesh = membership_->find(operation->mesh);
  if (mesh == nullptr) {
    fail_route(operation, why_not_online);
    return;
  }
  known_->find(mesh->record().mesh_id, operation->target,
               [this, operation, why = std::move(why_not_online)](const Result<std::vector<KnownPeer>>& matches) {
                 const Result<std::string> key =
                     matches ? resolve_known(operation->target, *matches) : Result<std::string>(matches.error());
                 if (key) {
                   operation->target_spec = *key;
                   run_hooks(operation);
                 } else {
                   fail_route(operation, key.error().code == ErrorCode::kInvalid ? key.error().message : why);
                 }
               });
}

void SendPipeline::resolve_topic_name(const Shared& operation) {
  Mesh* mesh = membership_->find(operation->mesh);
  mesh->links().request(
      R"({"type":"topic_list"})", kRequestTimeoutMs, [this, operation](const Result<std::string>& reply) {
        if (!reply) {
          fail_route(operation,
                     "topic \"#" + operation->target.value + "\" cannot be looked up: " + reply.error().message);
          return;
        }
        const std::string id = topic_id_of(*reply, operation->target.value);
        if (id.empty()) {
          fail_route(operation, "topic \"#" + operation->target.value + "\" not found");
          return;
        }
        operation->target_spec = "#" + id;
        run_hooks(operation);
      });
}

void SendPipeline::run_hooks(const Shared& operation) {
  const std::string facts = JsonObject()
                                .text("mesh", operation->mesh)
                                .text("to", operation->request.to)
                                .text("priority", protocol::to_string(operation->request.priority))
                                .finish();
  hooks_->run("daemon.send", facts, operation->request.message, [this, operation](const HookOutcome& outcome) {
    if (outcome.denied) {
      refuse(operation, api_error(403, "denied_by_hook", outcome.text));
      return;
    }
    operation->text = outcome.payload;
    seal(operation);
  });
}

void SendPipeline::seal(const Shared& operation) {
  Mesh* mesh = membership_->find(operation->mesh);
  if (mesh == nullptr) {
    fail_route(operation, "the mesh " + operation->mesh + " was left meanwhile");
    return;
  }
  // Only in its own mesh is a session present; elsewhere it speaks as the member.
  const std::string& session_pubkey = operation->caller.session_pubkey;
  SessionPresence* presence =
      operation->caller.mesh == operation->mesh ? membership_->presence(operation->mesh, session_pubkey) : nullptr;
  Result<protocol::Envelope> envelope = protocol::Envelope();
  if (operation->target.is_direct()) {
    const Result<protocol::PublicKey> recipient = protocol::PublicKey::from_hex(operation->target_spec);
    if (!recipient) {
      fail_route(operation, recipient.error().message);
      return;
    }
    protocol::BoxSealer& sealer = presence != nullptr ? presence->sealer() : mesh->sealer();
    envelope = sealer.seal(operation->text, *recipient, random_source());
  } else {
    envelope = protocol::encode_plain(operation->text, random_source());
  }
  if (!envelope) {
    fail_route(operation, envelope.error().message);
    return;
  }
  OutboxRow row;
  row.seq = next_seq();
  row.id = protocol::generate_uuid_v4(random_source());
  row.client_message_id = operation->request.client_message_id;
  row.fingerprint = operation->fingerprint;
  row.payload_bytes = static_cast<std::int64_t>(operation->text.size());
  row.enqueued_at_ms = host_->unix_ms();
  row.mesh = operation->mesh;
  row.sender_session_pubkey = presence != nullptr ? session_pubkey : std::string();
  row.message.target = operation->target_spec;
  row.message.nonce = std::move(envelope->nonce);
  row.message.ciphertext = std::move(envelope->ciphertext);
  row.message.fingerprint_hex = protocol::fingerprint_hex(operation->fingerprint);
  row.message.priority = protocol::priority_number(operation->request.priority);
  if (operation->target_spec.starts_with('#')) {
    row.message.reply_to_id = operation->request.reply_to_id;  // the wire knows replies in topics only
  }
  accept(operation, std::move(row));
}

void SendPipeline::accept(const Shared& operation, OutboxRow row) {
  auto kept = std::make_shared<OutboxRow>(std::move(row));
  outbox_->accept(*kept, [this, operation, kept](const Result<std::optional<ExistingSend>>& existing) {
    if (!existing) {
      refuse(operation, storage_unavailable(existing.error()));
      return;
    }
    if (existing->has_value()) {
      metrics_.repeated.add();
      operation->reply(answer_known(*operation, **existing));
      return;
    }
    metrics_.accepted.add();
    operation->reply(answer_queued(operation->request.client_message_id));
    drain_->enqueue(std::move(*kept));
  });
}

}  // namespace cm::daemon
