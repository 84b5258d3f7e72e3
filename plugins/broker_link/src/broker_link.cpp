#include "plugins/broker_link/src/broker_link.hpp"

#include <unistd.h>

#include <array>
#include <utility>

namespace cm::broker_link {
namespace {

std::string system_hostname() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data()) : std::string();
}

// A table may be older than ours: take what it has, leave the rest null.
cm_link_callbacks copy_callbacks(const cm_link_callbacks& callbacks) {
  cm_link_callbacks copy = {};
  copy.size = sizeof(copy);
  copy.state = CM_HAS_FUNCTION(&callbacks, cm_link_callbacks, state) ? callbacks.state : nullptr;
  copy.inbound = CM_HAS_FUNCTION(&callbacks, cm_link_callbacks, inbound) ? callbacks.inbound : nullptr;
  copy.sent = CM_HAS_FUNCTION(&callbacks, cm_link_callbacks, sent) ? callbacks.sent : nullptr;
  copy.sign = CM_HAS_FUNCTION(&callbacks, cm_link_callbacks, sign) ? callbacks.sign : nullptr;
  return copy;
}

}  // namespace

const cm_transport_v1 BrokerLink::kTable = {sizeof(cm_transport_v1),        0,
                                            &BrokerLink::table_name,        &BrokerLink::table_open,
                                            &BrokerLink::table_close,       &BrokerLink::table_send,
                                            &BrokerLink::table_acknowledge, &BrokerLink::table_request};

Status BrokerLink::configure() {
  options_.window = static_cast<std::uint64_t>(host().option_int("window"));
  options_.ack_timeout_ms = static_cast<std::uint64_t>(host().option_int("ack_timeout"));
  options_.hello_timeout_ms = static_cast<std::uint64_t>(host().option_int("hello_timeout"));
  options_.negotiation_timeout_ms = static_cast<std::uint64_t>(host().option_int("negotiation_timeout"));
  options_.refused_retry_ms = static_cast<std::uint64_t>(host().option_int("refused_retry"));
  options_.frame_bytes_max = static_cast<std::uint64_t>(host().option_int("frame_bytes_max"));
  options_.receive_bytes_max = static_cast<std::uint64_t>(host().option_int("receive_bytes_max"));
  options_.requests_max = static_cast<std::uint64_t>(host().option_int("requests_max"));
  options_.hostname = host().option_text("hostname");
  if (options_.hostname.empty()) {
    options_.hostname = system_hostname();
  }
  const std::string_view sends = "cm_link_sends_total";
  const std::string_view sends_help = "Sends that a broker answered.";
  metrics_.accepted = host().counter(sends, "outcome=\"accepted\"", sends_help);
  metrics_.duplicates = host().counter(sends, "outcome=\"duplicate\"", sends_help);
  metrics_.retries = host().counter(sends, "outcome=\"retry\"", sends_help);
  metrics_.rejected = host().counter(sends, "outcome=\"rejected\"", sends_help);
  metrics_.ack_timeouts = host().counter("cm_link_ack_timeouts_total", "", "Sends that no broker answered in time.");
  metrics_.pushes = host().counter("cm_link_pushes_total", "", "Pushes received.");
  metrics_.connects = host().counter("cm_link_connects_total", "", "Attempts to connect.");
  metrics_.closes = host().counter("cm_link_closes_total", "", "Connections that ended or never opened.");
  metrics_.bad_frames = host().counter("cm_link_bad_frames_total", "", "Frames that could not be read.");
  return {};
}

void BrokerLink::start(Done started) {
  running_ = true;
  started(Status());
}

void BrokerLink::stop() {
  running_ = false;
  signaling_.stop();
  links_.clear();
  closing_.clear();
}

const void* BrokerLink::extension(std::string_view extension_id) {
  if (extension_id == CM_SIGNALING_ID) {
    return &kSignaling;
  }
  return extension_id == CM_TRANSPORT_ID ? &kTable : nullptr;
}

const cm_signaling_v1 BrokerLink::kSignaling = {
    sizeof(cm_signaling_v1), 0, &BrokerLink::table_attach,
    [](void* instance, cm_handle attachment) noexcept { self_of(instance)->signaling_.detach(attachment); },
    [](void* instance, cm_handle attachment, const cm_signal* signal, cm_signal_sent sent, void* user) noexcept {
      return self_of(instance)->signaling_.send(attachment, *signal, sent, user);
    }};

