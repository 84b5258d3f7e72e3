#include "plugins/peer_daemon/src/identity_links.hpp"

#include <algorithm>
#include <utility>

#include "protocol/json.hpp"
#include "protocol/json_fields.hpp"

namespace cm::daemon {
namespace {

void read_detail(LinkStatus& status, std::string_view json) {
  const Result<protocol::JsonValue> detail = protocol::parse_json(json.empty() ? "{}" : json);
  if (!detail) {
    return;
  }
  status.reason = text_of(*detail, "reason");
  status.code = text_of(*detail, "code");
  status.attempt = integer_of(*detail, "attempt");
  status.retry_in_ms = integer_of(*detail, "retry_in_ms");
  if (const protocol::JsonValue* features = detail->find("features"); features != nullptr) {
    status.features_json = protocol::to_json(*features);
  }
  const protocol::JsonValue* degraded = detail->find("degraded");
  if (degraded == nullptr || degraded->as_array() == nullptr) {
    return;
  }
  status.degraded.clear();
  for (const protocol::JsonValue& name : *degraded->as_array()) {
    if (name.as_string() != nullptr) {
      status.degraded.push_back(*name.as_string());
    }
  }
}

}  // namespace

std::string_view link_state_word(std::uint32_t state) {
  switch (state) {
    case CM_LINK_CONNECTING:
      return "connecting";
    case CM_LINK_OPEN:
      return "open";
    case CM_LINK_RECONNECTING:
      return "reconnecting";
    case CM_LINK_REFUSED:
      return "refused";
    default:
      return "closed";
  }
}

IdentityLinks::IdentityLinks(const HostApi& host, const std::vector<Transport>& transports, LinkOwner& owner,
                             LaneKey lane, const protocol::SecretKey& member_key,
                             const protocol::SecretKey* session_key)
    : host_(host),
      transports_(transports),
      owner_(owner),
      lane_(std::move(lane)),
      member_key_(member_key),
      session_key_(session_key),
      first_attempt_timer_(host) {
  for (std::size_t i = 0; i < transports.size(); ++i) {
    slots_.push_back(std::make_unique<Slot>(Slot{this, i, CM_NO_HANDLE, {}}));
    slots_.back()->status.since_ms = host.unix_ms();
  }
  const auto broker = std::find_if(transports.begin(), transports.end(),
                                   [](const Transport& transport) { return transport.kind == "broker"; });
  primary_ = broker == transports.end() ? 0 : static_cast<std::size_t>(broker - transports.begin());
}

void IdentityLinks::reconnect() {
  close();
  for (const auto& slot : slots_) {
    slot->status = LinkStatus();
    slot->status.since_ms = host_.unix_ms();
  }
  open(LinkIdentity(identity_));
}

void IdentityLinks::open(const LinkIdentity& identity) {
  identity_ = identity;
  cm_link_identity raw = {};
  raw.size = sizeof(raw);
  raw.kind = identity.session ? CM_LINK_SESSION : CM_LINK_MEMBER;
  raw.url = to_pview(identity.url);
  raw.mesh_id = to_pview(identity.mesh_id);
  raw.member_id = to_pview(identity.member_id);
  raw.member_pubkey = to_pview(identity.member_pubkey);
  raw.session_pubkey = to_pview(identity.session_pubkey);
  raw.session_id = to_pview(identity.session_id);
  raw.display_name = to_pview(identity.display_name);
  raw.cwd = to_pview(identity.cwd);
  raw.role = to_pview(identity.role);
  raw.groups_json = to_pview(identity.groups_json);
  raw.features_json = to_pview(identity.features_json);
  raw.pid = identity.pid;
  for (const auto& slot : slots_) {
    open_slot(*slot, raw);
  }
  first_attempt_ = !slots_.empty() && primary_status().state == CM_LINK_CONNECTING;
  if (first_attempt_) {
    first_attempt_timer_.start_ms(kFirstAttemptMs, [this] { end_first_attempt(); });
  }
}

void IdentityLinks::open_slot(Slot& slot, const cm_link_identity& identity) {
  const Transport& transport = transports_[slot.transport];
  cm_link_callbacks callbacks = {};
  callbacks.size = sizeof(callbacks);
  callbacks.state = &IdentityLinks::on_state;
  callbacks.inbound = &IdentityLinks::on_inbound;
  callbacks.sent = &IdentityLinks::on_sent;
  callbacks.sign = &IdentityLinks::on_sign;
  const cm_status status = transport.extension ? transport.extension->open(transport.extension.instance(), &identity,
                                                                           &callbacks, &slot, &slot.handle)
                                               : CM_GONE;
  if (status != CM_OK) {
    slot.handle = CM_NO_HANDLE;
    slot.status.state = CM_LINK_REFUSED;
    slot.status.reason = "the transport " + transport.instance_name + " did not open the link";
    host_.log(LogLevel::kError, "a link cannot be opened",
              {{"mesh", lane_.mesh}, {"transport", transport.instance_name}, {"status", status}});
  }
}

void IdentityLinks::close() {
  for (const auto& slot : slots_) {
    const Transport& transport = transports_[slot->transport];
    if (slot->handle != CM_NO_HANDLE && transport.extension) {
      transport.extension->close(transport.extension.instance(), slot->handle);
    }
    slot->handle = CM_NO_HANDLE;
    slot->status.state = CM_LINK_CLOSED;
  }
  end_first_attempt();
  for (auto& [key, pending] : std::exchange(requests_, {})) {
    pending->reply(make_error(ErrorCode::kGone, "the link was closed before the reply"));
  }
}

bool IdentityLinks::is_open(std::size_t transport) const noexcept {
  return transport < slots_.size() && slots_[transport]->handle != CM_NO_HANDLE &&
         slots_[transport]->status.state == CM_LINK_OPEN;
}

bool IdentityLinks::any_open() const noexcept {
  return pick_open(0) < slots_.size();
}

std::size_t IdentityLinks::pick_open(std::size_t preferred) const noexcept {
  if (is_open(preferred)) {
    return preferred;
  }
  std::size_t transport = 0;
  while (transport < slots_.size() && !is_open(transport)) {
    ++transport;
  }
  return transport;
}

cm_status IdentityLinks::send(std::size_t transport, const std::vector<cm_outbound>& messages,
                              std::uint64_t* out_taken) {
  *out_taken = 0;
  if (!is_open(transport) || !transports_[transport].extension) {
    return CM_GONE;
  }
  const auto& extension = transports_[transport].extension;
  return extension->send(extension.instance(), slots_[transport]->handle, messages.data(), messages.size(), out_taken);
}

void IdentityLinks::acknowledge(std::size_t transport, std::string_view message_id,
                                std::string_view client_message_id) {
  if (transport >= slots_.size() || slots_[transport]->handle == CM_NO_HANDLE || !transports_[transport].extension) {
    return;  // it will come again, and be known
  }
  const auto& extension = transports_[transport].extension;
  extension->acknowledge(extension.instance(), slots_[transport]->handle, to_pview(message_id),
                         to_pview(client_message_id));
}

void IdentityLinks::after_first_attempt(std::function<void()> then) {
  if (first_attempt_ && parked_.size() < kParkedRequestsMax) {
    parked_.push_back(std::move(then));
    return;
  }
  then();
}

void IdentityLinks::end_first_attempt() {
  first_attempt_ = false;
  first_attempt_timer_.cancel();
  for (const std::function<void()>& then : std::exchange(parked_, {})) {
    then();
  }
}

Error IdentityLinks::not_connected() const {
  const std::string reason = slots_.empty() ? "no transport is configured"
                             : primary_status().state == CM_LINK_CONNECTING
                                 ? "it has not answered since the link was opened"
                                 : primary_status().reason;
  return make_error(ErrorCode::kGone, "the broker of mesh " + lane_.mesh + " is not connected" +
                                          (reason.empty() ? "" : " (" + reason + ")") +
                                          "; look at GET /v1/health, and try again when the link is open");
}

void IdentityLinks::request(std::string json, std::uint64_t timeout_ms, Reply reply) {
  after_first_attempt(
      [this, json = std::move(json), timeout_ms, reply = std::move(reply)] { request_now(json, timeout_ms, reply); });
}

void IdentityLinks::request_now(std::string_view json, std::uint64_t timeout_ms, Reply reply) {
  if (slots_.empty() || !is_open(primary_) || !transports_[primary_].extension) {
    reply(not_connected());
    return;
  }
  auto pending = std::make_unique<PendingRequest>(PendingRequest{this, std::move(reply)});
  PendingRequest* raw = pending.get();
  requests_.emplace(raw, std::move(pending));
  const auto& extension = transports_[primary_].extension;
  const cm_status status = extension->request(extension.instance(), slots_[primary_]->handle, to_pview(json),
                                              timeout_ms, &IdentityLinks::on_reply, raw);
  const auto place = requests_.find(raw);
  if (status != CM_OK && place != requests_.end()) {
    const std::unique_ptr<PendingRequest> refused = std::move(place->second);
    requests_.erase(place);
    refused->reply(error_from_status(status, "the link to the broker of mesh " + lane_.mesh + " took no request"));
  }
}

void IdentityLinks::notify(std::vector<std::string> frames, Sent sent) {
  after_first_attempt([this, frames = std::move(frames), sent = std::move(sent)] {
    sent(std::all_of(frames.begin(), frames.end(), [this](const std::string& frame) { return notify_now(frame); }));
  });
}

bool IdentityLinks::notify_now(std::string_view json) {
  if (slots_.empty() || !is_open(primary_) || !transports_[primary_].extension) {
    return false;
  }
  const auto& extension = transports_[primary_].extension;
  return extension->request(extension.instance(), slots_[primary_]->handle, to_pview(json), 0, nullptr, nullptr) ==
         CM_OK;
}

void IdentityLinks::on_reply(void* user, cm_status status, cm_text_hview text) noexcept {
  auto* raw = static_cast<PendingRequest*>(user);
  IdentityLinks* links = raw->links;
  const auto place = links->requests_.find(raw);
  if (place == links->requests_.end()) {
    return;
  }
  const std::unique_ptr<PendingRequest> pending = std::move(place->second);
  links->requests_.erase(place);
  if (status != CM_OK) {
    pending->reply(error_from_status(status, std::string(to_view(text))));
    return;
  }
  pending->reply(std::string(to_view(text)));
}

void IdentityLinks::on_state(void* user, cm_handle link, std::uint32_t state, cm_text_hview detail) noexcept {
  static_cast<void>(link);
  auto* slot = static_cast<Slot*>(user);
  if (slot->status.state != state) {
    slot->status.since_ms = slot->links->host_.unix_ms();
  }
  slot->status.state = state;
  read_detail(slot->status, to_view(detail));
  slot->links->owner_.link_changed(*slot->links, slot->transport);
  if (slot->transport == slot->links->primary_ && state != CM_LINK_CONNECTING) {
    slot->links->end_first_attempt();
  }
}

void IdentityLinks::on_inbound(void* user, cm_handle link, const cm_inbound* messages, std::uint64_t count) noexcept {
  static_cast<void>(link);
  auto* slot = static_cast<Slot*>(user);
  slot->links->owner_.link_inbound(*slot->links, slot->transport, {messages, count});
}

void IdentityLinks::on_sent(void* user, cm_handle link, const cm_send_result* results, std::uint64_t count) noexcept {
  static_cast<void>(link);
  auto* slot = static_cast<Slot*>(user);
  slot->links->owner_.link_sent(*slot->links, slot->transport, {results, count});
}

cm_status IdentityLinks::on_sign(void* user, cm_handle link, std::uint32_t key, cm_text_hview text,
                                 std::uint8_t* out_signature) noexcept {
  static_cast<void>(link);
  const IdentityLinks* links = static_cast<Slot*>(user)->links;
  const protocol::SecretKey* secret = key == CM_SIGN_MEMBER ? &links->member_key_ : links->session_key_;
  if (secret == nullptr) {
    return CM_DENIED;
  }
  const protocol::Signature signature = protocol::sign(*secret, to_view(text));
  std::copy(signature.begin(), signature.end(), out_signature);
  return CM_OK;
}

}  // namespace cm::daemon
