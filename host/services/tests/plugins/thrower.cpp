// A plugin of the C++ layer that throws in the callback which the option `where` names.
#include <claudemesh/cpp/http.hpp>
#include <claudemesh/cpp/plugin.hpp>

#include <memory>
#include <stdexcept>
#include <string>

CM_PLUGIN_MANIFEST(
    "{\"id\":\"org.claudemesh.test.thrower\",\"name\":\"test_thrower\",\"version\":\"1.0.0\","
    "\"abi\":{\"min\":\"1.0\",\"built\":\"1.0\"},\"platform\":\"linux-x86_64\","
    "\"requires\":[\"cm.config/1\",\"cm.timer/1\",\"cm.worker/1\",\"cm.loop/1\",\"cm.log/1\",\"cm.http.server/1\"],"
    "\"options\":["
    "{\"name\":\"where\",\"type\":\"string\",\"default\":\"\",\"doc\":\"The callback that throws.\"},"
    "{\"name\":\"listen\",\"type\":\"address\",\"default\":\"127.0.0.1:0\",\"doc\":\"Where it listens.\"},"
    "{\"name\":\"journal\",\"type\":\"string\",\"default\":\"\",\"doc\":\"Not used.\"}]}");

namespace {

class Thrower final : public cm::PluginInstance {
 public:
  using PluginInstance::PluginInstance;

  cm::Status configure() override {
    where_ = host().option_text("where");
    listen_ = host().option_text("listen");
    throw_at("configure");
    return {};
  }
  void start(Done started) override {
    throw_at("start");
    timer_ = std::make_unique<cm::Timer>(host());
    timer_->start_ms(0, [this] { throw_at("timer"); });
    host().post([this] { throw_at("post"); });
    const cm::Status submitted = cm::run_on_worker(host(), CM_WORKER_POOL, [this] { throw_at("job"); }, {});
    cm_http_listen_options options = {};
    options.address = cm::to_pview(listen_);
    listener_ = std::make_unique<cm::HttpListener>();
    const cm::Status status = listener_->listen(host(), options);
    listener_->fallback([this](const cm::HttpRequest& request) {
      throw_at("http_request");
      request.respond(200, {}, "well");
    });
    started(submitted.ok() ? status : submitted);
  }
  void drain(std::uint64_t, Done drained) override {
    throw_at("drain");
    drained({});
  }
  void stop() override {
    timer_.reset();
    listener_.reset();
    throw_at("stop");
  }

 private:
  void throw_at(const std::string& place) const {
    if (where_ == place) {
      throw std::runtime_error("thrown on purpose in " + place);
    }
  }

  std::string where_;
  std::string listen_;
  std::unique_ptr<cm::Timer> timer_;
  std::unique_ptr<cm::HttpListener> listener_;
};

}  // namespace

CM_DEFINE_PLUGIN(Thrower);
