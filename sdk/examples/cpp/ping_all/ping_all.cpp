// A feature of the broker in C++: the request {"type":"ping_all"} shows the event "ping" to every other connection of
// the mesh and is answered with how many took it. Only admins may; who is one is what the broker says, not the frame.
//
//   [plugins.ping_all]
//   use = "ping_all"
//   broker = "broker"
#include <claudemesh/cpp/broker.hpp>
#include <claudemesh/cpp/plugin.hpp>

#include <string>

namespace {

class PingAll final : public cm::PluginInstance {
 public:
  explicit PingAll(const cm_host* host) : PluginInstance(host) {}

  std::vector<cm::TableNeed> required_tables() const override {
    return {cm::need<cm_config_v1>(CM_CONFIG_ID), cm::need<cm_registry_v1>(CM_REGISTRY_ID)};
  }

  cm::Status configure() override { return {}; }

  // What is registered here ends with our stop; nothing has to be taken back.
  void start(Done started) override {
    cm::Status status = broker_.acquire(host(), host().option_text("broker"));
    if (status.ok()) {
      status =
          broker_.serve_type("ping_all", [this](cm::BrokerMessages::Request request, const cm_broker_sender& sender,
                                                std::string_view) { ping(request, sender); });
    }
    started(status);
  }

  void stop() override { broker_.release(); }

 private:
  // Answers now; a request may be kept and answered later, too. The broker adds the request's id.
  void ping(const cm::BrokerMessages::Request& request, const cm_broker_sender& sender) {
    if ((sender.flags & CM_BROKER_ADMIN) == 0) {
      request.error("forbidden", "only admins of the mesh may ping everybody");
      return;
    }
    cm_broker_to to = {};
    to.kind = CM_BROKER_TO_MESH;
    to.mesh_id = cm::to_pview(cm::to_view(sender.mesh_id));
    to.except = sender.presence;
    cm_broker_event event = {};
    event.sender = cm::to_pview("system");
    event.subtype = cm::to_pview("system");
    event.event = cm::to_pview("ping");
    event.event_json = cm::to_pview("{}");
    const std::uint64_t reached = broker_.push_event(to, event);
    request.reply(R"({"type":"ping_all_result","reached":)" + std::to_string(reached) + "}");
  }

  cm::BrokerMessages broker_;
};

}  // namespace

CM_DEFINE_PLUGIN(PingAll);
