#include "plugins/peer_daemon/src/daemon.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "plugins/peer_daemon/src/host_fingerprint.hpp"
#include "plugins/peer_daemon/src/json_out.hpp"
#include "protocol/priority_number.hpp"

namespace cm::daemon {
namespace {

constexpr std::int64_t kHourMs = 3'600'000;
constexpr std::int64_t kMaxAgeFloorHours = 72;
constexpr std::size_t kLocalTokenBytes = 32;

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) {
    text.remove_suffix(1);
  }
  return text;
}

}  // namespace

std::int64_t effective_max_age_ms(std::int64_t configured_ms, std::string_view features_json) {
  const std::int64_t capped_ms = std::min(configured_ms, kMaxAgeCapMs);
  const Result<protocol::JsonValue> features = protocol::parse_json(features_json);
  const protocol::JsonValue* dedupe = features ? features->find("client_message_id_dedupe") : nullptr;
  if (dedupe == nullptr || !dedupe->is_object()) {
    return capped_ms;
  }
  const protocol::JsonValue* params = dedupe->find("params") != nullptr ? dedupe->find("params") : dedupe;
  const protocol::JsonValue* mode = params->find("mode");
  const protocol::JsonValue* days = params->find("dedupe_retention_days");
  if (mode == nullptr || mode->as_string() == nullptr || *mode->as_string() != "retention_scoped" || days == nullptr ||
      days->as_number() == nullptr) {
    return capped_ms;
  }
  const double hours = *days->as_number() * 24;
  const double margin = std::max(24.0, std::ceil(*days->as_number() * 0.1 * 24));
  const auto allowed_hours = std::max(kMaxAgeFloorHours, static_cast<std::int64_t>(hours - margin));
  return std::min(configured_ms, allowed_hours * kHourMs);
}

Status Daemon::configure() {
  options_ = read_options(host());
  const std::string_view settled = "cm_daemon_outbox_settled_total";
  const std::string_view settled_help = "Outgoing messages that reached their end.";
  drain_metrics_.done = host().counter(settled, "status=\"done\"", settled_help);
  drain_metrics_.dead = host().counter(settled, "status=\"dead\"", settled_help);
  drain_metrics_.retries = host().counter("cm_daemon_outbox_retries_total", "", "Attempts that have to be repeated.");
  drain_metrics_.pending = host().gauge("cm_daemon_outbox_waiting", "", "Messages that are not delivered yet.");
  const std::string_view sends = "cm_daemon_sends_total";
  const std::string_view sends_help = "Requests to send a message.";
  send_metrics_.accepted = host().counter(sends, "outcome=\"accepted\"", sends_help);
  send_metrics_.repeated = host().counter(sends, "outcome=\"repeated\"", sends_help);
  send_metrics_.refused = host().counter(sends, "outcome=\"refused\"", sends_help);
  const std::string_view received = "cm_daemon_received_total";
  const std::string_view received_help = "Messages received.";
  inbound_metrics_.stored = host().counter(received, "outcome=\"stored\"", received_help);
  inbound_metrics_.duplicates = host().counter(received, "outcome=\"duplicate\"", received_help);
  inbound_metrics_.echoes = host().counter(received, "outcome=\"echo\"", received_help);
  inbound_metrics_.not_stored = host().counter(received, "outcome=\"not_stored\"", received_help);
  inbound_metrics_.undecryptable =
      host().counter("cm_daemon_undecryptable_total", "", "Received messages that no key of ours opens.");
  streams_dropped_ =
      host().counter("cm_daemon_streams_dropped_total", "", "Event streams ended for reading too slowly.");
  names_dropped_ =
      host().counter("cm_daemon_peer_names_dropped_total", "", "Names of peers that were not kept, for want of room.");
  return {};
}

protocol::RandomSource Daemon::random_source() const {
  return [this](std::span<std::uint8_t> bytes) { host().fill_random(bytes.data(), bytes.size()); };
}

// --- start -----------------------------------------------------------------------------------------------------------

