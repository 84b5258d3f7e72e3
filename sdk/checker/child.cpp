#include "sdk/checker/child.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace cm::checker {
namespace {

constexpr char kFieldSeparator = '\x1f';
constexpr std::size_t kLineBytesMax = 64 * 1024;

std::string one_line(std::string text) {
  std::replace_if(text.begin(), text.end(), [](char c) { return c == '\n' || c == kFieldSeparator; }, ' ');
  return text.substr(0, kLineBytesMax / 4);
}

// What happens in the child between fork and exec: only calls that are safe there.
[[noreturn]] void exec_child(char* const* argv, char* const* environment, int report, const char* output) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit no_core = {0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  const int null = ::open("/dev/null", O_RDONLY);
  const int log = ::open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::dup2(null, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  ::dup2(report, kReportFd);
  for (int fd = kReportFd + 1; fd < 1024; ++fd) {
    ::close(fd);
  }
  ::execve("/proc/self/exe", argv, environment);
  ::_exit(127);
}

// This process' environment, with folders that belong to the child alone.
std::vector<std::string> child_environment(const std::string& folder) {
  std::vector<std::string> result;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const bool own = text.starts_with("HOME=") || text.starts_with("XDG_") || text.starts_with("TMPDIR=") ||
                     text.starts_with("CM_CHECK_") || text.starts_with("GLIBC_TUNABLES=") ||
                     text.starts_with("CLAUDEMESH_");
    if (!own) {
      result.emplace_back(text);
    }
  }
  result.push_back("HOME=" + folder);
  result.push_back("XDG_CACHE_HOME=" + folder + "/cache");
  result.push_back("TMPDIR=" + folder);
  result.push_back("CM_CHECK_BASE=" + folder);
  // Freed memory that malloc keeps per thread would count as allocated (process_state.hpp).
  result.push_back("GLIBC_TUNABLES=glibc.malloc.tcache_count=0");
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) {
    result.push_back(text.data());
  }
  result.push_back(nullptr);
  return result;
}

}  // namespace

std::string result_line(const Outcome& outcome) {
  const std::string separator(1, kFieldSeparator);
  return "R" + std::to_string(static_cast<int>(outcome.verdict)) + separator + one_line(outcome.found) + separator +
         one_line(outcome.expected) + separator + one_line(outcome.remedy) + "\n";
}

Child::Child(const std::vector<std::string>& arguments, std::filesystem::path folder, std::uint64_t time_limit_ms)
    : folder_(std::move(folder)), time_limit_ms_(time_limit_ms), begin_(std::chrono::steady_clock::now()) {
  std::filesystem::create_directories(folder_);
  std::filesystem::permissions(folder_, std::filesystem::perms::owner_all);
  std::vector<std::string> argv = {"claudemesh", kChildArgument};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment = child_environment(folder_.string());
  const auto argv_pointers = pointers(argv);
  const auto environment_pointers = pointers(environment);
  const std::string output = (folder_ / "output").string();
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    told_ = failed(std::string("no pipe: ") + std::strerror(errno), "a pipe", "close other programs");
    return;
  }
  pid_ = ::fork();
  if (pid_ == 0) {
    exec_child(argv_pointers.data(), environment_pointers.data(), ends[1], output.c_str());
  }
  ::close(ends[1]);
  report_ = Descriptor(ends[0]);
  ::fcntl(report_.get(), F_SETFL, O_NONBLOCK);
  if (pid_ < 0) {
    told_ = failed(std::string("no process: ") + std::strerror(errno), "a process", "close other programs");
    return;
  }
  ::setpgid(pid_, pid_);  // the child does it as well; whoever is first wins
  process_ = Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
}

