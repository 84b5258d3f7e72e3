// cm.signaling/1: signals over the links that the daemon has opened. Opens no connection of its own.
#pragma once

#include <claudemesh/ext/signaling.h>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "plugins/broker_link/src/link.hpp"

namespace cm::broker_link {

// Lives on the loop of the plugin. Listeners are told on a later turn than the one in which something happened.
class Signaling final : public LinkObserver {
 public:
  static constexpr std::uint64_t kAnswerTimeoutMs = 10'000;
  static constexpr std::size_t kAttachmentsMax = 4'096;

  explicit Signaling(const HostApi& host) : host_(host) {}

  cm_status attach(cm_handle caller, const cm_signaling_identity& identity, const cm_signaling_callbacks& callbacks,
                   void* user, cm_handle* out_attachment, Link* link);
  void detach(cm_handle attachment);
  cm_status send(cm_handle attachment, const cm_signal& signal, cm_signal_sent sent, void* user);

  void link_changed(Link& link) override;
  void link_signal(Link& link, const protocol::JsonValue& frame) override;
  // It will be destroyed.
  void link_closed(const Link& link);
  void stop();

 private:
  struct Attachment {
    cm_handle caller = CM_NO_HANDLE;
    std::string url;
    std::string mesh_id;
    std::string member_pubkey;
    std::string session_pubkey;
    cm_signaling_callbacks callbacks = {};
    void* user = nullptr;
    Link* link = nullptr;
    std::uint32_t state = CM_SIGNALING_DOWN;
    std::uint32_t told = 0;
    std::uint64_t listens = 0;  // which request to listen is the current one
    std::size_t waiting = 0;
  };
  // A request to the broker that is not answered yet; its address is the `user` of the request.
  struct Pending {
    Signaling* signaling = nullptr;
    std::uint64_t id = 0;
    cm_handle attachment = CM_NO_HANDLE;
    const Link* link = nullptr;
    std::uint64_t listen = 0;  // not 0: a request to listen
    cm_signal_sent sent = nullptr;
    void* user = nullptr;
  };

  static bool fits(const Attachment& attachment, const Link& link);
  Attachment* find(cm_handle attachment);
  bool is_alive(cm_handle caller) const;
  void refresh(cm_handle handle);
  void listen(cm_handle handle, Attachment& attachment);
  void set_state(cm_handle handle, std::uint32_t state);
  void tell_state(cm_handle handle);
  cm_status request(Link& link, std::string_view json, Pending pending);
  static void answered(void* user, cm_status status, cm_text_hview json) noexcept;
  void finish(std::uint64_t id, std::uint32_t outcome, std::string_view reason);

  const HostApi& host_;
  std::map<cm_handle, Attachment> attachments_;
  std::map<std::uint64_t, std::unique_ptr<Pending>> pending_;
  cm_handle next_attachment_ = 1;
  std::uint64_t next_id_ = 1;
};

}  // namespace cm::broker_link
