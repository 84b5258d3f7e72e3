// One child process of the runner: started, listened to, and ended at its time limit.
#pragma once

#include <poll.h>
#include <sys/types.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sdk/checker/check.hpp"

namespace cm::checker {

inline constexpr const char* kChildArgument = "--cm-plugin-check-child";
inline constexpr int kReportFd = 3;  // where a child writes its progress and its result

// A child writes lines: "P..." progress, "S<number>" a seed was finished,
// "R<verdict>\x1f<found>\x1f<expected>\x1f<remedy>".
std::string result_line(const Outcome& outcome);

class Child {
 public:
  // Starts this program with `arguments` after kChildArgument. Its home, cache and temporary files are below `folder`.
  Child(const std::vector<std::string>& arguments, std::filesystem::path folder, std::uint64_t time_limit_ms);
  ~Child();  // kills what still runs
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Adds what to wait for: the pipe of the report while somebody can write to it, and the process, since its pipe may
  // live on in a process that the plugin made.
  void add_polled(std::vector<pollfd>& polled) const;
  // Reads what there is. True: the child has ended, `outcome` is final.
  bool read();
  // Ends it if it has taken too long.
  void enforce_limit();
  std::uint64_t milliseconds_left() const;

  Outcome outcome() const;
  const std::string& last_progress() const noexcept { return progress_; }
  std::uint64_t seeds_done() const noexcept { return seeds_done_; }
  bool timed_out() const noexcept { return timed_out_; }
  std::uint64_t took_ms() const noexcept { return took_ms_; }

 private:
  void take_line(const std::string& line);
  void finish();
  std::string output_hint() const;

  std::filesystem::path folder_;
  std::uint64_t time_limit_ms_;
  std::chrono::steady_clock::time_point begin_;
  pid_t pid_ = -1;
  Descriptor report_;
  Descriptor process_;
  bool report_closed_ = false;
  int wait_status_ = 0;
  bool timed_out_ = false;
  std::string pending_;
  std::string progress_;
  std::uint64_t seeds_done_ = 0;
  std::uint64_t took_ms_ = 0;
  std::optional<Outcome> told_;
};

}  // namespace cm::checker
