#include "host/config/describe.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/config/tests/fake_source.hpp"

namespace cm::config {
namespace {

using ::testing::HasSubstr;

TEST(Describe, NamesEveryOptionEverywhere) {
  const auto manifests = test_manifests();
  const std::string markdown = config_reference_markdown(manifests);
  const std::string schema = config_json_schema(manifests);
  for (const auto& manifest : manifests) {
    for (const OptionSpec& spec : manifest->options) {
      EXPECT_THAT(markdown, HasSubstr("| `" + spec.name + "` |"));
      EXPECT_THAT(schema, HasSubstr("\"" + spec.name + "\":{"));
      EXPECT_THAT(describe_text(*manifest), HasSubstr(spec.name + " = "));
    }
  }
  for (const SectionSpec& section : host_sections()) {
    EXPECT_THAT(markdown, HasSubstr("`[" + section.name + "]`"));
    for (const OptionSpec& spec : section.options) {
      EXPECT_THAT(markdown, HasSubstr("| `" + spec.name + "` |"));
    }
  }
  for (const OptionSpec& spec : instance_section().options) {
    EXPECT_THAT(markdown, HasSubstr("| `" + spec.name + "` |"));
  }
}

TEST(Describe, SaysWhatIsRequiredSecretAndReloadable) {
  const auto manifests = test_manifests();
  EXPECT_THAT(describe_text(*manifests[1]), HasSubstr("path = ...  # required"));
  EXPECT_THAT(describe_json_schema(*manifests[1]), HasSubstr(R"("allOf":[{"anyOf":[{"required":["path"]}]}])"));
  EXPECT_THAT(describe_markdown(*manifests[0]), HasSubstr("token_file = \"/path\""));
  EXPECT_THAT(describe_markdown(*manifests[0]), HasSubstr("reloadable; old name: number"));
}

TEST(Describe, TheDescribedTextIsAConfiguration) {
  // What `describe` prints, with its comments, must itself be read without a complaint.
  std::string text_form = describe_text(*test_manifests()[0]);
  text_form = text_form.substr(text_form.find("[plugins.NAME]"));
  text_form.replace(text_form.find("NAME"), 4, "name");
  const LoadReport report = load_text(text_form);
  EXPECT_TRUE(report.config) << all_text(report) << text_form;
}

}  // namespace
}  // namespace cm::config
