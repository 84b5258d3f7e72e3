#include "host/loader/discovery.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iterator>

#include "host/loader/tests/folder.hpp"

namespace cm::loader {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr mode_t kGroupWritable = 0775;

config::Environment environment_of(const PluginFolder& folder, const std::string& plugin_path = "") {
  return config::Environment(std::map<std::string, std::string, std::less<>>{
      {"HOME", (folder.path() / "home").string()}, {"CM_PLUGIN_PATH", plugin_path}});
}

CatalogOptions options_of(const PluginFolder& folder, bool cached = false) {
  return {folder.path() / "bin" / "claudemesh", cached ? folder.path() / "cache" / "plugins.json" : fs::path("-")};
}

config::PluginQuery by_name(const std::string& name) {
  config::PluginQuery query;
  query.use = name;
  return query;
}

TEST(SearchFolders, HaveOneOrderAndAreAbsolute) {
  const config::Environment environment(
      std::map<std::string, std::string, std::less<>>{{"HOME", "/h"}, {"CM_PLUGIN_PATH", "/e1:relative::/e2:/t"}});
  std::vector<std::string> paths;
  for (const SearchFolder& folder : search_folders({"/t", "."}, environment, "/opt/cm/bin/claudemesh")) {
    paths.push_back(folder.path.string());
  }
  ASSERT_THAT(paths, SizeIs(8));
  paths.pop_back();  // the system folder depends on the build
  EXPECT_TRUE(paths.back().starts_with("/opt/cm/") && paths.back().ends_with("/claudemesh/plugins")) << paths.back();
  paths.pop_back();
  EXPECT_THAT(paths, ElementsAre("/t", "/e1", "/e2", "/h/.local/lib/claudemesh/plugins", "/opt/cm/bin/plugins",
                                 "/opt/cm/plugins"));
}

TEST(PluginCatalog, FindsByNameAndById) {
  const PluginFolder folder;
  const fs::path file = folder.add("good", "home/.local/lib/claudemesh/plugins/whatever.so");
  PluginCatalog catalog(environment_of(folder), options_of(folder));
  for (const std::string name : {"good", "org.test.good"}) {
    const auto manifest = catalog.find(by_name(name));
    ASSERT_TRUE(manifest.ok()) << manifest.error().message;
    EXPECT_EQ((*manifest)->file, file);
  }
  EXPECT_THAT(catalog.known_names(by_name("")), ElementsAre("good"));
  const auto missing = catalog.find(by_name("goood"));
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kGone);
  EXPECT_THAT(missing.error().message, HasSubstr("home/.local/lib/claudemesh/plugins"));
}

TEST(PluginCatalog, TheFirstInSearchOrderWins) {
  const PluginFolder folder;
  folder.add("good", "plugins/good.so");
  const fs::path first = folder.add("copy", "first/good.so");
  PluginCatalog catalog(environment_of(folder, first.parent_path().string()), options_of(folder));
  EXPECT_EQ((*catalog.find(by_name("good")))->file, first);
  const auto all = catalog.scan({});
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[1].shadowed_by, first.string());
  // Safe mode looks only at what came with the program.
  config::PluginQuery bundled = by_name("good");
  bundled.bundled_only = true;
  EXPECT_EQ((*catalog.find(bundled))->file, folder.path() / "plugins" / "good.so");
  bundled.file = first;
  EXPECT_EQ(catalog.find(bundled).error().code, ErrorCode::kDenied);
}

TEST(PluginCatalog, NamesTheIncompatible) {
  const PluginFolder folder;
  folder.add("future", "plugins/future.so");
  PluginCatalog catalog(environment_of(folder), options_of(folder));
  const auto found = catalog.find(by_name("future"));
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(found.error().message, HasSubstr("needs plugin ABI 2.3; this host offers 1.0"));
}

TEST(Trust, RefusesWhatOthersCanWrite) {
  const PluginFolder folder;
  const fs::path file = folder.add("good", "plugins/good.so");
  EXPECT_TRUE(check_trusted(file).ok());
  ::chmod(file.c_str(), 0757);
  Status trusted = check_trusted(file);
  ASSERT_FALSE(trusted.ok());
  EXPECT_EQ(trusted.error().code, ErrorCode::kDenied);
  EXPECT_THAT(trusted.error().message, HasSubstr("can be written by others (mode 0757)"));
  EXPECT_THAT(trusted.error().message, HasSubstr("chmod go-w"));
  PluginCatalog catalog(environment_of(folder), options_of(folder));
  EXPECT_EQ(catalog.find(by_name("good")).error().code, ErrorCode::kDenied);
  ::chmod(file.c_str(), 0755);
  ::chmod(file.parent_path().c_str(), kGroupWritable);
  EXPECT_EQ(check_trusted(file).error().code, ErrorCode::kDenied);
  ::chmod(file.parent_path().c_str(), 0755);
  EXPECT_TRUE(check_trusted(file).ok());
}

