// One instance ends and another takes its place, while the rest of the node goes on.
#include <algorithm>
#include <utility>

#include "host/config/host_config.hpp"
#include "sdk/simhost/world.hpp"

namespace cm::sim {

bool Node::restart(std::string_view instance_name, bool orderly) {
  const auto found = std::find_if(instances_.begin(), instances_.end(),
                                  [&](const auto& instance) { return instance->name() == instance_name; });
  if (!running() || found == instances_.end()) {
    last_error = "no running instance " + std::string(instance_name);
    return false;
  }
  trace((orderly ? "restarts " : "loses ") + std::string(instance_name));
  ready_ = false;
  Instance& old = **found;
  if (orderly) {
    old.stop();
  }
  old.silence();
  old.destroy();
  old.cut_off(world_.fault_random(), 0);
  const config::InstanceConfig& wanted = old.wanted();
  const cm_factory_v1& factory = old.factory();
  ended_.push_back(std::move(*found));  // timers and posts that are still scheduled look at it and do nothing
  const cm_handle self = world_.next_handle();
  *found = std::make_unique<Instance>(*this, wanted, factory, self);
  Instance& fresh = **found;
  world_.register_instance(self, &fresh);
  if (fresh.create() != CM_OK || fresh.configure() != CM_OK) {
    last_error = "cannot make " + fresh.name() + " again: " + fresh.take_error();
    return false;
  }
  schedule_after(1, [this, &fresh] {
    fresh.start([this, &fresh](cm_status status, const std::string& text) {
      ready_ = status == CM_OK;
      if (!ready_) {
        last_error = fresh.name() + ": " + text;
      }
    });
  });
  return true;
}

bool World::restart(Node& node, std::string_view instance_name, bool orderly) {
  return node.restart(instance_name, orderly);
}

}  // namespace cm::sim