// Nothing of this is worth the loop's time: it waits for the disk, and other instances may live on the loop.
void Daemon::start(Done started) {
  auto home = std::make_shared<Home>();
  const Status submitted = run_on_worker(
      host(), CM_WORKER_POOL, [this, home] { *home = prepare_home(); },
      [this, home, started] { home_ready(std::move(*home), started); });
  if (!submitted.ok()) {
    started(submitted);
  }
}

void Daemon::home_ready(Home home, Done started) {
  if (home.status.ok()) {
    lock_ = std::move(home.lock);
    local_token_ = std::move(home.token);
    saved_sessions_ = std::move(home.sessions);
    home.status = open_extensions();
  }
  if (!home.status.ok()) {
    lock_.release();
    started(std::move(home.status));
    return;
  }
  running_ = true;
  migrate(0, std::move(started));
}

Daemon::Home Daemon::prepare_home() const {
  Home home;
  for (const std::string& directory : {options_.home, options_.daemon_dir}) {
    home.status = ensure_private_directory(directory);
    if (!home.status.ok()) {
      return home;
    }
  }
  Result<PidLock> lock = PidLock::acquire(options_.pid_path());
  if (!lock) {
    home.status = std::move(lock).error();
    return home;
  }
  home.lock = std::move(*lock);
  Result<SecretText> token = load_local_token();
  if (!token) {
    home.status = std::move(token).error();
    return home;
  }
  home.token = std::move(*token);
  home.status = check_host();
  if (home.status.ok()) {
    home.sessions = load_saved_sessions(options_, host().unix_ms());
  }
  return home;
}

Result<SecretText> Daemon::load_local_token() const {
  const std::string path = options_.token_path();
  Result<std::optional<PrivateFile>> file = read_private_file(path);
  if (!file) {
    return std::move(file).error();
  }
  if (file->has_value() && !(*file)->was_exposed && !trim((*file)->content.text()).empty()) {
    return SecretText(std::string(trim((*file)->content.text())));
  }
  // Missing, empty, or perhaps seen by others: a new one.
  protocol::SecretBytes<kLocalTokenBytes> bytes;
  random_source()(bytes.span());
  SecretText token(protocol::base64url_encode(bytes.span()));
  const SecretText line(token.text() + "\n");
  const Status written = write_private_file(path, line.text());
  if (!written.ok()) {
    return written.error();
  }
  return token;
}

Status Daemon::check_host() const {
  const HostFacts facts = read_host_facts();
  Result<std::optional<PrivateFile>> file = read_private_file(options_.fingerprint_path());
  std::optional<std::string> stored;
  if (file && file->has_value()) {
    stored = (*file)->content.text();
  }
  const FingerprintCheck check = check_fingerprint(stored, facts);
  if (check.outcome == FingerprintOutcome::kFirstRun || check.outcome == FingerprintOutcome::kRewrite) {
    host().log(LogLevel::kInfo, "host_fingerprint_written",
               {{"fingerprint_prefix", host_fingerprint(facts).substr(0, 16)}});
    return write_private_file(options_.fingerprint_path(), format_fingerprint(facts, host().unix_ms()));
  }
  if (check.outcome != FingerprintOutcome::kMismatch || options_.fingerprint_policy == FingerprintPolicy::kAllow) {
    return {};
  }
  const std::string text = "this daemon directory was made on another machine: stored host_id " +
                           (check.stored_host_id.empty() ? std::string("(none)") : check.stored_host_id) +
                           ", this machine " + (facts.host_id.empty() ? std::string("(none)") : facts.host_id) +
                           "; two machines with one identity disturb each other. Run `claudemesh daemon accept-host` "
                           "if the machine was replaced, or `claudemesh daemon remint` for an identity of its own";
  if (options_.fingerprint_policy == FingerprintPolicy::kWarn) {
    host().log(LogLevel::kWarn, text);
    return {};
  }
  return make_error(ErrorCode::kDenied, text);
}