TEST(Trust, RefusesAFolderAboveThatEverybodyCanWrite) {
  const PluginFolder folder;
  const fs::path file = folder.add("good", "above/plugins/good.so");
  ::chmod((folder.path() / "above").c_str(), 0777);
  EXPECT_THAT(check_trusted(file).error().message, HasSubstr("can be written by everybody"));
  ::chmod((folder.path() / "above").c_str(), 01777);
  EXPECT_TRUE(check_trusted(file).ok());
}

TEST(Trust, LooksAtWhatALinkPointsTo) {
  const PluginFolder folder;
  const fs::path file = folder.add("good", "real/good.so");
  fs::create_directories(folder.path() / "plugins");
  fs::create_symlink(file, folder.path() / "plugins" / "good.so");
  EXPECT_TRUE(check_trusted(folder.path() / "plugins" / "good.so").ok());
  ::chmod(file.c_str(), 0777);
  EXPECT_FALSE(check_trusted(folder.path() / "plugins" / "good.so").ok());
}

TEST(Trust, RefusesStrangersFiles) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root can give a file away";
  }
  const PluginFolder folder;
  const fs::path file = folder.add("good", "plugins/good.so");
  ASSERT_EQ(::chown(file.c_str(), 12345, 12345), 0);
  EXPECT_THAT(check_trusted(file).error().message, HasSubstr("belongs to user 12345, expected root or user 0"));
}

TEST(Pin, IsCompared) {
  const PluginFolder folder;
  const fs::path file = folder.add("good", "plugins/good.so");
  const std::string hash = *file_sha256(file);
  EXPECT_TRUE(check_pin(file, hash).ok());
  PluginCatalog catalog(environment_of(folder), options_of(folder));
  config::PluginQuery query = by_name("good");
  query.sha256 = hash;
  EXPECT_TRUE(catalog.find(query).ok());
  query.sha256 = std::string(64, '0');
  const auto wrong = catalog.find(query);
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().code, ErrorCode::kDenied);
  EXPECT_THAT(wrong.error().message, HasSubstr(hash));
  EXPECT_THAT(wrong.error().message, HasSubstr(query.sha256));
}

std::string read_text(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

TEST(ManifestCache, IsUsedWhileTheFileIsTheSame) {
  const PluginFolder folder;
  const fs::path file = folder.add("good", "plugins/good.so");
  const CatalogOptions options = options_of(folder, true);
  PluginCatalog(environment_of(folder), options).scan({});
  std::string cache = read_text(options.cache_file);
  ASSERT_THAT(cache, HasSubstr("org.test.good"));
  struct stat status{};
  ASSERT_EQ(::stat(options.cache_file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  // A changed text in the cache is seen, which proves that the cache was used ...
  const std::string was = "that does nothing, well";
  cache.replace(cache.find(was), was.size(), "that does nothing, hm..");
  std::ofstream(options.cache_file) << cache;
  const auto cached = PluginCatalog(environment_of(folder), options).scan({});
  EXPECT_EQ(cached.at(0).manifest->description, "A plugin that does nothing, hm...");
  // ... and no longer once the file has another time.
  fs::last_write_time(file, fs::last_write_time(file) + std::chrono::seconds(5));
  const auto fresh = PluginCatalog(environment_of(folder), options).scan({});
  EXPECT_EQ(fresh.at(0).manifest->description, "A plugin that does nothing, well.");
}

TEST(ManifestCache, IsIgnoredWhenDamaged) {
  const PluginFolder folder;
  folder.add("good", "plugins/good.so");
  const CatalogOptions options = options_of(folder, true);
  fs::create_directories(options.cache_file.parent_path());
  for (const std::string_view text :
       {"", "{", "[1]", "{\"format\":9,\"entries\":[]}", "{\"format\":1,\"entries\":[5]}"}) {
    std::ofstream(options.cache_file, std::ios::trunc) << text;
    const auto found = PluginCatalog(environment_of(folder), options).scan({});
    ASSERT_THAT(found, SizeIs(1)) << text;
    EXPECT_THAT(found[0].problem, IsEmpty());
  }
}

TEST(PluginCatalog, ScansTwentyPluginsInATenthOfASecond) {
  const PluginFolder folder;
  for (int index = 0; index < 20; ++index) {
    folder.add("good", "plugins/p" + std::to_string(index) + ".so");
  }
  // The best of many counts: in the others the machine was busy with something else.
  auto best = std::chrono::steady_clock::duration::max();
  for (int round = 0; round < 100 && best > std::chrono::milliseconds(100); ++round) {
    PluginCatalog catalog(environment_of(folder), options_of(folder));
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THAT(catalog.scan({}), SizeIs(20));
    best = std::min(best, std::chrono::steady_clock::now() - begin);
  }
  EXPECT_LE(std::chrono::duration_cast<std::chrono::milliseconds>(best).count(), 100);
}

}  // namespace
}  // namespace cm::loader
