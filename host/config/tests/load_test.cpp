#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "host/config/tests/fake_source.hpp"

namespace cm::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

TEST(ConfigLoad, FillsDefaults) {
  const LoadReport report = load_text("[plugins.every]\n");
  ASSERT_TRUE(report.config) << all_text(report);
  EXPECT_EQ(report.config->host.threads, 1U);
  EXPECT_EQ(report.config->host.workers, 4U);
  EXPECT_EQ(report.config->host.data_dir, "/home/someone/.local/share/claudemesh");
  EXPECT_EQ(report.config->host.drain_timeout_ms, 10'000U);
  ASSERT_THAT(report.config->instances, SizeIs(1));
  const InstanceConfig& instance = report.config->instances[0];
  EXPECT_EQ(instance.manifest->name, "every");
  EXPECT_THAT(instance.permissions, ElementsAre("cm.log/1", "cm.timer/1"));
  EXPECT_EQ(*instance.options.get_int("count"), 3);
  EXPECT_EQ(*instance.options.get_int("timeout"), 30'000);
  EXPECT_EQ(*instance.options.get_int("limit"), 65'536);
  EXPECT_EQ(*instance.options.get_text("file_name"), "/home/someone/.local/share/claudemesh/every.db");
  EXPECT_EQ(instance.options.get_text("title").error().code, ErrorCode::kGone);
  EXPECT_EQ(instance.options.get_text("count").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(instance.options.get_int("nothing").error().code, ErrorCode::kInvalid);
}

TEST(ConfigLoad, ReadsEveryType) {
  const LoadReport report = load_text(R"([host]
threads = 2
data_dir = "data"
[log]
level = "debug"
format = "json"
[log.levels]
a = "trace"
[ops]
listen = "unix:ops.sock"
[plugins.a]
use = "every"
flag = true
count = "${COUNT}"
ratio = 2
title = "$${literal} ${MISSING:-fallback}${EMPTY}"
timeout = "1h30m"
limit = 512
file_name = "~/x/../y"
listen = "127.0.0.1:${PORT}"
token = "${TOKEN}"
mode = "safe"
tags = ["one", "${PORT}"]
permissions = ["cm.log/1"]
loop = 1
)");
  ASSERT_TRUE(report.config) << all_text(report);
  const HostConfig& config = *report.config;
  EXPECT_EQ(config.host.data_dir, "/etc/cm/data");
  EXPECT_EQ(config.ops.listen, "unix:/etc/cm/ops.sock");
  EXPECT_EQ(config.log.format, LogFormat::kJson);
  EXPECT_EQ(config.log.level_of("a"), LogLevel::kTrace);
  EXPECT_EQ(config.log.level_of("b"), LogLevel::kDebug);
  const ValidatedOptions& options = config.instances.at(0).options;
  EXPECT_TRUE(*options.get_bool("flag"));
  EXPECT_EQ(*options.get_int("count"), 7);
  EXPECT_EQ(*options.get_float("ratio"), 2.0);
  EXPECT_EQ(*options.get_text("title"), "${literal} fallback");
  EXPECT_EQ(*options.get_int("timeout"), 5'400'000);
  EXPECT_EQ(*options.get_int("limit"), 512);
  EXPECT_EQ(*options.get_text("file_name"), "/home/someone/y");
  EXPECT_EQ(*options.get_text("listen"), "127.0.0.1:8080");
  EXPECT_EQ(*options.get_text("token"), "hunter2hunter2");
  EXPECT_EQ(options.printable("token"), "(secret)");
  EXPECT_EQ(*options.get_text("mode"), "safe");
  EXPECT_THAT(*options.get_list("tags"), ElementsAre("one", "8080"));
  EXPECT_THAT(config.instances[0].permissions, ElementsAre("cm.log/1"));
  EXPECT_EQ(config.instances[0].loop, 1U);
  EXPECT_EQ(options.find("mode")->where.text(), "/etc/cm/test.toml:22:8");
}

struct BadInput {
  std::string toml;
  std::string place;  // "line:column"
  std::vector<std::string> words;
};

class ConfigBadInput : public ::testing::TestWithParam<BadInput> {};

TEST_P(ConfigBadInput, IsRefusedWithPlaceAndReason) {
  const LoadReport report = load_text(GetParam().toml);
  ASSERT_FALSE(report.config) << "accepted: " << GetParam().toml;
  const std::string all = all_text(report);
  EXPECT_THAT(all, StartsWith("/etc/cm/test.toml:" + GetParam().place + ": "));
  for (const std::string& word : GetParam().words) {
    EXPECT_THAT(all, HasSubstr(word));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, ConfigBadInput,
    ::testing::Values(
        BadInput{"[host\n", "1:6", {"not TOML"}}, BadInput{"x = 1\nx = 2\n", "2:5", {"not TOML"}},
        BadInput{"[hots]\n", "1:2", {"did you mean \"host\""}},
        BadInput{"host = 5\n", "1:8", {"found the integer 5", "expected a table"}},
        BadInput{"[host]\nthreads = 0\n", "2:11", {"found the integer 0", "from 1 to 256"}},
        BadInput{"[host]\nthread = 1\n", "2:1", {"did you mean \"threads\""}},
        BadInput{"[log]\nlevel = \"loud\"\n", "2:9", {"\"loud\"", "\"trace\""}},
        BadInput{"[log.levels]\nevry = \"info\"\n[plugins.every]\n", "2:1", {"did you mean \"every\""}},
        BadInput{"plugins = 1\n", "1:1", {"expected tables [plugins.NAME]"}},
        BadInput{"[plugins.Every]\n", "1:10", {"found the instance name \"Every\""}},
        BadInput{"[plugins.a]\nuse = \"evry\"\n", "2:7", {"no plugin is called", "did you mean \"every\""}},
        BadInput{"[plugins.a]\nuse = 5\n", "2:7", {"found the integer 5"}},
        BadInput{"[plugins.every]\nconut = 5\n", "2:1", {"has no key \"conut\"", "did you mean \"count\""}},
        BadInput{"[plugins.every]\nsecrit.x = 5\n", "2:1", {"has no table \"secrit\""}},
        BadInput{
            "[plugins.every]\ncount = \"5\"\n", "2:9", {"found the text \"5\"", "expected an integer from 1 to 10"}},
        BadInput{"[plugins.every]\ncount = 11\n", "2:9", {"found the integer 11"}},
        BadInput{"[plugins.every]\ntimeout = 30\n", "2:11", {"expected a duration"}},
        BadInput{"[plugins.every]\ntimeout = 1979-05-27\n", "2:11", {"found a date or time"}},
        BadInput{"[plugins.every]\ntags = [\"a\", 5]\n", "2:14", {"found the integer 5 in a list"}},
        BadInput{"[plugins.every]\nlisten = \"nowhere\"\n", "2:10", {"\"host:port\""}},
        BadInput{"[plugins.every]\ntitle = \"${NOPE}\"\n", "2:9", {"environment variable NOPE is not set"}},
        BadInput{"[plugins.every]\ntitle = \"${NOPE\"\n", "2:9", {"without \"}\""}},
        BadInput{"[plugins.every]\nfile_name = \"~root/x\"\n", "2:13", {"\"~/...\""}},
        BadInput{"[plugins.every]\ncount = 1\nnumber = 2\n", "3:1", {"sets count twice"}},
        BadInput{"[plugins.every]\nsha256 = \"abc\"\n", "2:10", {"length"}},
        BadInput{"[plugins.every]\nloop = 1\n", "2:8", {"expected 0 to 0"}},
        BadInput{"[plugins.every]\npermissions = [\"cm.tmer/1\"]\n", "2:15", {"did you mean \"cm.timer/1\""}},
        BadInput{"[plugins.every]\ntoken_file = \"/does/not/exist\"\n", "2:14", {"cannot be read"}},
        BadInput{"[plugins.store]\n", "1:1", {"does not set path", "add path = ..."}},
        BadInput{"[plugins.user]\nstorage = \"disk\"\n", "2:11", {"there is no instance \"disk\"", "cm.storage/1"}},
        BadInput{"[plugins.user]\nstorage = \"every\"\n[plugins.every]\n", "2:11", {"does not provide cm.storage/1"}},
        BadInput{"[plugins.user]\nstorage = \"every\"\n[plugins.every]\nenabled = false\n", "2:11", {"is disabled"}},
        BadInput{"[plugins.user]\nfriends = [\"user\"]\n", "2:11", {"in a circle: user -> user"}},
        BadInput{"include = [\"/does/not/exist.toml\"]\n", "1:12", {"cannot be read"}},
        BadInput{"include = \"x.toml\"\n", "1:11", {"expected a list of files"}}));

TEST(ConfigLoad, ReportsSeveralProblemsSorted) {
  const LoadReport report = load_text("[plugins.every]\ncount = 0\nbad = 1\n[host]\nthreads = 0\n");
  ASSERT_THAT(report.problems, SizeIs(3));
  EXPECT_EQ(report.problems[0].where.line, 2U);
  EXPECT_EQ(report.problems[1].where.line, 3U);
  EXPECT_EQ(report.problems[2].where.line, 5U);
}

TEST(ConfigLoad, LimitsTheNumberOfProblems) {
  std::string toml = "[plugins.every]\n";
  for (int index = 0; index < 30; ++index) {
    toml += "zzz_unknown_" + std::to_string(index) + " = 1\n";
  }
  const LoadReport report = load_text(toml);
  EXPECT_THAT(report.problems, SizeIs(kProblemsMax));
  EXPECT_EQ(report.problems_left_out, 10U);
}

TEST(ConfigLoad, NeverShowsSecrets) {
  const LoadReport report =
      load_text("[plugins.every]\ntoken = \"xyz\"\ncount = \"${TOKEN}\"\nmode = \"${TOKEN}\"\nlisten = \"${TOKEN}\"\n");
  ASSERT_THAT(report.problems, SizeIs(4));
  EXPECT_THAT(all_text(report), Not(HasSubstr("xyz")));
  EXPECT_THAT(all_text(report), Not(HasSubstr("hunter2")));
}

TEST(ConfigLoad, WarnsOfOldNames) {
  const LoadReport report = load_text("[plugins.every]\nnumber = 5\nlegacy = 1\n");
  ASSERT_TRUE(report.config) << all_text(report);
  EXPECT_EQ(*report.config->instances[0].options.get_int("count"), 5);
  ASSERT_THAT(report.config->warnings, SizeIs(2));
  EXPECT_THAT(report.config->warnings[0].line(), HasSubstr("test.toml:2:1: [plugins.every]: number is the old name"));
  EXPECT_THAT(report.config->warnings[1].text, HasSubstr("deprecated: use count"));
}

TEST(ConfigLoad, OrdersByDependencyAndGroupsLoops) {
  const LoadReport report = load_text(R"([host]
threads = 4
[plugins.z]
use = "user"
storage = "disk"
friends = ["every"]
[plugins.every]
loop = 3
[plugins.alone]
use = "every"
[plugins.disk]
use = "store"
path = "/x"
)");
  ASSERT_TRUE(report.config) << all_text(report);
  std::vector<std::string> order;
  for (const InstanceConfig& instance : report.config->instances) {
    order.push_back(instance.name);
  }
  EXPECT_THAT(order, ElementsAre("every", "alone", "disk", "z"));
  const InstanceConfig& z = *report.config->find("z");
  EXPECT_THAT(z.depends_on, ElementsAre("disk", "every"));
  EXPECT_EQ(z.loop_group, report.config->find("every")->loop_group);
  EXPECT_NE(z.loop_group, report.config->find("alone")->loop_group);
  EXPECT_EQ(z.loop, 3U);
  EXPECT_EQ(report.config->loop_group_count, 3U);
}

TEST(ConfigLoad, RefusesContradictingLoops) {
  const LoadReport report =
      load_text("[host]\nthreads = 2\n[plugins.user]\nfriends = [\"every\"]\nloop = 0\n[plugins.every]\nloop = 1\n");
  EXPECT_THAT(all_text(report), HasSubstr("shares its loop with user"));
}

TEST(ConfigLoad, NamesTheCircle) {
  const LoadReport report =
      load_text("[plugins.a]\nuse = \"user\"\nfriends = [\"b\"]\n[plugins.b]\nuse = \"user\"\nfriends = [\"a\"]\n");
  EXPECT_THAT(all_text(report), HasSubstr("a -> b -> a"));
}

TEST(ConfigLoad, RefusesTwoLibrariesWithOneId) {
  auto copy = std::make_shared<Manifest>(*test_manifests()[0]);
  copy->file = "/other/every.so";
  auto manifests = test_manifests();
  manifests.push_back(copy);
  FakeSource source(manifests);
  const LoadReport report =
      load_text("[plugins.a]\nuse = \"every\"\n[plugins.b]\nfile = \"/other/every.so\"\n", source);
  EXPECT_THAT(all_text(report), HasSubstr("second copy of org.test.every"));
}

TEST(ConfigLoad, AsksTheSourceForWhatTheFileSays) {
  FakeSource source;
  const std::string pin(64, 'a');
  const LoadReport report = load_text("[host]\nplugin_path = [\"p\"]\nsafe_mode = true\n[plugins.every]\nsha256 = \"" +
                                          pin + "\"\nfile = \"/plugins/every.so\"\n",
                                      source);
  ASSERT_TRUE(report.config) << all_text(report);
  ASSERT_THAT(source.queries, SizeIs(1));
  EXPECT_EQ(source.queries[0].sha256, pin);
  EXPECT_EQ(source.queries[0].file, "/plugins/every.so");
  EXPECT_TRUE(source.queries[0].bundled_only);
  EXPECT_THAT(source.queries[0].plugin_path, ElementsAre(std::filesystem::path("/etc/cm/p")));
}

TEST(ConfigLoad, SkipsDisabledInstancesUnlooked) {
  const LoadReport report = load_text("[plugins.gone]\nuse = \"not_installed\"\nenabled = false\nwhatever = 1\n");
  ASSERT_TRUE(report.config) << all_text(report);
  EXPECT_THAT(report.config->instances, IsEmpty());
  EXPECT_THAT(report.config->disabled, ElementsAre("gone"));
}

TEST(ConfigInclude, LaterKeysWinWithANote) {
  const TemporaryFolder folder;
  folder.write("common.toml",
               "[host]\nthreads = 2\nworkers = 9\n[plugins.every]\ncount = 4\nfile_name = \"here.db\"\n");
  const auto main_file = folder.write("main.toml", "include = [\"common.toml\"]\n[plugins.every]\ncount = 5\n");
  FakeSource source;
  LoadRequest request;
  request.file = main_file;
  const LoadReport report = load_config_report(request, test_environment(), source);
  ASSERT_TRUE(report.config) << all_text(report);
  EXPECT_EQ(report.config->host.threads, 2U);
  EXPECT_EQ(report.config->host.workers, 9U);
  const ValidatedOptions& options = report.config->instances.at(0).options;
  EXPECT_EQ(*options.get_int("count"), 5);
  EXPECT_EQ(*options.get_text("file_name"), (folder.path() / "here.db").string());
  ASSERT_THAT(report.config->warnings, SizeIs(1));
  EXPECT_THAT(report.config->warnings[0].text, HasSubstr("plugins.every.count replaces the value from"));
  EXPECT_THAT(report.config->warnings[0].text, HasSubstr("common.toml:5:1"));
}

TEST(ConfigInclude, FindsCircles) {
  const TemporaryFolder folder;
  folder.write("b.toml", "include = [\"a.toml\"]\n");
  const auto first = folder.write("a.toml", "include = [\"b.toml\"]\n");
  FakeSource source;
  const auto result = load_config(first, test_environment(), source);
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, HasSubstr("b.toml:1:12: files include each other in a circle"));
}

TEST(ConfigInclude, IsBoundedInDepthAndSize) {
  const TemporaryFolder folder;
  for (int index = 0; index < 12; ++index) {
    folder.write(std::to_string(index) + ".toml", "include = [\"" + std::to_string(index + 1) + ".toml\"]\n");
  }
  FakeSource source;
  const auto deep = load_config(folder.path() / "0.toml", test_environment(), source);
  ASSERT_FALSE(deep.ok());
  EXPECT_THAT(deep.error().message, HasSubstr("too many includes"));
  const auto large = folder.write("large.toml", "# " + std::string(kConfigBytesMax, 'x'));
  EXPECT_THAT(load_config(large, test_environment(), source).error().message, HasSubstr("larger than 1MiB"));
  EXPECT_THAT(load_config(folder.path(), test_environment(), source).error().message,
              HasSubstr("expected a TOML file"));
  EXPECT_THAT(load_config(folder.path() / "none.toml", test_environment(), source).error().message,
              HasSubstr("cannot be read"));
}

TEST(ConfigSecret, ReadsAPrivateFileAndDropsOneNewline) {
  const TemporaryFolder folder;
  const auto file = folder.write("token", "s3cret-value\n");
  ::chmod(file.c_str(), 0600);
  const LoadReport report = load_text("[plugins.every]\ntoken_file = \"" + file.string() + "\"\n");
  ASSERT_TRUE(report.config) << all_text(report);
  EXPECT_EQ(*report.config->instances[0].options.get_text("token"), "s3cret-value");
}

TEST(ConfigSecret, RefusesAFileThatOthersCanRead) {
  const TemporaryFolder folder;
  const auto file = folder.write("token", "s3cret-value\n");
  ::chmod(file.c_str(), 0644);
  const LoadReport report = load_text("[plugins.every]\ntoken_file = \"" + file.string() + "\"\n");
  EXPECT_THAT(all_text(report), HasSubstr("can be used by others (mode 0644)"));
  EXPECT_THAT(all_text(report), HasSubstr("chmod 600"));
  EXPECT_THAT(all_text(report), Not(HasSubstr("s3cret")));
}

}  // namespace
}  // namespace cm::config
