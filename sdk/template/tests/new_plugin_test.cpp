// Goal: `plugin new` refuses what would not build, never writes into a folder with content, and leaves no placeholder
// in what it makes. That the folders build and run is judged by tests/sdk.
#include "sdk/template/new_plugin.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>

#include "tests/support/temporary_folder.hpp"

namespace cm::sdk {
namespace {

NewPluginArguments arguments(const std::string& kind, const std::string& language) {
  NewPluginArguments result;
  result.kind = kind;
  result.name = "word_guard";
  result.language = language;
  return result;
}

class NewPlugin : public testing::Test {
 protected:
  const test::TemporaryFolder temporary_folder_;
  const std::filesystem::path folder_ = temporary_folder_.path();
};

// Every kind in every language.
const std::vector<std::string> kAll = {"c", "cpp", "rust"};
const std::vector<std::pair<std::string, std::vector<std::string>>> kOffered = {
    {"hook", kAll}, {"transport", kAll}, {"storage", kAll}, {"bridge", kAll}};

TEST_F(NewPlugin, WhatIsOfferedHasAllItsPartsAndNoPlaceholder) {
  for (const auto& [kind, languages] : kOffered) {
    EXPECT_EQ(languages_with(template_files(), kind), languages);
    for (const std::string& language : languages) {
      const auto checked = check_arguments(arguments(kind, language));
      ASSERT_TRUE(checked.ok());
      std::set<std::string> names;
      for (const NewFile& file : expand_templates(template_files(), *checked)) {
        EXPECT_TRUE(names.insert(file.path.generic_string()).second) << file.path << " twice in " << language << kind;
        EXPECT_EQ(file.text.find("{{name"), std::string::npos) << file.path;
        EXPECT_EQ(file.text.find("__name__"), std::string::npos) << file.path;
        EXPECT_FALSE(file.text.empty()) << file.path;
      }
      for (const char* wanted : {"plugin.toml", "check.toml", "README.md", ".gitignore", ".github/workflows/ci.yml"}) {
        EXPECT_TRUE(names.contains(wanted)) << wanted << " is missing in " << language << " " << kind;
      }
      EXPECT_TRUE(names.contains(language == "rust" ? "Cargo.toml" : "CMakeLists.txt"));
    }
  }
}

TEST_F(NewPlugin, TheIdTheLicenceAndTheNameStandInTheManifest) {
  NewPluginArguments wanted = arguments("hook", "c");
  wanted.license = "Apache-2.0";
  wanted.id = "net.example.guard";
  const auto checked = check_arguments(wanted);
  ASSERT_TRUE(checked.ok());
  for (const NewFile& file : expand_templates(template_files(), *checked)) {
    if (file.path == "plugin.toml") {
      EXPECT_THAT(file.text, testing::HasSubstr("id = \"net.example.guard\""));
      EXPECT_THAT(file.text, testing::HasSubstr("license = \"Apache-2.0\""));
      EXPECT_THAT(file.text, testing::HasSubstr("name = \"word_guard\""));
    }
  }
}

TEST_F(NewPlugin, WrongWordsAreRefusedWithWhatIsExpected) {
  const auto refused = [](NewPluginArguments wrong, const char* part) {
    const auto checked = check_arguments(std::move(wrong));
    ASSERT_FALSE(checked.ok());
    EXPECT_THAT(checked.error().message, testing::HasSubstr(part));
    EXPECT_THAT(checked.error().message, testing::HasSubstr("; expected"));
  };
  refused(arguments("pigeon", "c"), "transport, storage, hook, bridge");
  refused(arguments("hook", "go"), "c, cpp, rust");
  for (const char* name : {"", "9lives", "Guard", "a-b", "../up", "with space", "crate", "int"}) {
    NewPluginArguments wrong = arguments("hook", "c");
    wrong.name = name;
    wrong.id = "org.example.x";
    refused(wrong, "found the name");
  }
  for (const char* id : {"guard", "Org.example", "org..example", "org.example.", "org/example.x"}) {
    NewPluginArguments wrong = arguments("hook", "c");
    wrong.id = id;
    refused(wrong, "found the id");
  }
  NewPluginArguments wrong = arguments("hook", "c");
  wrong.license = "MIT\"\nkinds = []";
  refused(wrong, "found the licence");
}

TEST_F(NewPlugin, ALanguageIsOfferedWhereTheKindHasAManifest) {
  const TemplateFile files[] = {
      {"c/hook/plugin.toml", "x"}, {"cpp/hook/src/a.cpp", "x"}, {"rust/hook/plugin.toml", "x"}};
  EXPECT_THAT(languages_with(files, "hook"), testing::ElementsAre("c", "rust"));
  EXPECT_THAT(languages_with(files, "bridge"), testing::IsEmpty());
}

TEST_F(NewPlugin, AFolderWithContentIsLeftAlone) {
  std::ofstream(folder_ / "mine.txt") << "mine";
  NewPluginArguments wanted = arguments("hook", "c");
  wanted.directory = folder_;
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(verb_plugin_new(wanted, out, err), 1);
  EXPECT_THAT(err.str(), testing::HasSubstr("expected a new or an empty folder"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(NewPlugin, AnEmptyFolderIsFilledAndToldAsJson) {
  NewPluginArguments wanted = arguments("hook", "c");
  wanted.directory = folder_;
  wanted.json = true;
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(verb_plugin_new(wanted, out, err), 0) << err.str();
  EXPECT_THAT(out.str(), testing::StartsWith("{\"ok\":true,"));
  EXPECT_THAT(out.str(), testing::HasSubstr("\"plugin.toml\""));
  EXPECT_TRUE(std::filesystem::exists(folder_ / ".github/workflows/ci.yml"));
  EXPECT_EQ(verb_plugin_new(wanted, out, err), 1);  // it is not empty any more
}

}  // namespace
}  // namespace cm::sdk
