// cm.signaling/1 as C++: small messages to peers that are online now, and those that come. [loop]
#pragma once

#include <claudemesh/ext/signaling.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <claudemesh/cpp/host.hpp>

namespace cm {

// Who listens: one identity of the daemon, as it was given to cm.transport/1.
struct SignalingIdentity {
  std::string url;  // of the broker
  std::string mesh_id;
  std::string member_pubkey;        // 64 hex
  std::string session_pubkey = {};  // empty: the member's own connection
};

// A signal that came; the views are valid until the function returns. The broker vouches for `from`.
struct ReceivedSignal {
  std::uint32_t kind = 0;  // CM_SIGNAL_OFFER ...
  std::string_view from;   // the key to answer to
  std::string_view from_member;
  std::string_view from_name;
  std::string_view call;
  std::string_view payload;
};

// Listens as one identity and sends for it. It detaches when it is destroyed; functions may do that.
class Signaling {
 public:
  Signaling() = default;
  Signaling(const Signaling&) = delete;
  Signaling& operator=(const Signaling&) = delete;
  ~Signaling() { close(); }

  // Set before attach. The state is CM_SIGNALING_*; the first call tells the present one.
  std::function<void(std::uint32_t state)> on_state;
  std::function<void(const ReceivedSignal& signal)> on_signal;

  // In configure: `link` is the name of the instance that offers cm.signaling/1, from an option with `same_loop`;
  // empty: the only one. [loop]
  Status open(const HostApi& host, std::string_view link) {
    close();
    auto extension = Extension<cm_signaling_v1>::acquire(host, link, CM_SIGNALING_ID);
    if (!extension) {
      return std::move(extension).error();
    }
    host_ = &host;
    table_ = std::move(*extension);
    return {};
  }
  // Begins to listen; on_state follows. One listener for each identity. Attached before: detaches first. [loop]
  Status attach(const SignalingIdentity& identity) {
    detach();
    if (!table_) {
      return make_error(ErrorCode::kGone, "signals have no provider; call open in configure");
    }
    const cm_signaling_identity view = {sizeof(view),
                                        0,
                                        to_pview(identity.url),
                                        to_pview(identity.mesh_id),
                                        to_pview(identity.member_pubkey),
                                        to_pview(identity.session_pubkey)};
    const cm_signaling_callbacks callbacks = {sizeof(callbacks), 0, &Signaling::state_changed, &Signaling::received};
    const cm_status status = table_->attach(table_.instance(), host_->self(), &view, &callbacks, this, &attachment_);
    if (status != CM_OK) {
      attachment_ = CM_NO_HANDLE;
      return error_from_status(status, status == CM_BUSY ? "this identity has a listener for signals already"
                                                         : "the provider refused to listen for signals");
    }
    return {};
  }
  // Listens no more; no function follows, also not those of `send`. [loop]
  void detach() noexcept {
    state_ = CM_SIGNALING_DOWN;
    open_sends_.reset();
    if (attachment_ != CM_NO_HANDLE && table_) {
      table_->detach(table_.instance(), attachment_);
    }
    attachment_ = CM_NO_HANDLE;
  }
  // In stop: detaches and gives the provider back. [loop]
  void close() noexcept {
    detach();
    table_.release();
  }
  // The last state that was told. [loop]
  std::uint32_t state() const noexcept { return state_; }

  // Sends one. `sent` (may be empty) gets CM_SIGNAL_PASSED and on, and words for a person, exactly once if the answer
  // is CM_OK, unless detached before. CM_INVALID: fields or size; CM_BUSY: too many wait; CM_GONE: not UP. [loop]
  cm_status send(std::uint32_t kind, std::string_view to, std::string_view call, std::string_view payload,
                 std::function<void(std::uint32_t outcome, std::string_view reason)> sent = {}) {
    if (attachment_ == CM_NO_HANDLE || !table_) {
      return CM_GONE;
    }
    const cm_signal signal = {sizeof(signal), kind, to_pview(to), to_pview(call), to_bytes_pview(payload)};
    if (!sent) {
      return table_->send(table_.instance(), attachment_, &signal, nullptr, nullptr);
    }
    // The owner keeps what waits, because a detach ends it without a call.
    if (open_sends_ == nullptr) {
      open_sends_ = std::make_shared<OpenSends>();
    }
    const std::uint64_t number = ++open_sends_->last;
    const auto place = open_sends_->waiting.emplace(number, OpenSend{this, number, std::move(sent)}).first;
    const cm_status status =
        table_->send(table_.instance(), attachment_, &signal, &Signaling::answered, &place->second);
    if (status != CM_OK) {
      open_sends_->waiting.erase(place);
    }
    return status;
  }

 private:
  struct OpenSend {
    Signaling* owner;
    std::uint64_t number;
    std::function<void(std::uint32_t, std::string_view)> sent;
  };
  struct OpenSends {
    std::uint64_t last = 0;
    std::map<std::uint64_t, OpenSend> waiting;  // a map, because the provider keeps addresses of its elements
  };

  // Each copies or takes the function first: it may destroy or detach the object.
  static void state_changed(void* user, cm_handle, std::uint32_t state) noexcept {
    auto* self = static_cast<Signaling*>(user);
    self->state_ = state;
    self->host_->guarded("signaling_state", [&] {
      if (const auto function = self->on_state) {
        function(state);
      }
    });
  }
  static void received(void* user, cm_handle, const cm_signal_received* signal) noexcept {
    auto* self = static_cast<Signaling*>(user);
    self->host_->guarded("signaling_signal", [&] {
      if (const auto function = self->on_signal) {
        function({signal->kind, to_view(signal->from), to_view(signal->from_member), to_view(signal->from_name),
                  to_view(signal->call), to_view(signal->payload)});
      }
    });
  }
  static void answered(void* user, cm_handle, std::uint32_t outcome, cm_text_hview reason) noexcept {
    auto* send = static_cast<OpenSend*>(user);
    const auto function = std::move(send->sent);
    const HostApi* host = send->owner->host_;
    send->owner->open_sends_->waiting.erase(send->number);
    host->guarded("signaling_sent", [&] { function(outcome, to_view(reason)); });
  }

  const HostApi* host_ = nullptr;
  Extension<cm_signaling_v1> table_;
  cm_handle attachment_ = CM_NO_HANDLE;
  std::uint32_t state_ = CM_SIGNALING_DOWN;
  std::shared_ptr<OpenSends> open_sends_;
};

}  // namespace cm
