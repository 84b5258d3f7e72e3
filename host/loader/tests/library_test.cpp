#include "host/loader/library.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "host/loader/discovery.hpp"
#include "host/loader/tests/folder.hpp"

namespace cm::loader {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Test plugins under a folder that is safe whatever the umask of the build was.
class LibraryTest : public ::testing::Test {
 protected:
  Manifest manifest_of(const std::string& plugin) const {
    auto manifest = read_manifest(folder_.add(plugin, "plugins/" + plugin + ".so"));
    EXPECT_TRUE(manifest.ok()) << manifest.error().message;
    return std::move(manifest).value();
  }

  PluginFolder folder_;
  PluginLibraries libraries_{UnloadMode::kClose};
};

TEST_F(LibraryTest, LoadsOnceAndInitialisesOnce) {
  const Manifest manifest = manifest_of("good");
  const auto library = libraries_.load(manifest);
  ASSERT_TRUE(library.ok()) << library.error().message;
  EXPECT_EQ((*library)->abi_version(), CM_ABI_VERSION_1_0);
  EXPECT_GE((*library)->factory().size, sizeof(cm_factory_v1));
  EXPECT_EQ((*library)->get_factory("cm.unknown/1"), nullptr);
  EXPECT_EQ(libraries_.load(manifest)->get(), library->get());
  const int& initialised = *static_cast<const int*>((*library)->get_factory("test.initialised"));
  EXPECT_EQ(initialised, 1);
  libraries_.deinit_all();
  EXPECT_EQ(initialised, 0);
  libraries_.deinit_all();
  EXPECT_EQ(initialised, 0);
}

TEST_F(LibraryTest, RefusesASecondCopyOfAnId) {
  ASSERT_TRUE(libraries_.load(manifest_of("good")).ok());
  const auto copy = libraries_.load(manifest_of("copy"));
  ASSERT_FALSE(copy.ok());
  EXPECT_THAT(copy.error().message, HasSubstr("is a second copy of org.test.good, which is loaded from"));
}

TEST_F(LibraryTest, ChecksThePinAtEveryLoad) {
  const Manifest manifest = manifest_of("good");
  ASSERT_TRUE(libraries_.load(manifest, *file_sha256(manifest.file)).ok());
  EXPECT_EQ(libraries_.load(manifest, std::string(64, '0')).error().code, ErrorCode::kDenied);
}

TEST_F(LibraryTest, RefusesUnsafeFilesAtEveryLoad) {
  const Manifest manifest = manifest_of("good");
  ::chmod(manifest.file.c_str(), 0777);
  EXPECT_EQ(libraries_.load(manifest).error().code, ErrorCode::kDenied);
}

struct Wrong {
  const char* plugin;
  ErrorCode code;
  const char* words;
};

TEST_F(LibraryTest, RefusesWhatIsWrong) {
  const std::vector<Wrong> table{
      {"future", ErrorCode::kUnsupported, "needs plugin ABI 2.3; this host offers 1.0"},
      {"liar", ErrorCode::kInvalid, "contradicts itself: its manifest says ABI 1.0 to 1.0, its entry 2.3 to 1.0"},
      {"no_magic", ErrorCode::kInvalid, "does not begin with CM_PLUGIN_MAGIC"},
      {"no_entry", ErrorCode::kInvalid, "does not export cm_plugin_entry"},
      {"refusing", ErrorCode::kUnsupported, "this host offers 1.0; the plugin refused it"},
      {"failing", ErrorCode::kInternal, "init failed with status 7"},
      {"picky", ErrorCode::kUnsupported, "the plugin picked 9.0"},
      {"no_factory", ErrorCode::kUnsupported, "has no usable factory cm.factory/1"}};
  for (const Wrong& wrong : table) {
    const auto library = libraries_.load(manifest_of(wrong.plugin));
    ASSERT_FALSE(library.ok()) << wrong.plugin;
    EXPECT_EQ(library.error().code, wrong.code) << wrong.plugin;
    EXPECT_THAT(library.error().message, HasSubstr(wrong.words));
  }
}

TEST_F(LibraryTest, SaysWhyTheLinkerFailed) {
  Manifest manifest = manifest_of("good");
  folder_.write("plugins/good.so",
                "\x7f"
                "ELF but not really");
  const auto library = libraries_.load(manifest);
  ASSERT_FALSE(library.ok());
  EXPECT_EQ(library.error().code, ErrorCode::kIo);
  EXPECT_THAT(library.error().message, HasSubstr("cannot be loaded: "));
  EXPECT_THAT(library.error().message, HasSubstr("good.so"));
}

// --- built-in plugins -----------------------------------------------------------------------------------------------

int builtin_inits = 0;

cm_status builtin_init(const uint32_t* offered, uint32_t, uint32_t* picked) noexcept {
  ++builtin_inits;
  *picked = offered[0];
  return CM_OK;
}

cm_status builtin_create(const cm_host*, cm_instance**, const cm_instance_table_v1**) noexcept {
  return CM_UNSUPPORTED;
}
constexpr cm_factory_v1 kBuiltinFactory{sizeof(cm_factory_v1), 0, builtin_create};
const void* builtin_factory(const char*) noexcept {
  return &kBuiltinFactory;
}

constexpr cm_plugin_entry_v1 kBuiltin{
    CM_PLUGIN_MAGIC, sizeof(cm_plugin_entry_v1), CM_ABI_VERSION_1_0, CM_ABI_VERSION_1_0, 0, builtin_init, nullptr,
    builtin_factory};
constexpr const char* kBuiltinJson =
    R"({"id":"org.test.builtin","name":"builtin","version":"1.0.0","abi":{"min":"1.0","built":"1.0"}})";

TEST_F(LibraryTest, LoadsBuiltinPluginsLikeFiles) {
  EXPECT_FALSE(register_builtin(&kBuiltin, "{}").ok());
  ASSERT_TRUE(register_builtin(&kBuiltin, kBuiltinJson).ok());
  EXPECT_THAT(register_builtin(&kBuiltin, kBuiltinJson).error().message, HasSubstr("built in twice"));
  PluginCatalog catalog(config::Environment(), {folder_.path() / "bin" / "claudemesh", "-"});
  config::PluginQuery query;
  query.use = "builtin";
  query.bundled_only = true;
  const auto manifest = catalog.find(query);
  ASSERT_TRUE(manifest.ok()) << manifest.error().message;
  EXPECT_TRUE((*manifest)->is_builtin());
  const auto library = libraries_.load(**manifest);
  ASSERT_TRUE(library.ok()) << library.error().message;
  EXPECT_EQ(&(*library)->factory(), &kBuiltinFactory);
  EXPECT_EQ(builtin_inits, 1);
}

}  // namespace
}  // namespace cm::loader
