#include "host/loader/manifest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "host/loader/elf_reader.hpp"
#include "tests/support/temporary_folder.hpp"

namespace cm::loader {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const fs::path kPlugins = CM_TEST_PLUGIN_DIR;

std::string bytes_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

ByteSource source_of(const std::string& bytes) {
  return ByteSource::of_memory(std::as_bytes(std::span<const char>(bytes)));
}

TEST(Manifest, ReadsWhatTheCompilerWrote) {
  const auto manifest = read_manifest(kPlugins / "good.so");
  ASSERT_TRUE(manifest.ok()) << manifest.error().message;
  EXPECT_EQ(manifest->id, "org.test.good");
  EXPECT_EQ(manifest->version, "1.4.0");
  EXPECT_EQ(manifest->platform, host_platform());
  EXPECT_THAT(manifest->host_tables, ElementsAre("cm.log/1"));
  EXPECT_TRUE(manifest->provides_extension("test.nothing/1"));
  EXPECT_EQ(manifest->config_schema_hash.size(), 64U);
  ASSERT_EQ(manifest->options.size(), 3U);
  EXPECT_EQ(manifest->options[0].max_int, 10);
  EXPECT_TRUE(manifest->options[1].secret);
  EXPECT_EQ(std::get<std::vector<std::string>>(*manifest->options[2].default_value),
            (std::vector<std::string>{"a", "ü?"}));
  EXPECT_EQ(manifest->options[2].doc, "Words with quotes \" and more.");
  EXPECT_TRUE(check_compatible(*manifest).ok());
}

TEST(Manifest, RefusesOtherAbisNamingBothSides) {
  const auto manifest = read_manifest(kPlugins / "future.so");
  ASSERT_TRUE(manifest.ok()) << manifest.error().message;
  const Status fits = check_compatible(*manifest);
  ASSERT_FALSE(fits.ok());
  EXPECT_EQ(fits.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(fits.error().message,
            "plugin org.test.future 1.4.0 needs plugin ABI 2.3; this host offers 1.0; update claudemesh");
}

TEST(Manifest, NamesAllVersionsThatAHostOffers) {
  EXPECT_EQ(abi_versions_text(std::vector<std::uint32_t>{0x20001, 0x10009}), "2.1 and 1.9");
  EXPECT_EQ(abi_versions_text(std::vector<std::uint32_t>{0x20001, 0x20000, 0x10009}), "2.1, 2.0 and 1.9");
  EXPECT_EQ(abi_versions_text(std::vector<std::uint32_t>{0x10000}), "1.0");
}

TEST(Manifest, RefusesOtherPlatforms) {
  Manifest manifest = *read_manifest(kPlugins / "good.so");
  manifest.platform = "plan9-vax";
  EXPECT_THAT(check_compatible(manifest).error().message,
              HasSubstr("was built for plan9-vax; this host runs on linux"));
}

TEST(Manifest, RefusesFilesThatAreNoPlugins) {
  const test::TemporaryFolder folder;
  const auto text_file = folder.write("not_elf.so", "hello");
  const std::vector<std::pair<fs::path, std::string>> table{
      {kPlugins / "no_manifest.so", "is not a claudemesh plugin: it has no note of claudemesh"},
      {text_file, "is not a claudemesh plugin: it is no ELF file"},
      {"/proc/self/exe", "is not a claudemesh plugin"},
      {kPlugins / "absent.so", "cannot be opened"},
      {kPlugins, "is not a regular file"}};
  for (const auto& [file, expected] : table) {
    const auto manifest = read_manifest(file);
    ASSERT_FALSE(manifest.ok()) << file;
    EXPECT_THAT(manifest.error().message, HasSubstr(expected));
  }
}

TEST(Manifest, SurvivesEveryTruncation) {
  const std::string whole = bytes_of(kPlugins / "good.so");
  const auto full_note = read_elf_note(source_of(whole), "claudemesh", 1);
  ASSERT_TRUE(full_note.ok());
  for (std::size_t size = 0; size < whole.size(); size += 61) {
    const std::string cut = whole.substr(0, size);
    const auto note = read_elf_note(source_of(cut), "claudemesh", 1);
    if (note.ok()) {
      EXPECT_EQ(*note, *full_note);  // the cut was behind the note
    } else {
      EXPECT_FALSE(note.error().message.empty());
    }
    static_cast<void>(read_exported_symbols(source_of(cut)));
  }
}

TEST(Manifest, SurvivesEveryDamagedHeaderByte) {
  const std::string whole = bytes_of(kPlugins / "good.so");
  for (std::size_t at = 0; at < 64 + 56 * 12 && at < whole.size(); ++at) {
    for (const unsigned char value : {0x00, 0x01, 0x7f, 0xff}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(value);
      static_cast<void>(read_elf_note(source_of(damaged), "claudemesh", 1));
      static_cast<void>(read_exported_symbols(source_of(damaged)));
    }
  }
}

TEST(Manifest, FindsTheNoteWithoutSegments) {
  // A linker script may drop the segment; the section's name is enough then.
  std::string bytes = bytes_of(kPlugins / "good.so");
  bytes[56] = 0;  // e_phnum
  bytes[57] = 0;
  EXPECT_TRUE(read_elf_note(source_of(bytes), "claudemesh", 1).ok());
}

TEST(Manifest, RefusesWrongMembers) {
  const std::string head = R"({"id":"org.test.x","name":"x","version":"1.0.0","abi":{"min":"1.0","built":"1.0"})";
  const std::vector<std::pair<std::string, std::string>> table{
      {"", "not a JSON object"},
      {"[]", "not a JSON object"},
      {"{}", "has no id"},
      {R"({"id":"x"})", "a wrong id"},
      {R"({"id":"org.test.x","name":"X"})", "a wrong name"},
      {R"({"id":"org.test.x","name":"x","version":"1.0.0"})", "no usable abi"},
      {R"({"id":"org.test.x","name":"x","version":"1.0.0","abi":{"min":"2.0","built":"1.0"}})", "no usable abi"},
      {head + R"(,"requires":["x"]})", "a wrong requires"},
      {head + R"(,"requires":"cm.log/1"})", "a wrong requires"},
      {head + R"(,"description":"a\u001bb"})", "a wrong description"},
      {head + R"(,"options":{}})", "wrong options"},
      {head + R"(,"options":[5]})", "a wrong option"},
      {head + R"(,"options":[{"name":"a","type":"int","doc":"A.","default":"x"}]})", "a wrong option"},
      {head + R"(,"options":[],"config_schema_hash":"00"})", "config_schema_hash"}};
  EXPECT_TRUE(parse_manifest(head + "}", "test").ok());
  for (const auto& [json, expected] : table) {
    const auto manifest = parse_manifest(json, "test");
    ASSERT_FALSE(manifest.ok()) << json;
    EXPECT_THAT(manifest.error().message, StartsWith("test is not a claudemesh plugin: "));
    EXPECT_THAT(manifest.error().message, HasSubstr(expected));
  }
}

TEST(ExportedSymbols, ListsThem) {
  const auto symbols = exported_symbols(kPlugins / "good.so");
  ASSERT_TRUE(symbols.ok()) << symbols.error().message;
  EXPECT_THAT(*symbols, Contains("cm_plugin_entry"));
  EXPECT_THAT(*exported_symbols(kPlugins / "no_entry.so"), Contains("some_other_symbol"));
  EXPECT_FALSE(exported_symbols(kPlugins / "absent.so").ok());
}

}  // namespace
}  // namespace cm::loader
