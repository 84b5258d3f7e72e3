// The plugin's instance: hands the life cycle of the host to the broker.
#pragma once

#include <claudemesh/cpp/plugin.hpp>

#include "plugins/ws_broker/src/broker.hpp"

namespace cm::broker {

class BrokerPlugin final : public PluginInstance {
 public:
  explicit BrokerPlugin(const cm_host* host) : PluginInstance(host), broker_(PluginInstance::host()) {}

  Status configure() override { return broker_.configure(); }
  void start(Done started) override { broker_.start(std::move(started)); }
  void drain(std::uint64_t deadline_ms, Done drained) override {
    broker_.drain(deadline_ms, [drained = std::move(drained)] { drained(Status()); });
  }
  void stop() override { broker_.stop(); }

  Broker& broker() noexcept { return broker_; }

 private:
  Broker broker_;
};

}  // namespace cm::broker
