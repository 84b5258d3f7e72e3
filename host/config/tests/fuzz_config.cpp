// Arbitrary text as a configuration file, against a plugin with every type of option: no crash, and always either a
// configuration or problems, never both and never neither.
#include <cstdlib>

#include "host/config/describe.hpp"
#include "host/config/host_config.hpp"

namespace {

using namespace cm::config;

class OnePlugin : public ManifestSource {
 public:
  OnePlugin() {
    auto manifest = std::make_shared<Manifest>();
    manifest->id = "org.test.every";
    manifest->name = "every";
    manifest->version = "1.0.0";
    manifest->host_tables = {"cm.log/1"};
    manifest->provides = {"cm.storage/1"};
    manifest->file = "/plugins/every.so";
    for (const std::string_view type : cm::options::type_names()) {
      std::map<std::string, cm::options::RawValue, std::less<>> members{
          {"name", "o_" + std::string(type)}, {"type", std::string(type)}, {"doc", std::string("An option.")}};
      if (type == "choice") {
        members.emplace("choices", std::vector<std::string>{"a", "b"});
      }
      if (type == "plugin") {
        members.emplace("extension", std::string("cm.storage/1"));
        members.emplace("same_loop", true);
      }
      std::vector<cm::options::SpecProblem> problems;
      manifest->options.push_back(cm::options::make_option_spec(members, problems));
      if (!problems.empty()) {
        std::abort();
      }
    }
    manifest_ = std::move(manifest);
  }
  cm::Result<std::shared_ptr<const Manifest>> find(const PluginQuery& query) override {
    if (query.use == "every") {
      return manifest_;
    }
    return cm::make_error(cm::ErrorCode::kGone, "no such plugin");
  }
  std::vector<std::string> known_names(const PluginQuery&) override { return {"every"}; }

 private:
  std::shared_ptr<const Manifest> manifest_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static OnePlugin source;
  static const Environment environment({{"HOME", "/home/someone"}, {"A", "value"}});
  LoadRequest request;
  request.file = "/nonexistent/fuzz.toml";
  request.text = std::string(reinterpret_cast<const char*>(data), size);
  const LoadReport report = load_config_report(request, environment, source);
  if (report.config.has_value() != report.problems.empty() || report.problems.size() > kProblemsMax) {
    std::abort();
  }
  if (report.config && !diff_configs(*report.config, *report.config).empty()) {
    std::abort();
  }
  return 0;
}
