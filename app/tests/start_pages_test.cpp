#include "app/start_pages.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace cm::app {
namespace {

constexpr std::size_t kBytes = 64 * 4096;

// A file of 'x', mapped privately and unwritable; some of its pages may have been changed before.
class Mapping {
 public:
  explicit Mapping(bool changed) {
    std::string pattern = (std::filesystem::temp_directory_path() / "cm_pages_XXXXXX").string();
    const int fd = ::mkstemp(pattern.data());
    path_ = pattern;
    const std::string content(kBytes, 'x');
    EXPECT_EQ(::write(fd, content.data(), kBytes), static_cast<ssize_t>(kBytes));
    data_ = static_cast<char*>(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    ::close(fd);
    if (changed) {
      data_[4096] = 'y';
    }
    EXPECT_EQ(::mprotect(data_, kBytes, PROT_READ), 0);
  }
  ~Mapping() {
    ::munmap(data_, kBytes);
    std::filesystem::remove(path_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::string content() const { return {data_, kBytes}; }
  std::vector<MappedRange> own_ranges() const {
    std::ifstream smaps("/proc/self/smaps");
    std::vector<MappedRange> own;
    for (MappedRange& range : unchanged_file_ranges(smaps)) {
      if (range.file == path_) {
        own.push_back(std::move(range));
      }
    }
    return own;
  }
  std::size_t resident_kib() const {
    std::ifstream smaps("/proc/self/smaps");
    std::string line;
    bool own = false;
    while (std::getline(smaps, line)) {
      own = line.ends_with(path_) || (own && line[0] >= 'A' && line[0] <= 'Z');
      if (own && line.starts_with("Rss:")) {
        return std::stoul(line.substr(4));
      }
    }
    return 0;
  }

 private:
  std::string path_;
  char* data_;
};

TEST(StartPages, UnchangedPagesGoAndComeBack) {
  const Mapping mapping(false);
  ASSERT_EQ(mapping.content(), std::string(kBytes, 'x'));
  ASSERT_EQ(mapping.resident_kib(), kBytes / 1024);
  const std::vector<MappedRange> ranges = mapping.own_ranges();
  ASSERT_EQ(ranges.size(), 1U);
  release_pages(ranges);
  EXPECT_EQ(mapping.resident_kib(), 0U);
  EXPECT_EQ(mapping.content(), std::string(kBytes, 'x'));
}

// Relocated tables are like this: releasing them would undo the relocation.
TEST(StartPages, AMappingWithAChangedPageIsLeftAlone) {
  const Mapping mapping(true);
  EXPECT_TRUE(mapping.own_ranges().empty());
  EXPECT_EQ(mapping.content()[4096], 'y');
}

TEST(StartPages, OnlyPrivateUnwritableMappingsOfFiles) {
  const auto ranges_of = [](const std::string& first, const std::string& anonymous) {
    std::istringstream smaps(first + "\nSize: 8 kB\nRss: 8 kB\n" + anonymous + "\nVmFlags: rd ex mr mw me sd\n");
    return unchanged_file_ranges(smaps);
  };
  const std::string clean = "Anonymous:             0 kB";
  const auto text = ranges_of("7f00a000-7f00c000 r-xp 00001000 08:01 42      /usr/lib/my lib.so", clean);
  ASSERT_EQ(text.size(), 1U);
  EXPECT_EQ(text[0].begin, 0x7f00a000U);
  EXPECT_EQ(text[0].end, 0x7f00c000U);
  EXPECT_EQ(text[0].file, "/usr/lib/my lib.so");
  EXPECT_TRUE(ranges_of("7f00a000-7f00c000 r-xp 00001000 08:01 42 /lib/a.so", "Anonymous: 4 kB").empty());
  EXPECT_TRUE(ranges_of("7f00a000-7f00c000 r-xp 00001000 08:01 42 /lib/a.so", "Anonymous: many").empty());
  EXPECT_TRUE(ranges_of("7f00a000-7f00c000 r-xp 00001000 08:01 42 /lib/a.so", "Size: 0 kB").empty());
  EXPECT_TRUE(ranges_of("7f00a000-7f00c000 rw-p 00001000 08:01 42 /lib/a.so", clean).empty());
  EXPECT_TRUE(ranges_of("7f00a000-7f00c000 r--s 00001000 08:01 42 /var/a.db-shm", clean).empty());
  EXPECT_TRUE(ranges_of("7f00a000-7f00c000 r--p 00000000 00:00 0", clean).empty());
  EXPECT_TRUE(ranges_of("7f00a000-7f00c000 r-xp 00000000 00:00 0 [vdso]", clean).empty());
  EXPECT_TRUE(ranges_of("7f00c000-7f00a000 r-xp 00001000 08:01 42 /lib/a.so", clean).empty());
  EXPECT_TRUE(ranges_of("nonsense", clean).empty());
}

TEST(StartPages, TheThreadTakesNoSignalsAndDoesNotHoldUpTheEnd) {
  {
    const StartPages pages(std::chrono::hours(24));
    std::string masks;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      if (task.path().filename() == std::to_string(::getpid())) {
        continue;
      }
      std::ifstream file(task.path() / "status");
      for (std::string line; std::getline(file, line);) {
        masks += line.starts_with("SigBlk:") ? line + "\n" : "";
      }
    }
    sigset_t own;
    pthread_sigmask(SIG_SETMASK, nullptr, &own);
    EXPECT_EQ(sigismember(&own, SIGTERM), 0);
    // SIGTERM is bit 14, SIGINT bit 1.
    const std::uint64_t mask = std::stoull(masks.substr(masks.find_first_of('\t') + 1), nullptr, 16);
    EXPECT_NE(mask & (1ULL << 14), 0U) << masks;
    EXPECT_NE(mask & (1ULL << 1), 0U) << masks;
  }
}

}  // namespace
}  // namespace cm::app
