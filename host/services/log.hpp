// The log of the host and of every plugin: one line per entry, text or JSON, written by a thread of its own.
#pragma once

#include <claudemesh/abi.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace cm::host {

// The numbers are those of cm.log/1.
enum class LogLevel : std::uint32_t {
  kTrace = 0,
  kDebug = 1,
  kInfo = 2,
  kWarn = 3,
  kError = 4,
  kCritical = 5,
  kHostMisbehaving = 6,
  kPluginMisbehaving = 7,
};
std::string_view log_level_name(LogLevel level) noexcept;

enum class LogFormat { kText, kJson };

struct LogField {
  std::string_view key;
  std::string_view value;
};

// Lines that one instance may write when [log] says nothing else.
inline constexpr std::uint32_t kLogLinesPerSecond = 1000;
// Lines that wait for the writer. More are dropped and counted: a slow terminal must not hold up a loop.
inline constexpr std::size_t kLogLinesWaitingMax = 8192;
// A longer message or field value is cut there and marked with "...".
inline constexpr std::size_t kLogTextBytesMax = 8192;
inline constexpr std::size_t kLogFieldsMax = 64;

// Builds one line without the final newline. Pure. `unix_ms` becomes RFC 3339 in UTC with milliseconds. Control
// characters are escaped, so that one entry is always one line and cannot forge another.
std::string format_log_line(LogFormat format, std::int64_t unix_ms, LogLevel level, std::string_view source,
                            std::string_view message, std::span<const LogField> fields);

// Where finished lines go. Called by the writer thread only; may block.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void write(const std::string& line) = 0;
  virtual void flush() = 0;
};

// Standard error, or a file that is appended to (created with mode 0600) when `file` is not empty.
// Throws std::runtime_error when the file cannot be opened (start-up only).
std::unique_ptr<LogSink> make_log_sink(const std::string& file);

// Any thread.
class Log {
 public:
  Log(std::unique_ptr<LogSink> sink, LogFormat format, LogLevel level);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  bool enabled(LogLevel level) const noexcept { return level >= level_.load(std::memory_order_relaxed); }
  void set_level(LogLevel level) noexcept { level_.store(level, std::memory_order_relaxed); }
  LogLevel level() const noexcept { return level_.load(std::memory_order_relaxed); }
  void set_format(LogFormat format) noexcept { format_.store(format, std::memory_order_relaxed); }
  // Later lines go to the new sink. [control]
  void set_sink(std::unique_ptr<LogSink> sink);

  // Formats and queues a line of `source` (an instance's name, or "host"). Does not look at the level, so that a plugin
  // may have a level of its own.
  void write(LogLevel level, std::string_view source, std::string_view message, std::span<const LogField> fields = {});
  // A line of the host itself, when the level allows it.
  void host(LogLevel level, std::string_view message, std::span<const LogField> fields = {});

  // Waits until everything written before is in the sink. Not for loops.
  void flush();
  // Writes what waits and ends the writer; later lines are dropped and counted. Idempotent.
  void close();
  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }
  std::uint64_t written() const noexcept { return written_.load(std::memory_order_relaxed); }

 private:
  void main();
  void write_batch(std::vector<std::string>& batch);

  std::mutex sink_mutex_;
  std::unique_ptr<LogSink> sink_;  // guarded by sink_mutex_
  std::atomic<LogFormat> format_;
  std::atomic<LogLevel> level_;
  std::atomic<std::uint64_t> dropped_{0};
  std::atomic<std::uint64_t> written_{0};
  std::uint64_t dropped_reported_ = 0;  // writer thread
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> waiting_;  // guarded by mutex_
  std::uint64_t queued_ = 0;          // guarded by mutex_: lines ever accepted
  std::uint64_t finished_ = 0;        // guarded by mutex_: lines given to the sink
  bool closing_ = false;              // guarded by mutex_
  std::thread thread_;
};

}  // namespace cm::host
