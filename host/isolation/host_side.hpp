// What process isolation needs of the host. Implemented by host/services; keeps this room free of it.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "host/net/loop.hpp"

namespace cm::isolation {

class HostSide {
 public:
  virtual ~HostSide() = default;
  // The loop of the instance. [any]
  virtual net::Loop& loop() = 0;
  // Runs the function as a callback of the instance: timed, watched, named. Not inside another one. [loop]
  virtual void enter(const std::function<void()>& function) = 0;
  // A line in the instance's name; `level` is CM_LOG_*. [any]
  virtual void log(std::uint32_t level, std::string_view text) = 0;
  // A breach of the contract by the plugin: logged and counted. [any]
  virtual void misbehaved(std::string_view text) = 0;
  virtual void set_degraded(bool degraded) = 0;                             // [any]
  virtual void publish(std::string_view topic, std::string_view json) = 0;  // an event on the bus [any]
};

}  // namespace cm::isolation
