// The plugin's instance: hands the life cycle of the host to the broker.
#pragma once

#include <claudemesh/cpp/plugin.hpp>

#include "plugins/ws_broker/src/broker.hpp"

namespace cm::broker {

class BrokerPlugin final : public PluginInstance {
 public:
  explicit BrokerPlugin(const cm_host* host) : PluginInstance(host), broker_(PluginInstance::host()) {}

  std::vector<TableNeed> required_tables() const override {
    return {need<cm_buffer_v1>(CM_BUFFER_ID),
            need<cm_loop_v1>(CM_LOOP_ID),
            need<cm_timer_v1>(CM_TIMER_ID),
            need<cm_clock_v1>(CM_CLOCK_ID),
            need<cm_random_v1>(CM_RANDOM_ID),
            need<cm_config_v1>(CM_CONFIG_ID),
            need<cm_registry_v1>(CM_REGISTRY_ID),
            need<cm_http_server_v1>(CM_HTTP_SERVER_ID),
            TableNeed{CM_WEBSOCKET_ID, CM_WEBSOCKET_V1_BYTES_MIN}};
  }
  Status configure() override { return broker_.configure(); }
  void start(Done started) override { broker_.start(std::move(started)); }
  void drain(std::uint64_t deadline_ms, Done drained) override {
    broker_.drain(deadline_ms, [drained = std::move(drained)] { drained(Status()); });
  }
  void stop() override { broker_.stop(); }
  const void* extension(std::string_view extension_id) override;

  Broker& broker() noexcept { return broker_; }

 private:
  Broker broker_;
};

}  // namespace cm::broker
