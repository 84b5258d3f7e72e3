// cm.transport/1 of a plugin that runs in a child. Links are known by handles of the host, so they outlive the child:
// when it dies, what was in flight is to be tried again, and the next child opens the links anew. [loop]
#pragma once

#include <claudemesh/ext/transport.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/isolation/session.hpp"

namespace cm::isolation {

inline constexpr std::size_t kLinksMax = 4096;
inline constexpr std::size_t kLinkWindowMax = 1024;    // messages of one link without their result
inline constexpr std::size_t kLinkRequestsMax = 4096;  // of all links
inline constexpr std::size_t kSignatureBytes = 64;
inline constexpr std::size_t kIdentityTexts = 11;   // of cm_link_identity
inline constexpr std::uint32_t kInboundTexts = 14;  // of cm_inbound
inline constexpr std::uint32_t kResultTexts = 4;    // of cm_send_result
inline constexpr std::uint32_t kOutboundTexts = 6;  // of cm_outbound

class TransportProxy {
 public:
  TransportProxy();
  void set_facts(std::string_view name) { name_ = std::string(name); }
  const cm_transport_v1* table() const noexcept { return &table_; }

  // A child is running: opens every link in it.
  void attach(Session* session);
  // The child is gone.
  void detach();
  // False: not one of ours.
  bool handle(const Frame& frame);

  cm_text_hview name() const noexcept { return {name_.data(), name_.size()}; }
  cm_status open(const cm_link_identity& identity, const cm_link_callbacks& callbacks, void* user, cm_handle* out);
  void close(cm_handle link);
  cm_status send(cm_handle link, const cm_outbound* messages, std::uint64_t count, std::uint64_t* out_taken);
  cm_status acknowledge(cm_handle link, std::string_view message_id, std::string_view client_id);
  cm_status request(cm_handle link, std::string_view json, std::uint64_t timeout_ms, cm_reply_callback callback,
                    void* user);

 private:
  struct Link {
    std::uint32_t kind = 0;
    std::int64_t pid = 0;
    std::vector<std::string> texts;  // kIdentityTexts
    cm_link_callbacks callbacks{};
    void* user = nullptr;
    std::uint32_t state = CM_LINK_CONNECTING;
    std::multiset<std::string> in_flight;  // client ids
  };
  struct Request {
    cm_handle link;
    cm_reply_callback callback;
    void* user;
  };
  Link* find(cm_handle link);
  void send_open(cm_handle handle, const Link& link);
  void tell_state(cm_handle handle, std::uint32_t state, std::string_view detail);
  void on_state(const Frame& frame);
  void on_inbound(const Frame& frame);
  void on_sent(const Frame& frame);
  void on_reply(const Frame& frame);
  void on_sign(const Frame& frame);
  void give_back(cm_handle handle);

  cm_transport_v1 table_;
  std::string name_;
  Session* session_ = nullptr;
  std::map<cm_handle, Link> links_;
  std::unordered_map<std::uint64_t, Request> requests_;
  std::uint64_t next_link_ = 1;
};

}  // namespace cm::isolation
