#include "host/services/run_record.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include "host/services/crash.hpp"

namespace cm::host {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kRecordBytesMax = 4096;
// The crash handlers write "1" here: it is the value of the first line.
constexpr std::string_view kFirstLine = "crashed=0\n";
constexpr std::int64_t kCrashedOffset = 8;

std::string read_boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

// FNV-1a: two configurations with one data folder must not share a record.
std::string record_name(const fs::path& config) {
  std::error_code error;
  const fs::path absolute = fs::weakly_canonical(config, error);
  std::uint64_t hash = 14695981039346656037ull;
  for (const char c : (error ? config : absolute).string()) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  }
  std::array<char, 17> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), hash, 16).ptr;
  return config.stem().string() + "-" + std::string(text.data(), end) + ".run";
}

template <typename Number>
void read_number(const std::string& text, Number& out) {
  std::from_chars(text.data(), text.data() + text.size(), out);
}

void read_line(const std::string& line, FormerRun& run) {
  const std::size_t equals = line.find('=');
  const std::string key = line.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : line.substr(equals + 1);
  if (key == "crashed") {
    run.crashed = value == "1";
  } else if (key == "pid") {
    read_number(value, run.pid);
  } else if (key == "boot_id") {
    run.boot_id = value;
  } else if (key == "began") {
    read_number(value, run.began_s);
  } else if (key == "phase") {
    run.phase = value;
  } else if (key == "instance") {
    run.instance = value;
  } else if (key == "start_crashes") {
    read_number(value, run.start_crashes);
  }
}

}  // namespace

std::uint32_t count_start_crashes(const FormerRun& run, std::string_view boot_id, std::int64_t now_s) {
  const bool at_start = run.phase == "starting" || (run.crashed && run.ended_s - run.began_s < kStartCrashSeconds);
  // The end of the machine is nobody's fault here.
  if (!at_start || run.boot_id != boot_id) {
    return 0;
  }
  return now_s - run.ended_s < kStartCrashWindowSeconds ? run.start_crashes + 1 : 1;
}

std::string describe_former_run(const FormerRun& run, std::string_view boot_id) {
  const char* how = run.crashed ? "crashed" : run.boot_id != boot_id ? "was cut off with the machine" : "was killed";
  std::string text = "the last run (process " + std::to_string(run.pid) + ") " + how;
  if (run.phase == "starting") {
    text += " while it started";
    text += run.instance.empty() ? "" : " the instance \"" + run.instance + "\"";
  } else if (run.phase == "stopping") {
    text += " while it stopped";
  } else if (run.crashed) {
    text += " " + std::to_string(run.ended_s - run.began_s) + " s after its start";
  }
  return text;
}

std::unique_ptr<RunRecord> RunRecord::open(const fs::path& data_dir, const fs::path& config, std::string& why_not) {
  std::error_code error;
  if (fs::create_directories(data_dir, error)) {
    fs::permissions(data_dir, fs::perms::owner_all, error);
  }
  const fs::path file = data_dir / record_name(config);
  Descriptor fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) {
    why_not = "how this run ends cannot be recorded: " + file.string() + ": " + std::strerror(errno);
    return nullptr;
  }
  std::unique_ptr<RunRecord> record(new RunRecord(std::move(fd), file));
  if (::flock(record->fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    why_not = "another process runs this configuration with the same data_dir";
    record->leave();
    return nullptr;
  }
  record->read_former();
  return record;
}

RunRecord::RunRecord(Descriptor fd, fs::path file)
    : fd_(std::move(fd)), file_(std::move(file)), boot_id_(read_boot_id()), began_s_(::time(nullptr)) {}

RunRecord::~RunRecord() {
  leave();
}

void RunRecord::read_former() {
  std::string text(kRecordBytesMax, '\0');
  const ssize_t size = ::pread(fd_.get(), text.data(), text.size(), 0);
  struct stat status{};
  if (size <= 0 || ::fstat(fd_.get(), &status) != 0) {
    return;
  }
  text.resize(static_cast<std::size_t>(size));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    read_line(line, former_);
  }
  former_.ended_s = status.st_mtim.tv_sec;
  unclean_ = former_.pid != 0;
}

void RunRecord::write(std::string_view phase, std::string_view instance, std::uint32_t start_crashes) {
  std::string text(kFirstLine);
  text += "pid=" + std::to_string(::getpid()) + "\nboot_id=" + boot_id_ + "\nbegan=" + std::to_string(began_s_) +
          "\nphase=" + std::string(phase) + "\ninstance=" + std::string(instance) +
          "\nstart_crashes=" + std::to_string(start_crashes) + "\n";
  const std::lock_guard lock(mutex_);
  if (!fd_) {
    return;
  }
  // A process that ends between the two calls leaves a longer file, whose last lines repeat older ones at worst.
  // The line of the crash is written once, before any plugin runs: a thread may die while another one is in here.
  const std::size_t kept = first_line_written_ ? kFirstLine.size() : 0;
  const ssize_t left = static_cast<ssize_t>(text.size() - kept);
  if (::pwrite(fd_.get(), text.data() + kept, text.size() - kept, static_cast<off_t>(kept)) == left) {
    static_cast<void>(!::ftruncate(fd_.get(), static_cast<off_t>(text.size())));
    first_line_written_ = true;
    set_crash_mark(fd_.get(), kCrashedOffset);
  }
}

void RunRecord::remove() {
  const std::lock_guard lock(mutex_);
  if (fd_) {
    std::error_code error;
    std::filesystem::remove(file_, error);
    set_crash_mark(-1, 0);
    fd_.reset();
  }
}

void RunRecord::leave() {
  const std::lock_guard lock(mutex_);
  if (fd_) {
    set_crash_mark(-1, 0);
    fd_.reset();
  }
}

}  // namespace cm::host
