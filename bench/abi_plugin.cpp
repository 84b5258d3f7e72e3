// A plugin that times calls into the host, from the plugin's side of the boundary, and logs nanoseconds per call.
#include <claudemesh/cpp/plugin.hpp>

namespace {

constexpr int kCalls = 2'000'000;

class AbiBench final : public cm::PluginInstance {
 public:
  using PluginInstance::PluginInstance;

  cm::Status configure() override {
    counter_ = host().counter("bench_calls_total", "", "Calls of the benchmark");
    return {};
  }

  void start(Done started) override {
    started({});
    host().post([this] { measure(); });
  }

 private:
  void measure() {
    report("on_loop", [this] { sum_ += host().on_loop() ? 1u : 0u; });
    report("metrics.add", [this] { counter_.add(); });
    report("clock.monotonic_us", [this] { sum_ += host().monotonic_us(); });
    host().log(cm::LogLevel::kInfo, "measured all calls", {{"checksum", sum_}});
  }

  template <typename Call>
  void report(const char* name, Call&& call) {
    const std::uint64_t start_us = host().monotonic_us();
    for (int i = 0; i < kCalls; ++i) {
      call();
    }
    const double nanoseconds = static_cast<double>(host().monotonic_us() - start_us) * 1e3 / kCalls;
    host().log(cm::LogLevel::kInfo, "measured", {{"call", name}, {"ns", nanoseconds}});
  }

  cm::Metric counter_;
  std::uint64_t sum_ = 0;
};

}  // namespace

CM_DEFINE_PLUGIN(AbiBench);
