// Gives back the memory of what only the start of a long-lived process needed: the parsing of the configuration, the
// command line, the set-up of libraries. What is needed again is read again, from the page cache.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <istream>
#include <string>
#include <thread>
#include <vector>

namespace cm::app {

// By then a process has started, and a link has shaken hands.
inline constexpr std::chrono::milliseconds kStartLasts{3'000};

// Addresses of one mapping, [begin, end).
struct MappedRange {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  std::string file;
};

// The mappings in a text of proc(5) smaps that hold nothing but unchanged pages of a file: private, not writable, and
// without an anonymous page (relocated tables and a debugger's breakpoints are such pages). A text that is not
// understood gives fewer, never wrong ones. Pure.
std::vector<MappedRange> unchanged_file_ranges(std::istream& smaps);

// Takes the pages of these mappings of this process out of memory; the next access brings each back. [any]
void release_pages(const std::vector<MappedRange>& ranges);

// Releases the pages once, `delay` after it was made, on a thread of its own that takes no signals and ends then.
class StartPages {
 public:
  explicit StartPages(std::chrono::milliseconds delay);
  // Does not wait for the delay.
  ~StartPages() = default;
  StartPages(const StartPages&) = delete;
  StartPages& operator=(const StartPages&) = delete;

 private:
  std::jthread thread_;
};

}  // namespace cm::app
