// A small file that says what this process is doing, so that the next one knows how it ended: written at start, removed
// by a clean stop. What is left over was left by a crash, a kill or a power failure.
#pragma once

#include <claudemesh/cpp/descriptor.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace cm::host {

// A run that crashes within this time after its start counts as a crash at start.
inline constexpr std::int64_t kStartCrashSeconds = 60;
// Crashes at start that are further apart have nothing to do with each other.
inline constexpr std::int64_t kStartCrashWindowSeconds = 600;

// What the file of the run before says.
struct FormerRun {
  std::int64_t pid = 0;
  std::string boot_id;
  std::int64_t began_s = 0;  // Unix time
  std::int64_t ended_s = 0;  // of the last change of the file
  std::string phase;         // "starting", "running", "handing over", "stopping"
  std::string instance;      // whose turn it was
  bool crashed = false;      // a crash handler ran
  std::uint32_t start_crashes = 0;
};

// Crashes at start in a row, this one included; 0 when the run did not crash at start. Pure.
std::uint32_t count_start_crashes(const FormerRun& run, std::string_view boot_id, std::int64_t now_s);
// "the last run (process 123) crashed while it started the instance \"x\"". Pure.
std::string describe_former_run(const FormerRun& run, std::string_view boot_id);

// One per configuration file and data folder; holds a lock on the file while it lives. Any thread.
class RunRecord {
 public:
  // Null with a reason in `why_not` when the file cannot be had: another process runs this configuration, or the folder
  // cannot be written. Nothing depends on it.
  static std::unique_ptr<RunRecord> open(const std::filesystem::path& data_dir, const std::filesystem::path& config,
                                         std::string& why_not);
  ~RunRecord();
  RunRecord(const RunRecord&) = delete;
  RunRecord& operator=(const RunRecord&) = delete;

  // True when the run before did not end cleanly.
  bool unclean() const noexcept { return unclean_; }
  const FormerRun& former() const noexcept { return former_; }
  // Of the machine's present run.
  const std::string& boot_id() const noexcept { return boot_id_; }

  // Overwrites the file. `start_crashes` is what the next run adds to.
  void write(std::string_view phase, std::string_view instance, std::uint32_t start_crashes);
  // The end of a clean run: removes the file.
  void remove();
  // Another process takes over: lets go of the lock and leaves the file to it.
  void leave();

 private:
  RunRecord(Descriptor fd, std::filesystem::path file);
  void read_former();

  std::mutex mutex_;
  Descriptor fd_;               // guarded by mutex_ after open
  std::filesystem::path file_;  // the same
  bool unclean_ = false;
  bool first_line_written_ = false;  // guarded by mutex_
  FormerRun former_;
  std::string boot_id_;
  std::int64_t began_s_ = 0;
};

}  // namespace cm::host