Status Daemon::open_extensions() {
  Result<StorageClient> storage = StorageClient::acquire(host(), options_.store);
  if (!storage) {
    return std::move(storage).error();
  }
  storage_ = std::move(*storage);
  outbox_.bind(storage_);
  inbox_.bind(storage_);
  known_.bind(host(), storage_, names_dropped_);
  events_.bind(host(), streams_dropped_);
  membership_.bind(host(), options_, *this, *this);
  membership_.set_instance_secret(local_token_.text());
  loader_.bind(host(), options_.config_path(),
               [this](Result<LoadedConfig> loaded) { return apply_config(std::move(loaded)); });
  const Status transports = membership_.open_transports();
  if (!transports.ok()) {
    return transports;
  }
  const Status hooks = hooks_.open(host(), options_.hooks);
  if (!hooks.ok()) {
    return hooks;
  }
  DrainOptions drain_options;
  drain_options.window = options_.window;
  drain_options.max_age_ms = [this](std::string_view slug) {
    const Mesh* mesh = membership_.find(slug);
    return effective_max_age_ms(options_.outbox_max_age_ms,
                                mesh == nullptr ? "{}" : mesh->links().primary_status().features_json);
  };
  drain_.bind(host(), outbox_, std::move(drain_options), drain_metrics_);
  inbound_.bind(host(), membership_, inbox_, events_, hooks_, known_, inbound_metrics_,
                [this](std::string_view mesh) { peer_came(mesh); });
  pipeline_.bind(host(), options_, membership_, outbox_, known_, drain_, hooks_, send_metrics_);
  return {};
}

// One schema after the other.
void Daemon::migrate(std::size_t step, Done started) {
  struct Schema {
    std::string_view name;
    std::vector<SqlMigration> (*migrations)();
  };
  constexpr std::array<Schema, 3> kSchemas = {{{"daemon_outbox", &OutboxStore::migrations},
                                               {"daemon_inbox", &InboxStore::migrations},
                                               {"daemon_peers", &KnownPeers::migrations}}};
  if (step == kSchemas.size()) {
    load_names(std::move(started));
    return;
  }
  storage_.migrate(kSchemas[step].name, kSchemas[step].migrations(), [this, step, started](const Status& status) {
    if (status.ok()) {
      migrate(step + 1, started);
    } else {
      started(make_error(status.error().code, "db open failed: " + status.error().message));
    }
  });
}

// Without them messages show the beginning of a key in place of a name, which is no reason not to start.
void Daemon::load_names(Done started) {
  known_.load([this, started = std::move(started)](const Status& status) {
    if (!status.ok()) {
      host().log(LogLevel::kWarn, "the names of peers cannot be read; some are shown by their keys",
                 {{"detail", status.error().message}});
    }
    load_outbox(started);
  });
}

void Daemon::load_outbox(Done started) {
  outbox_.recover([this, started = std::move(started)](Result<LoadedOutbox> loaded) {
    if (!loaded) {
      started(make_error(loaded.error().code, "db open failed: " + loaded.error().message));
      return;
    }
    open_meshes(std::move(*loaded), started);
  });
}

void Daemon::open_meshes(LoadedOutbox loaded, Done started) {
  pipeline_.set_last_seq(loaded.last_seq);
  if (loaded.recovered != 0) {
    host().log(LogLevel::kInfo, "messages that were in flight at the last end will be sent again",
               {{"count", loaded.recovered}});
  }
  drain_.load(std::move(loaded));
  loader_.load([this, started = std::move(started)](const Result<ReloadResult>& meshes) {
    if (!meshes) {
      started(meshes.error());
      return;
    }
    open_for_business(*meshes, started);
  });
}

