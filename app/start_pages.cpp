#include "app/start_pages.hpp"

#include <signal.h>
#include <sys/mman.h>

#include <charconv>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <optional>
#include <sstream>
#include <stop_token>
#include <string_view>
#include <utility>

namespace cm::app {

namespace {

// "7f00-7f10 r-xp 00000000 08:01 42   /usr/lib/x.so"; nullopt for lines of another shape and for mappings that are
// shared, writable, or of no file.
std::optional<MappedRange> private_file_range(const std::string& line) {
  std::istringstream words(line);
  std::string addresses;
  std::string rights;
  std::string offset;
  std::string device;
  std::string inode;
  MappedRange range;
  if (!(words >> addresses >> rights >> offset >> device >> inode >> std::ws) || !std::getline(words, range.file)) {
    return std::nullopt;
  }
  const char* const last = addresses.data() + addresses.size();
  const auto first = std::from_chars(addresses.data(), last, range.begin, 16);
  if (first.ec != std::errc() || first.ptr == last || *first.ptr != '-') {
    return std::nullopt;
  }
  const auto second = std::from_chars(first.ptr + 1, last, range.end, 16);
  const bool whole = second.ec == std::errc() && second.ptr == last && range.begin < range.end;
  const bool unwritable = rights.size() == 4 && rights[0] == 'r' && rights[1] == '-' && rights[3] == 'p';
  return whole && unwritable && range.file.starts_with('/') ? std::optional<MappedRange>(std::move(range))
                                                            : std::nullopt;
}

void wait_and_release(const std::stop_token& stop, std::chrono::milliseconds delay) {
  std::mutex mutex;
  std::condition_variable_any ended;
  std::unique_lock<std::mutex> lock(mutex);
  ended.wait_for(lock, stop, delay, [] { return false; });
  if (stop.stop_requested()) {
    return;
  }
  std::ifstream smaps("/proc/self/smaps");
  release_pages(unchanged_file_ranges(smaps));
}

}  // namespace

std::vector<MappedRange> unchanged_file_ranges(std::istream& smaps) {
  constexpr std::string_view kAnonymous = "Anonymous:";
  std::vector<MappedRange> ranges;
  std::optional<MappedRange> current;
  std::string line;
  while (std::getline(smaps, line)) {
    if (!line.starts_with(kAnonymous)) {
      // The fields of a mapping begin with a capital letter, the mapping itself with an address.
      if (!line.empty() && (line[0] < 'A' || line[0] > 'Z')) {
        current = private_file_range(line);
      }
      continue;
    }
    std::istringstream value(line.substr(kAnonymous.size()));
    std::uint64_t anonymous_kib = 1;
    value >> anonymous_kib;
    if (current.has_value() && value && anonymous_kib == 0) {
      ranges.push_back(std::move(*current));
    }
    current.reset();
  }
  return ranges;
}

void release_pages(const std::vector<MappedRange>& ranges) {
  for (const MappedRange& range : ranges) {
    // A mapping that has gone meanwhile is no error; one that cannot be released stays as it is.
    void* const begin = reinterpret_cast<void*>(range.begin);  // NOLINT(performance-no-int-to-ptr)
    static_cast<void>(::madvise(begin, range.end - range.begin, MADV_DONTNEED));
  }
}

StartPages::StartPages(std::chrono::milliseconds delay) {
  // Threads inherit the mask: signals are for the thread that waits for them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::jthread([delay](const std::stop_token& stop) { wait_and_release(stop, delay); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace cm::app
