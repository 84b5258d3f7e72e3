#include "sdk/checker/process_state.hpp"

#include <malloc.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <clocale>
#include <cstdio>
#include <filesystem>
#include <thread>

// Of the address sanitizer, which has a malloc of its own.
extern "C" __attribute__((weak)) std::size_t __sanitizer_get_current_allocated_bytes();

namespace cm::checker {
namespace {

std::string pointer_text(const void* pointer) {
  char text[32];
  std::snprintf(text, sizeof(text), "%p", pointer);
  return text;
}

}  // namespace

std::size_t thread_count() {
  std::error_code ignored;
  std::size_t count = 0;
  for (auto entry = std::filesystem::directory_iterator("/proc/self/task", ignored);
       entry != std::filesystem::directory_iterator(); entry.increment(ignored)) {
    ++count;
  }
  return count;
}

bool wait_for_threads(std::size_t count, std::chrono::milliseconds limit, const std::function<bool()>& enough) {
  constexpr std::chrono::milliseconds kBetweenLooks{1};  // nothing tells when a thread that is not ours has gone
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (thread_count() > count && !(enough && enough())) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return false;
    }
    std::this_thread::sleep_for(kBetweenLooks);
  }
  return true;
}

std::vector<std::string> open_descriptors() {
  std::vector<std::string> result;
  std::error_code ignored;
  for (auto entry = std::filesystem::directory_iterator("/proc/self/fd", ignored);
       entry != std::filesystem::directory_iterator(); entry.increment(ignored)) {
    const std::string target = std::filesystem::read_symlink(entry->path(), ignored).string();
    if (target.find("/fd") == std::string::npos || !target.starts_with("/proc/")) {
      result.push_back(entry->path().filename().string() + " -> " + target);
    }
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::uint64_t allocated_bytes() {
  if (__sanitizer_get_current_allocated_bytes != nullptr) {
    return __sanitizer_get_current_allocated_bytes();
  }
  const struct mallinfo2 info = ::mallinfo2();
  return static_cast<std::uint64_t>(info.uordblks) + static_cast<std::uint64_t>(info.hblkhd);
}

std::vector<std::string> process_settings() {
  std::vector<std::string> settings;
  sigset_t mask;
  sigemptyset(&mask);
  ::sigprocmask(SIG_BLOCK, nullptr, &mask);
  for (int number = 1; number < 32; ++number) {
    struct sigaction action = {};
    if (::sigaction(number, nullptr, &action) == 0) {
      const void* handler = nullptr;
      static_assert(sizeof(action.sa_handler) == sizeof(handler));
      __builtin_memcpy(&handler, &action.sa_handler, sizeof(handler));
      settings.push_back("the handler of signal " + std::to_string(number) + " is " + pointer_text(handler));
    }
    settings.push_back("signal " + std::to_string(number) +
                       (sigismember(&mask, number) == 1 ? " is blocked" : " is open"));
  }
  const mode_t mode = ::umask(0);
  ::umask(mode);
  settings.push_back("the umask is " + std::to_string(mode));
  std::error_code ignored;
  settings.push_back("the working folder is " + std::filesystem::current_path(ignored).string());
  const char* locale = std::setlocale(LC_ALL, nullptr);
  settings.push_back(std::string("the locale is ") + (locale == nullptr ? "?" : locale));
  return settings;
}

std::vector<std::string> added(const std::vector<std::string>& before, const std::vector<std::string>& after) {
  std::vector<std::string> result;
  for (const std::string& item : after) {
    if (std::find(before.begin(), before.end(), item) == before.end()) {
      result.push_back(item);
    }
  }
  return result;
}

}  // namespace cm::checker
