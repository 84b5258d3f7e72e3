// The plugin instance: cm.transport/1 over its links.
#pragma once

#include <claudemesh/cpp/plugin.hpp>

#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>

#include "plugins/broker_link/src/link.hpp"
#include "plugins/broker_link/src/signaling.hpp"

namespace cm::broker_link {

inline constexpr std::size_t kLinksMax = 4'096;

class BrokerLink final : public PluginInstance {
 public:
  explicit BrokerLink(const cm_host* host) : PluginInstance(host), signaling_(PluginInstance::host()) {}

  std::vector<TableNeed> required_tables() const override {
    return {need<cm_loop_v1>(CM_LOOP_ID),     need<cm_timer_v1>(CM_TIMER_ID),   need<cm_clock_v1>(CM_CLOCK_ID),
            need<cm_random_v1>(CM_RANDOM_ID), need<cm_config_v1>(CM_CONFIG_ID), need<cm_websocket_v1>(CM_WEBSOCKET_ID)};
  }
  Status configure() override;
  void start(Done started) override;
  void stop() override;
  const void* extension(std::string_view extension_id) override;

 private:
  static BrokerLink* self_of(void* instance) noexcept;
  static cm_text_hview table_name(void* instance) noexcept;
  static cm_status table_open(void* instance, const cm_link_identity* identity, const cm_link_callbacks* callbacks,
                              void* user, cm_handle* out_link) noexcept;
  static void table_close(void* instance, cm_handle link) noexcept;
  static cm_status table_send(void* instance, cm_handle link, const cm_outbound* messages, std::uint64_t count,
                              std::uint64_t* out_taken) noexcept;
  static cm_status table_acknowledge(void* instance, cm_handle link, cm_text_pview message_id,
                                     cm_text_pview client_message_id) noexcept;
  static cm_status table_request(void* instance, cm_handle link, cm_text_pview json, std::uint64_t timeout_ms,
                                 cm_reply_callback callback, void* user) noexcept;
  static const cm_transport_v1 kTable;

  cm_status open(const cm_link_identity& identity, const cm_link_callbacks& callbacks, void* user, cm_handle* out_link);
  void close(cm_handle link);
  Link* find(cm_handle link) noexcept;

  static const cm_signaling_v1 kSignaling;
  static cm_status table_attach(void* instance, cm_handle caller, const cm_signaling_identity* identity,
                                const cm_signaling_callbacks* callbacks, void* user,
                                cm_handle* out_attachment) noexcept;
  Link* link_of(const cm_signaling_identity& identity) noexcept;

  Signaling signaling_;
  LinkOptions options_;
  LinkMetrics metrics_;
  bool running_ = false;
  cm_handle next_ = 1;  // never reused
  std::unordered_map<cm_handle, std::unique_ptr<Link>> links_;
  std::unordered_map<cm_handle, std::unique_ptr<Link>> closing_;
};

}  // namespace cm::broker_link