void Daemon::open_for_business(const ReloadResult& meshes, const Done& started) {
  membership_.rehydrate(std::exchange(saved_sessions_, {}));
  ApiParts parts;
  parts.host = &host();
  parts.options = &options_;
  parts.membership = &membership_;
  parts.pipeline = &pipeline_;
  parts.outbox = &outbox_;
  parts.inbox = &inbox_;
  parts.drain = &drain_;
  parts.events = &events_;
  parts.reload = [this](ReloadDone done) { loader_.load(std::move(done)); };
  const Status listening = api_.open(std::move(parts), SecretText(local_token_.text()));
  if (!listening.ok()) {
    started(listening);
    return;
  }
  clock_.bind(host());
  prune_timer_.bind(host());
  prune_timer_.every_ms(kPruneMs, [this] { prune_stores(); });
  prune_stores();
  learn_timer_.bind(host());
  reaper_timer_.bind(host());
  reaper_timer_.every_ms(kReaperMs, [this] { membership_.remove_ended_sessions(); });
  drain_deadline_.bind(host());
  host().log(LogLevel::kInfo, "daemon_started",
             {{"sock", options_.socket}, {"tcp", options_.tcp_listen}, {"meshes", meshes.meshes.size()}});
  started(Status());
}

// A mesh that cannot be used is named and left out; the others go on. Without any mesh the daemon waits for
// POST /v1/meshes/reload.
Result<ReloadResult> Daemon::apply_config(Result<LoadedConfig> loaded) {
  if (!loaded) {
    return std::move(loaded).error();
  }
  if (loaded->was_exposed) {
    host().log(LogLevel::kWarn, "config.json holds secret keys and was readable by others; its mode is 0600 now",
               {{"path", options_.config_path()}});
  }
  for (const std::string& problem : loaded->config.problems) {
    host().log(LogLevel::kError, "a mesh of config.json is left out", {{"detail", problem}});
  }
  if (loaded->config.meshes.empty()) {
    host().log(LogLevel::kWarn, "no mesh is joined; run `claudemesh join <invite-url>`");
  }
  return membership_.apply(std::move(loaded->config));
}

// After a jump of the clock one round is left out: it may be set right again before the next.
void Daemon::prune_stores() {
  if (clock_.jump_ms() != 0) {
    host().log(LogLevel::kWarn, "the clock jumped; nothing old is removed this time");
    return;
  }
  known_.prune();
  inbox_.prune(host().unix_ms() - options_.inbox_retention_ms, [this](const Result<std::int64_t>& removed) {
    if (!removed) {
      host().log(LogLevel::kWarn, "the inbox cannot be pruned", {{"detail", removed.error().message}});
    } else if (*removed != 0) {
      host().log(LogLevel::kInfo, "old messages were removed from the inbox", {{"count", *removed}});
    }
  });
}

// --- end -------------------------------------------------------------------------------------------------------------

void Daemon::drain(std::uint64_t deadline_ms, Done drained) {
  pipeline_.stop_accepting();
  if (!running_) {
    drained(Status());
    return;
  }
  // Whichever comes first; what is still in flight then stays in the outbox.
  drain_deadline_.bind(host());
  drain_deadline_.start_ms(deadline_ms * 9 / 10, [drained] { drained(Status()); });
  drain_.when_idle([this, drained] {
    drain_deadline_.cancel();
    drained(Status());
  });
}

void Daemon::stop() {
  running_ = false;
  loader_.close();
  prune_timer_.cancel();
  learn_timer_.cancel();
  reaper_timer_.cancel();
  drain_deadline_.cancel();
  events_.close();
  api_.close();
  drain_.close();
  inbound_.close();
  membership_.close();
  hooks_.close();
  storage_.release();
  local_token_.wipe();
  // What was registered last may still be on its way to the disk: nobody else may write there before.
  membership_.when_saved([lock = std::make_shared<PidLock>(std::move(lock_))] { lock->release(); });
}

// --- links -----------------------------------------------------------------------------------------------------------