cm_status BrokerLink::table_attach(void* instance, cm_handle caller, const cm_signaling_identity* identity,
                                   const cm_signaling_callbacks* callbacks, void* user,
                                   cm_handle* out_attachment) noexcept {
  BrokerLink* self = self_of(instance);
  if (!self->running_) {
    return CM_GONE;
  }
  return self->signaling_.attach(caller, *identity, *callbacks, user, out_attachment, self->link_of(*identity));
}

Link* BrokerLink::link_of(const cm_signaling_identity& wanted) noexcept {
  for (const auto& [handle, link] : links_) {
    const Identity& identity = link->identity();
    const std::string_view session = identity.session ? std::string_view(identity.session_pubkey) : std::string_view();
    if (identity.url == to_view(wanted.url) && identity.mesh_id == to_view(wanted.mesh_id) &&
        identity.member_pubkey == to_view(wanted.member_pubkey) && session == to_view(wanted.session_pubkey)) {
      return link.get();
    }
  }
  return nullptr;
}

Link* BrokerLink::find(cm_handle link) noexcept {
  const auto place = links_.find(link);
  return place == links_.end() ? nullptr : place->second.get();
}

cm_status BrokerLink::open(const cm_link_identity& identity, const cm_link_callbacks& callbacks, void* user,
                           cm_handle* out_link) {
  if (!running_) {
    return CM_GONE;
  }
  if (links_.size() >= kLinksMax) {
    host().log(LogLevel::kWarn, "no more links can be opened", {{"limit", kLinksMax}});
    return CM_BUSY;
  }
  const cm_link_callbacks copy = copy_callbacks(callbacks);
  Result<Identity> owned = copy_identity(identity);
  if (!owned || copy.sign == nullptr) {
    host().set_error(owned ? std::string_view("the link has no `sign` callback; a hello cannot be signed without")
                           : std::string_view(owned.error().message));
    return CM_INVALID;
  }
  const cm_handle handle = next_++;
  // The link may finish inside one of its own callbacks: destroy it on a later turn.
  auto finished = [this, handle] { host().post([this, handle] { closing_.erase(handle); }); };
  auto link =
      std::make_unique<Link>(host(), options_, metrics_, handle, std::move(*owned), copy, user, std::move(finished));
  Link* raw = link.get();
  raw->set_observer(&signaling_);
  links_.emplace(handle, std::move(link));
  *out_link = handle;
  raw->start();
  return CM_OK;
}

void BrokerLink::close(cm_handle link) {
  const auto place = links_.find(link);
  if (place == links_.end()) {
    return;
  }
  Link* raw = place->second.get();
  closing_.emplace(link, std::move(place->second));
  links_.erase(place);
  signaling_.link_closed(*raw);
  raw->set_observer(nullptr);
  raw->close();
}

BrokerLink* BrokerLink::self_of(void* instance) noexcept {
  return static_cast<BrokerLink*>(static_cast<PluginInstance*>(instance));
}

cm_text_hview BrokerLink::table_name(void* instance) noexcept {
  static_cast<void>(instance);
  return to_hview("broker");
}

cm_status BrokerLink::table_open(void* instance, const cm_link_identity* identity, const cm_link_callbacks* callbacks,
                                 void* user, cm_handle* out_link) noexcept {
  return self_of(instance)->open(*identity, *callbacks, user, out_link);
}

void BrokerLink::table_close(void* instance, cm_handle link) noexcept {
  self_of(instance)->close(link);
}

cm_status BrokerLink::table_send(void* instance, cm_handle link, const cm_outbound* messages, std::uint64_t count,
                                 std::uint64_t* out_taken) noexcept {
  Link* found = self_of(instance)->find(link);
  return found == nullptr ? CM_GONE : found->send(messages, count, out_taken);
}

cm_status BrokerLink::table_acknowledge(void* instance, cm_handle link, cm_text_pview message_id,
                                        cm_text_pview client_message_id) noexcept {
  Link* found = self_of(instance)->find(link);
  return found == nullptr ? CM_GONE : found->acknowledge(to_view(message_id), to_view(client_message_id));
}

cm_status BrokerLink::table_request(void* instance, cm_handle link, cm_text_pview json, std::uint64_t timeout_ms,
                                    cm_reply_callback callback, void* user) noexcept {
  Link* found = self_of(instance)->find(link);
  return found == nullptr ? CM_GONE : found->request(to_view(json), timeout_ms, callback, user);
}

}  // namespace cm::broker_link
