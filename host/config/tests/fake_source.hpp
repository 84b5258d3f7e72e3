// Manifests without files.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "host/config/host_config.hpp"
#include "tests/support/temporary_folder.hpp"

namespace cm::config {

using cm::test::TemporaryFolder;

using Members = std::map<std::string, options::RawValue, std::less<>>;
using Words = std::vector<std::string>;

inline std::string text(std::string_view value) {
  return std::string(value);
}

inline std::shared_ptr<Manifest> make_manifest(const std::string& name, const std::vector<Members>& tables,
                                               Words provides = {}) {
  auto manifest = std::make_shared<Manifest>();
  manifest->id = "org.test." + name;
  manifest->name = name;
  manifest->version = "1.0.0";
  manifest->description = "A plugin of the tests.";
  manifest->license = "MIT";
  manifest->host_tables = {"cm.log/1", "cm.timer/1"};
  manifest->provides = std::move(provides);
  manifest->file = "/plugins/" + name + ".so";
  std::vector<options::SpecProblem> problems;
  for (Members members : tables) {
    members.emplace("doc", text("An option of the tests."));
    manifest->options.push_back(options::make_option_spec(members, problems));
  }
  for (const auto& problem : problems) {
    ADD_FAILURE() << problem.text;
  }
  return manifest;
}

// One plugin with an option of every type, one that provides storage, one that uses both.
inline std::vector<std::shared_ptr<const Manifest>> test_manifests() {
  return {
      make_manifest("every", {{{"name", text("flag")}, {"type", text("bool")}, {"default", false}},
                              {{"name", text("count")},
                               {"type", text("int")},
                               {"min", std::int64_t{1}},
                               {"max", std::int64_t{10}},
                               {"default", std::int64_t{3}},
                               {"alias", text("number")},
                               {"reloadable", true}},
                              {{"name", text("ratio")}, {"type", text("float")}},
                              {{"name", text("title")}, {"type", text("string")}},
                              {{"name", text("timeout")}, {"type", text("duration")}, {"default", text("30s")}},
                              {{"name", text("limit")}, {"type", text("size")}, {"default", text("64KiB")}},
                              {{"name", text("file_name")}, {"type", text("path")}, {"default", text("every.db")}},
                              {{"name", text("listen")}, {"type", text("address")}},
                              {{"name", text("token")}, {"type", text("secret")}, {"min", std::int64_t{4}}},
                              {{"name", text("mode")}, {"type", text("choice")}, {"choices", Words{"fast", "safe"}}},
                              {{"name", text("tags")}, {"type", text("list")}},
                              {{"name", text("legacy")}, {"type", text("int")}, {"deprecated", text("use count")}}}),
      make_manifest("store", {{{"name", text("path")}, {"type", text("path")}, {"required", true}}}, {"cm.storage/1"}),
      make_manifest("user", {{{"name", text("storage")}, {"type", text("plugin")}, {"extension", text("cm.storage/1")}},
                             {{"name", text("friends")},
                              {"type", text("list")},
                              {"list_of", text("plugin")},
                              {"default", Words{}},
                              {"same_loop", true}},
                             {{"name", text("speed")}, {"type", text("int")}, {"default", std::int64_t{1}}}}),
  };
}

class FakeSource : public ManifestSource {
 public:
  explicit FakeSource(std::vector<std::shared_ptr<const Manifest>> manifests = test_manifests())
      : manifests_(std::move(manifests)) {}

  Result<std::shared_ptr<const Manifest>> find(const PluginQuery& query) override {
    queries.push_back(query);
    for (const auto& manifest : manifests_) {
      if (manifest->name == query.use || (!query.file.empty() && manifest->file == query.file)) {
        return manifest;
      }
    }
    return make_error(ErrorCode::kGone, "no plugin is called " + query.use + ", expected one in /plugins");
  }
  std::vector<std::string> known_names(const PluginQuery&) override {
    std::vector<std::string> names;
    for (const auto& manifest : manifests_) {
      names.push_back(manifest->name);
    }
    return names;
  }

  std::vector<PluginQuery> queries;

 private:
  std::vector<std::shared_ptr<const Manifest>> manifests_;
};

inline Environment test_environment() {
  return Environment(
      {{"HOME", "/home/someone"}, {"PORT", "8080"}, {"COUNT", "7"}, {"TOKEN", "hunter2hunter2"}, {"EMPTY", ""}});
}

inline LoadReport load_text(const std::string& toml, FakeSource& source) {
  LoadRequest request;
  request.file = "/etc/cm/test.toml";
  request.text = toml;
  return load_config_report(request, test_environment(), source);
}

inline LoadReport load_text(const std::string& toml) {
  FakeSource source;
  return load_text(toml, source);
}

inline std::string all_text(const LoadReport& report) {
  std::string out;
  for (const Problem& problem : report.problems) {
    out += problem.line() + "\n";
  }
  return out;
}

}  // namespace cm::config