void Daemon::link_changed(IdentityLinks& links, std::size_t transport) {
  if (links.lane().session_pubkey.empty()) {
    const LinkStatus& status = links.status(transport);
    Event event;
    event.kind = "broker_status";
    event.mesh = links.lane().mesh;
    const std::string fields =
        JsonObject()
            .text("mesh", links.lane().mesh)
            .text("status", status.state == CM_LINK_REFUSED ? "closed" : link_state_word(status.state))
            .text_if("reason", status.reason)
            .finish();
    event.fields = fields.substr(1, fields.size() - 2);
    const bool changed = status.since_ms == host().unix_ms();  // else another attempt failed like the one before
    host().log(changed ? LogLevel::kInfo : LogLevel::kDebug, "broker_status",
               {{"mesh", links.lane().mesh}, {"status", link_state_word(status.state)}, {"reason", status.reason}});
    if (!status.degraded.empty() && status.state == CM_LINK_OPEN) {
      host().log(LogLevel::kWarn, "the broker lacks features; the link works without them",
                 {{"mesh", links.lane().mesh}, {"missing", status.degraded.size()}});
    }
    events_.publish(event);
  }
  drain_.link_changed(links);
  if (links.lane().session_pubkey.empty() && links.is_open(transport)) {
    changed_meshes_.emplace(links.lane().mesh);
    learn_peers();
  }
}

void Daemon::peer_came(std::string_view slug) {
  drain_.peer_came(slug);
  changed_meshes_.emplace(slug);
  if (learn_timer_.active()) {
    return;
  }
  const std::uint64_t now_us = host().monotonic_us();
  const std::uint64_t due_us = std::max(now_us + kLearnDelayMs * 1000, learn_not_before_us_);
  learn_not_before_us_ = due_us + kLearnIntervalMs * 1000;
  learn_timer_.start(due_us - now_us, 0, [this] { learn_peers(); });
}

// Asks who is there, so that their names are known when they are not.
void Daemon::learn_peers() {
  for (const std::string& slug : std::exchange(changed_meshes_, {})) {
    Mesh* mesh = membership_.find(slug);
    if (mesh != nullptr && mesh->links().any_open()) {
      mesh->peers().get(kPeersFreshMs, [](const auto&) {});
    }
  }
}

void Daemon::link_inbound(IdentityLinks& links, std::size_t transport, std::span<const cm_inbound> messages) {
  inbound_.receive(links, transport, messages);
}

void Daemon::link_sent(IdentityLinks& links, std::size_t transport, std::span<const cm_send_result> results) {
  drain_.sent(links, transport, results);
}

// --- cm.peer/1 -------------------------------------------------------------------------------------------------------

const cm_peer_v1 Daemon::kPeerTable = {sizeof(cm_peer_v1), 0, &Daemon::peer_send, &Daemon::peer_subscribe,
                                       &Daemon::peer_unsubscribe};

const void* Daemon::extension(std::string_view extension_id) {
  return extension_id == CM_PEER_ID ? &kPeerTable : nullptr;
}

Daemon* Daemon::self_of(void* instance) noexcept {
  return static_cast<Daemon*>(static_cast<PluginInstance*>(instance));
}

cm_status Daemon::peer_send(void* instance, const cm_peer_message* message, cm_peer_sent sent, void* user) noexcept {
  Daemon* self = self_of(instance);
  if (!self->running_) {
    return CM_GONE;
  }
  SendRequest request;
  request.to = std::string(to_view(message->to));
  request.message = std::string(to_view(message->text));
  request.mesh = std::string(to_view(message->mesh));
  request.client_message_id = std::string(to_view(message->client_message_id));
  if (request.to.empty() || request.message.empty() || message->priority > CM_PRIORITY_LOW) {
    return CM_INVALID;
  }
  request.priority = protocol::priority_of(message->priority);
  self->pipeline_.send(std::move(request), Caller(), [sent, user](const ApiAnswer& answer) {
    if (sent != nullptr) {
      sent(user, answer.status, to_hview(answer.json));
    }
  });
  return CM_OK;
}

cm_status Daemon::peer_subscribe(void* instance, cm_peer_event event, void* user, cm_handle* out) noexcept {
  if (event == nullptr) {
    return CM_INVALID;
  }
  *out = self_of(instance)->events_.subscribe(event, user);
  return CM_OK;
}

void Daemon::peer_unsubscribe(void* instance, cm_handle subscription) noexcept {
  self_of(instance)->events_.unsubscribe(subscription);
}

}  // namespace cm::daemon