Child::~Child() {
  if (pid_ > 0) {
    ::kill(-pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::uint64_t Child::milliseconds_left() const {
  const auto spent = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin_);
  const auto spent_ms = static_cast<std::uint64_t>(spent.count());
  return spent_ms >= time_limit_ms_ ? 0 : time_limit_ms_ - spent_ms;
}

void Child::take_line(const std::string& line) {
  if (line.empty()) {
    return;
  }
  const std::string rest = line.substr(1);
  if (line[0] == 'P') {
    progress_ = rest;
  } else if (line[0] == 'S') {
    ++seeds_done_;
  } else if (line[0] == 'R') {
    Outcome outcome;
    std::istringstream fields(rest);
    std::string verdict;
    std::getline(fields, verdict, kFieldSeparator);
    std::getline(fields, outcome.found, kFieldSeparator);
    std::getline(fields, outcome.expected, kFieldSeparator);
    std::getline(fields, outcome.remedy, kFieldSeparator);
    outcome.verdict = verdict == "0" ? Verdict::kOk : verdict == "2" ? Verdict::kSkipped : Verdict::kFailed;
    told_ = outcome;
  }
}

void Child::add_polled(std::vector<pollfd>& polled) const {
  if (!report_closed_) {
    polled.push_back({report_.get(), POLLIN, 0});
  }
  polled.push_back({process_.get(), POLLIN, 0});  // poll(2) passes over a negative one
}

bool Child::read() {
  if (pid_ < 0) {
    return true;
  }
  // The pipe may live on in a process that the plugin made; what counts is the child itself. It is looked at first:
  // what it wrote before its end is in the pipe by then.
  const bool ended = ::waitpid(pid_, &wait_status_, WNOHANG) == pid_;
  char buffer[4096];
  ssize_t count = 0;
  while ((count = ::read(report_.get(), buffer, sizeof(buffer))) > 0) {
    pending_.append(buffer, static_cast<std::size_t>(count));
    std::size_t end = 0;
    while ((end = pending_.find('\n')) != std::string::npos) {
      take_line(pending_.substr(0, end));
      pending_.erase(0, end + 1);
    }
    if (pending_.size() > kLineBytesMax) {
      pending_.clear();
    }
  }
  report_closed_ = count == 0;
  if (ended) {
    finish();
  }
  return ended;
}

void Child::finish() {
  const auto spent = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin_);
  took_ms_ = static_cast<std::uint64_t>(spent.count());
  ::kill(-pid_, SIGKILL);  // what it may have left in its group
  pid_ = -1;
}

void Child::enforce_limit() {
  if (pid_ > 0 && milliseconds_left() == 0) {
    timed_out_ = true;
    ::kill(-pid_, SIGKILL);
  }
}

std::string Child::output_hint() const {
  std::ifstream output(folder_ / "output");
  std::string line;
  std::string last;
  while (std::getline(output, line)) {
    if (line.find("ERROR: ") != std::string::npos || line.find("runtime error") != std::string::npos) {
      return "; it said: " + line.substr(0, 300);
    }
    last = line.empty() ? last : line;
  }
  return last.empty() ? "" : "; it said: " + last.substr(0, 300);
}

Outcome Child::outcome() const {
  const std::string where = progress_.empty() ? "" : " while: " + progress_;
  if (timed_out_) {
    return failed("no end within " + std::to_string(time_limit_ms_ / 1000) + " s" + where, "it ends by itself",
                  "look for a loop or a wait in what was going on");
  }
  if (WIFSIGNALED(wait_status_)) {
    const int number = WTERMSIG(wait_status_);
    return failed(
        "it crashed with signal " + std::to_string(number) + " (" + ::strsignal(number) + ")" + where + output_hint(),
        "no crash",
        "run this check in one process under a debugger (gdb --args ... --only NAME --here), or build the plugin with "
        "-fsanitize=address");
  }
  if (told_) {
    return *told_;
  }
  return failed(
      "it ended the process with exit code " + std::to_string(WEXITSTATUS(wait_status_)) + where + output_hint(),
      "a plugin never ends the process", "take out exit, abort and exceptions that escape");
}

}  // namespace cm::checker
