#include "host/services/isolated.hpp"

#include "host/loader/discovery.hpp"
#include "host/services/calls.hpp"
#include "host/services/instance.hpp"
#include "host/services/services.hpp"

namespace cm::host {

namespace {

// Lives as long as the IsolatedPlugin; the instance outlives everything.
class InstanceSide final : public isolation::HostSide {
 public:
  explicit InstanceSide(Instance& instance) : instance_(instance) {}

  net::Loop& loop() override { return instance_.loop_thread().loop(); }
  void enter(const std::function<void()>& function) override {
    cm::host::enter(instance_, CallbackKind::kRemote, function);
  }
  void log(std::uint32_t level, std::string_view text) override { instance_.log(static_cast<LogLevel>(level), text); }
  void misbehaved(std::string_view text) override { instance_.misbehaved(text); }
  void set_degraded(bool degraded) override { instance_.set_degraded(degraded); }
  void publish(std::string_view topic, std::string_view json) override {
    if (const Status published = instance_.services().events.publish(topic, json); !published) {
      instance_.services().log.host(LogLevel::kWarn, "an event was not published: " + published.error().message);
    }
  }

 private:
  Instance& instance_;
};

}  // namespace

std::unique_ptr<isolation::IsolatedPlugin> make_isolated(const config::InstanceConfig& config,
                                                         config::LogLevel log_level, Instance& instance) {
  isolation::IsolatedPluginOptions options;
  options.name = config.name;
  options.sha256 = config.sha256;
  options.manifest = config.manifest;
  for (const std::string& id : config.manifest->host_tables) {
    if (config.granted(id)) {
      options.tables.push_back(id);
    }
  }
  options.log_level = static_cast<std::uint32_t>(log_level);
  options.settings = config.isolation;
  return std::make_unique<isolation::IsolatedPlugin>(std::move(options), std::make_unique<InstanceSide>(instance));
}

Status check_isolated(const config::InstanceConfig& config) {
  const config::Manifest& manifest = *config.manifest;
  if (Status fits = loader::check_compatible(manifest); !fits || manifest.is_builtin()) {
    return fits;
  }
  if (Status trusted = loader::check_trusted(manifest.file); !trusted) {
    return trusted;
  }
  return config.sha256.empty() ? Status() : loader::check_pin(manifest.file, config.sha256);
}

}  // namespace cm::host
