#include "host/services/log.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <stdexcept>

namespace cm::host {

namespace {

std::string_view cut(std::string_view text, bool& was_cut) {
  was_cut = text.size() > kLogTextBytesMax;
  return was_cut ? text.substr(0, kLogTextBytesMax) : text;
}

void append_hex_escape(std::string& out, unsigned char byte) {
  constexpr char kDigits[] = "0123456789abcdef";
  out += "\\u00";
  out += kDigits[byte >> 4u];
  out += kDigits[byte & 15u];
}

// JSON string content. Bytes over 0x7f pass as they are (UTF-8).
void append_escaped(std::string& out, std::string_view text, bool escape_quotes) {
  bool was_cut = false;
  for (const char c : cut(text, was_cut)) {
    const auto byte = static_cast<unsigned char>(c);
    if (escape_quotes && (c == '"' || c == '\\')) {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      append_hex_escape(out, byte);
    } else {
      out += c;
    }
  }
  if (was_cut) {
    out += "...";
  }
}

void append_time(std::string& out, std::int64_t unix_ms) {
  const std::int64_t floor_ms = unix_ms >= 0 ? unix_ms : 0;
  const std::time_t seconds = static_cast<std::time_t>(floor_ms / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[40];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  out.append(text, size);
  const int milliseconds = static_cast<int>(floor_ms % 1000);
  out += '.';
  out += static_cast<char>('0' + milliseconds / 100);
  out += static_cast<char>('0' + milliseconds / 10 % 10);
  out += static_cast<char>('0' + milliseconds % 10);
  out += 'Z';
}

bool needs_quotes(std::string_view value) {
  return value.empty() || std::any_of(value.begin(), value.end(), [](char c) {
           return c == ' ' || c == '"' || c == '=' || static_cast<unsigned char>(c) < 0x20;
         });
}

void append_text_field(std::string& line, const LogField& field) {
  line += ' ';
  append_escaped(line, field.key, false);
  line += '=';
  const bool quoted = needs_quotes(field.value);
  if (quoted) {
    line += '"';
  }
  append_escaped(line, field.value, quoted);
  if (quoted) {
    line += '"';
  }
}

void append_json_member(std::string& line, std::string_view key, std::string_view value) {
  line += ",\"";
  append_escaped(line, key, true);
  line += "\":\"";
  append_escaped(line, value, true);
  line += '"';
}

std::int64_t unix_now_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

// One thread writes, so spdlog's unlocked sinks do.
class SpdlogSink final : public LogSink {
 public:
  explicit SpdlogSink(std::unique_ptr<spdlog::sinks::sink> sink) : sink_(std::move(sink)) {
    sink_->set_formatter(
        std::make_unique<spdlog::pattern_formatter>("%v", spdlog::pattern_time_type::utc, std::string("\n")));
  }
  void write(const std::string& line) override {
    sink_->log(spdlog::details::log_msg(spdlog::string_view_t(), spdlog::level::info, line));
  }
  void flush() override { sink_->flush(); }

 private:
  std::unique_ptr<spdlog::sinks::sink> sink_;
};

}  // namespace

std::string_view log_level_name(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::kTrace:
      return "trace";
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kError:
      return "error";
    case LogLevel::kCritical:
      return "critical";
    case LogLevel::kHostMisbehaving:
      return "host-misbehaving";
    case LogLevel::kPluginMisbehaving:
      return "plugin-misbehaving";
  }
  return "info";
}

std::string format_log_line(LogFormat format, std::int64_t unix_ms, LogLevel level, std::string_view source,
                            std::string_view message, std::span<const LogField> fields) {
  std::string line;
  line.reserve(96 + std::min(message.size(), kLogTextBytesMax));
  fields = fields.first(std::min(fields.size(), kLogFieldsMax));
  if (format == LogFormat::kJson) {
    line += "{\"time\":\"";
    append_time(line, unix_ms);
    line += '"';
    append_json_member(line, "level", log_level_name(level));
    append_json_member(line, "plugin", source);
    append_json_member(line, "message", message);
    for (const LogField& field : fields) {
      append_json_member(line, field.key, field.value);
    }
    line += '}';
    return line;
  }
  append_time(line, unix_ms);
  line += ' ';
  line += log_level_name(level);
  line += " [";
  append_escaped(line, source, false);
  line += "] ";
  append_escaped(line, message, false);
  for (const LogField& field : fields) {
    append_text_field(line, field);
  }
  return line;
}

std::unique_ptr<LogSink> make_log_sink(const std::string& file) {
  if (file.empty()) {
    return std::make_unique<SpdlogSink>(std::make_unique<spdlog::sinks::stderr_sink_st>());
  }
  // Made here first, because the sink's own open would give it the process' default mode.
  if (const Descriptor made(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)); !made) {
    throw std::runtime_error("cannot open the log file " + file + ": " + std::strerror(errno) +
                             "; give a path in an existing folder that this user may write to");
  }
  return std::make_unique<SpdlogSink>(std::make_unique<spdlog::sinks::basic_file_sink_st>(file, false));
}

Log::Log(std::unique_ptr<LogSink> sink, LogFormat format, LogLevel level)
    : sink_(std::move(sink)), format_(format), level_(level), thread_([this] { main(); }) {}

Log::~Log() {
  close();
}

void Log::write(LogLevel level, std::string_view source, std::string_view message, std::span<const LogField> fields) {
  std::string line = format_log_line(format_, unix_now_ms(), level, source, message, fields);
  {
    const std::lock_guard lock(mutex_);
    if (closing_ || waiting_.size() >= kLogLinesWaitingMax) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    waiting_.push_back(std::move(line));
    ++queued_;
    if (waiting_.size() > 1) {
      return;  // The writer was woken for the first line of this batch.
    }
  }
  changed_.notify_all();
}

void Log::host(LogLevel level, std::string_view message, std::span<const LogField> fields) {
  if (enabled(level)) {
    write(level, "host", message, fields);
  }
}

void Log::flush() {
  std::unique_lock lock(mutex_);
  const std::uint64_t target = queued_;
  changed_.wait(lock, [this, target] { return finished_ >= target; });
}

void Log::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void Log::main() {
  pthread_setname_np(pthread_self(), "log");
  std::vector<std::string> batch;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
    if (waiting_.empty()) {
      return;
    }
    batch.swap(waiting_);
    lock.unlock();
    write_batch(batch);
    lock.lock();
    finished_ += batch.size();
    batch.clear();
    changed_.notify_all();
  }
}

void Log::set_sink(std::unique_ptr<LogSink> sink) {
  const std::lock_guard lock(sink_mutex_);
  sink_ = std::move(sink);
}

void Log::write_batch(std::vector<std::string>& batch) {
  const std::lock_guard lock(sink_mutex_);
  // A full disk or a closed terminal must not end the process; there is nobody left to tell.
  try {
    for (const std::string& line : batch) {
      sink_->write(line);
    }
    const std::uint64_t dropped = dropped_.load(std::memory_order_relaxed);
    if (dropped != dropped_reported_) {
      const std::string count = std::to_string(dropped - dropped_reported_);
      const LogField field{"lines", count};
      sink_->write(format_log_line(format_, unix_now_ms(), LogLevel::kWarn, "host",
                                   "log lines were dropped because the output is too slow", {&field, 1}));
      dropped_reported_ = dropped;
    }
    sink_->flush();
    written_.fetch_add(batch.size(), std::memory_order_relaxed);
  } catch (const std::exception&) {
    dropped_.fetch_add(batch.size(), std::memory_order_relaxed);
  }
}

}  // namespace cm::host
