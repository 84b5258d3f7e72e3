#include "host/config/values.hpp"

#include <gtest/gtest.h>

#include "host/config/tests/fake_source.hpp"
#include "host/config/toml_tree.hpp"

namespace cm::config {
namespace {

TEST(SecretText, ComparesByContentAndSharesCopies) {
  const SecretText secret("abc");
  const SecretText copy = secret;  // NOLINT: the copy is what is tested
  EXPECT_EQ(copy.view().data(), secret.view().data());
  EXPECT_TRUE(secret == SecretText("abc"));
  EXPECT_FALSE(secret == SecretText("abd"));
  EXPECT_FALSE(secret == SecretText());
  EXPECT_TRUE(SecretText() == SecretText(""));
}

TEST(SourceLocation, PrintsAsEditorsWantIt) {
  EXPECT_EQ(SourceLocation().text(), "");
  EXPECT_EQ((SourceLocation{std::make_shared<const std::string>("a.toml"), 3, 4}).text(), "a.toml:3:4");
}

TEST(ValidatedOptions, PrintsInTheSpellingOfTheFile) {
  const auto report = load_text("[plugins.every]\ntags = [\"a\", \"b\"]\nratio = 0.5\n");
  ASSERT_TRUE(report.config) << all_text(report);
  const ValidatedOptions& options = report.config->instances[0].options;
  EXPECT_EQ(options.printable("timeout"), "\"30s\"");
  EXPECT_EQ(options.printable("limit"), "\"64KiB\"");
  EXPECT_EQ(options.printable("tags"), R"(["a", "b"])");
  EXPECT_EQ(options.printable("ratio"), "0.5");
  EXPECT_EQ(options.printable("flag"), "false");
  EXPECT_EQ(options.printable("token"), "(not set)");
}

TEST(Substitute, HandlesEveryForm) {
  const Environment environment({{"A", "1"}, {"E", ""}});
  EXPECT_EQ(*substitute("x${A}y$z$", environment), "x1y$z$");
  EXPECT_EQ(*substitute("${E:-d}${E}${N:-}", environment), "d");
  EXPECT_EQ(*substitute("$${A}", environment), "${A}");
  EXPECT_FALSE(substitute("${}", environment).ok());
  EXPECT_FALSE(substitute("${1A}", environment).ok());
  EXPECT_FALSE(substitute("${N}", environment).ok());
}

TEST(Substitute, IsBounded) {
  const Environment environment({{"A", std::string(40'000, 'x')}});
  EXPECT_FALSE(substitute("${A}${A}", environment).ok());
}

TEST(Environment, FindsAHome) {
  const Environment given(std::map<std::string, std::string, std::less<>>{{"HOME", "/h"}});
  EXPECT_EQ(given.home(), "/h");
  EXPECT_TRUE(Environment().home().starts_with('/'));
  EXPECT_TRUE(Environment::of_process().get("PATH").has_value());
}

}  // namespace
}  // namespace cm::config
