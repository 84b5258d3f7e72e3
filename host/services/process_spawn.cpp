#include "host/services/process_spawn.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "host/isolation/posix_spawn.hpp"

namespace cm::host {

namespace {

// What a child that could not become the program tells its parent.
struct ChildFault {
  int step = 0;
  int error = 0;
};
enum Step : int { kStepSession, kStepDescriptors, kStepLimits, kStepFolder, kStepExecute };
constexpr std::array<const char*, 5> kStepTexts = {"cannot begin a process group of its own",
                                                   "cannot connect its standard streams", "cannot set its limits",
                                                   "cannot enter the working folder", "cannot execute the program"};

struct Pipe {
  Descriptor read;
  Descriptor write;
};

// Both ends close on exec and are above the standard streams, so that putting them in place cannot overwrite one.
Status make_pipe(Pipe& pipe) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return make_error(ErrorCode::kBusy, std::string("no pipe for the child: ") + std::strerror(errno));
  }
  Descriptor* targets[] = {&pipe.read, &pipe.write};
  for (std::size_t i = 0; i < ends.size(); ++i) {
    *targets[i] = Descriptor(ends[i]);
    if (ends[i] <= STDERR_FILENO) {
      *targets[i] = Descriptor(::fcntl(ends[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    }
  }
  return pipe.read && pipe.write ? Status() : make_error(ErrorCode::kBusy, "no descriptor for a pipe of the child");
}

void set_nonblocking(const Descriptor& fd) {
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

// Everything the child needs, prepared before it exists: between vfork and exec it may call only what is safe in a
// signal handler, and allocate nothing.
struct Prepared {
  std::vector<char*> argv;
  std::vector<char*> envp;
  const char* program = nullptr;
  const char* folder = nullptr;
  int standard[3] = {-1, -1, -1};
  int report = -1;
  rlimit memory{RLIM_INFINITY, RLIM_INFINITY};
  rlimit cpu{RLIM_INFINITY, RLIM_INFINITY};
  rlimit descriptors{RLIM_INFINITY, RLIM_INFINITY};
  pid_t parent = 0;
};

[[noreturn]] void give_up(const Prepared& prepared, int step) {
  const ChildFault fault{step, errno};
  static_cast<void>(!::write(prepared.report, &fault, sizeof fault));
  ::_exit(127);
}

bool limit(__rlimit_resource resource, const rlimit& wanted) {
  return wanted.rlim_cur == RLIM_INFINITY || ::setrlimit(resource, &wanted) == 0;
}

[[noreturn]] void run_child(const Prepared& prepared) {
  if (::setsid() < 0) {
    give_up(prepared, kStepSession);
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != prepared.parent) {
    ::_exit(127);  // the host has ended in between
  }
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  for (int stream = 0; stream < 3; ++stream) {
    if (::dup2(prepared.standard[stream], stream) < 0) {
      give_up(prepared, kStepDescriptors);
    }
  }
  // All descriptors of the host close on exec by themselves; this is for those of libraries that forgot it.
  ::syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
  if (::chdir(prepared.folder) != 0) {
    give_up(prepared, kStepFolder);
  }
  struct sigaction plain{};
  plain.sa_handler = SIG_DFL;
  for (int number = 1; number < SIGRTMIN; ++number) {
    if (number != SIGKILL && number != SIGSTOP) {
      ::sigaction(number, &plain, nullptr);
    }
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const rlimit no_core{0, 0};
  if (!limit(RLIMIT_CORE, no_core) || !limit(RLIMIT_CPU, prepared.cpu) || !limit(RLIMIT_NOFILE, prepared.descriptors) ||
      !limit(RLIMIT_AS, prepared.memory)) {
    give_up(prepared, kStepLimits);
  }
  ::execve(prepared.program, prepared.argv.data(), prepared.envp.data());
  give_up(prepared, kStepExecute);
}

// Signals are held back meanwhile: a handler of ours must not run in the child, whose memory is still our own.
pid_t fork_child(const Prepared& prepared) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  // vfork and not fork: copying the page tables of a large broker would hold up its loops with page faults.
  const pid_t pid = ::vfork();  // NOLINT(clang-analyzer-security.insecureAPI.vfork)
  if (pid == 0) {
    run_child(prepared);
  }
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return pid;
}

// Never above what the host itself has: raising a limit is not the child's right.
rlimit bounded(__rlimit_resource resource, std::uint64_t wanted, std::uint64_t slack) {
  if (wanted == 0) {
    return {RLIM_INFINITY, RLIM_INFINITY};
  }
  rlimit own{};
  ::getrlimit(resource, &own);
  return {std::min<rlim_t>(wanted, own.rlim_max), std::min<rlim_t>(wanted + slack, own.rlim_max)};
}

std::string fault_text(const SpawnPlan& plan, const ChildFault& fault) {
  const auto step = static_cast<std::size_t>(fault.step) < kStepTexts.size() ? static_cast<std::size_t>(fault.step) : 0;
  const std::string& what = fault.step == kStepFolder ? plan.working_folder : plan.program;
  return std::string(kStepTexts[step]) + " " + what + ": " + std::strerror(fault.error);
}

struct Pipes {
  Pipe input;
  Pipe output;
  Pipe error;
  Pipe report;
  Descriptor null;
};

Status open_pipes(const SpawnPlan& plan, Pipes& pipes) {
  pipes.null = Descriptor(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (pipes.null.get() >= 0 && pipes.null.get() <= STDERR_FILENO) {
    pipes.null = Descriptor(::fcntl(pipes.null.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  }
  if (!pipes.null) {
    return make_error(ErrorCode::kBusy, std::string("/dev/null cannot be opened: ") + std::strerror(errno));
  }
  const bool output = !plan.discard_output;
  const std::pair<bool, Pipe*> wanted[] = {{plan.input, &pipes.input},
                                           {output, &pipes.output},
                                           {output && !plan.merge_output, &pipes.error},
                                           {true, &pipes.report}};
  for (const auto& [is_wanted, pipe] : wanted) {
    if (Status made = is_wanted ? make_pipe(*pipe) : Status(); !made) {
      return made;
    }
  }
  return {};
}

Prepared prepare(const SpawnPlan& plan, const Pipes& pipes) {
  Prepared prepared;
  prepared.argv = isolation::exec_pointers(plan.arguments);
  prepared.envp = isolation::exec_pointers(plan.environment);
  prepared.program = plan.program.c_str();
  prepared.folder = plan.working_folder.c_str();
  const int null = pipes.null.get();
  prepared.standard[0] = pipes.input.read ? pipes.input.read.get() : null;
  prepared.standard[1] = pipes.output.write ? pipes.output.write.get() : null;
  prepared.standard[2] = pipes.error.write ? pipes.error.write.get() : prepared.standard[1];
  prepared.report = pipes.report.write.get();
  prepared.memory = bounded(RLIMIT_AS, plan.memory_bytes_max, 0);
  prepared.cpu = bounded(RLIMIT_CPU, plan.cpu_seconds_max, 1);  // SIGXCPU first, SIGKILL a second later
  prepared.descriptors = bounded(RLIMIT_NOFILE, plan.descriptors_max, 0);
  prepared.parent = ::getpid();
  return prepared;
}

// The report pipe closes by itself when the program runs, and carries a fault when it does not.
bool read_fault(const Descriptor& fd, ChildFault& fault) {
  ssize_t got = 0;
  do {
    got = ::read(fd.get(), &fault, sizeof fault);
  } while (got < 0 && errno == EINTR);
  return got == static_cast<ssize_t>(sizeof fault);
}

// Writing to a child that has closed its input must be an error and not the end of the host. `run_host` did this
// already.
void ignore_broken_pipes() {
  struct sigaction present{};
  if (::sigaction(SIGPIPE, nullptr, &present) == 0 && present.sa_handler == SIG_DFL) {
    static_cast<void>(::signal(SIGPIPE, SIG_IGN));
  }
}

}  // namespace

SpawnedChild::SpawnedChild(SpawnedChild&& other) noexcept
    : pidfd(std::move(other.pidfd)),
      input(std::move(other.input)),
      output(std::move(other.output)),
      error(std::move(other.error)),
      pid_(std::exchange(other.pid_, -1)),
      spawner_(std::move(other.spawner_)) {}

SpawnedChild& SpawnedChild::operator=(SpawnedChild&& other) noexcept {
  if (this != &other) {
    abandon();
    pidfd = std::move(other.pidfd);
    input = std::move(other.input);
    output = std::move(other.output);
    error = std::move(other.error);
    pid_ = std::exchange(other.pid_, -1);
    spawner_ = std::move(other.spawner_);
  }
  return *this;
}

void SpawnedChild::signal_group(int signal_number) const noexcept {
  if (pid_ > 0) {
    ::kill(-pid_, signal_number);
  }
}

bool SpawnedChild::collect(int& status, rusage& usage) noexcept {
  siginfo_t info{};
  const bool ended =
      ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_;
  if (!ended) {
    return false;
  }
  signal_group(SIGKILL);  // what it left running; the number is still its own
  ::wait4(std::exchange(pid_, -1), &status, 0, &usage);
  return true;
}

void SpawnedChild::abandon() noexcept {
  if (pid_ > 0) {
    signal_group(SIGKILL);
    spawner_->adopt(std::exchange(pid_, -1));
  }
}

Result<SpawnedChild> spawn_now(const SpawnPlan& plan, std::shared_ptr<ProcessSpawner> spawner) {
  Pipes pipes;
  if (Status opened = open_pipes(plan, pipes); !opened) {
    return std::move(opened).error();
  }
  const Prepared prepared = prepare(plan, pipes);
  const pid_t pid = fork_child(prepared);
  if (pid < 0) {
    return make_error(ErrorCode::kBusy, std::string("no process for the child: ") + std::strerror(errno));
  }
  SpawnedChild child(pid, std::move(spawner));
  child.pidfd = Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  pipes.report.write.reset();
  ChildFault fault;
  if (read_fault(pipes.report.read, fault)) {
    return make_error(ErrorCode::kInvalid, fault_text(plan, fault));
  }
  if (!child.pidfd) {
    return make_error(ErrorCode::kBusy, std::string("no descriptor to watch the child: ") + std::strerror(errno));
  }
  child.input = std::move(pipes.input.write);
  child.output = std::move(pipes.output.read);
  child.error = std::move(pipes.error.read);
  for (const Descriptor* fd : {&child.input, &child.output, &child.error}) {
    if (*fd) {
      set_nonblocking(*fd);
    }
  }
  return child;
}

// --- the thread
// -------------------------------------------------------------------------------------------------------

ProcessSpawner::~ProcessSpawner() {
  close();
}

Status ProcessSpawner::start(SpawnPlan plan, Done done) {
  const std::lock_guard lock(mutex_);
  if (closing_) {
    return make_error(ErrorCode::kGone, "the host is ending and starts no more programs");
  }
  if (jobs_.size() >= kWaitingMax) {
    return make_error(ErrorCode::kBusy,
                      std::to_string(kWaitingMax) + " programs wait to be started, which is the limit");
  }
  jobs_.push_back(Job{std::move(plan), std::move(done)});
  if (!thread_.joinable()) {
    ignore_broken_pipes();
    thread_ = std::thread([this] { main(); });
  }
  changed_.notify_one();
  return {};
}

void ProcessSpawner::adopt(pid_t pid) noexcept {
  int status = 0;
  if (::waitpid(pid, &status, WNOHANG) == pid) {
    return;
  }
  const std::lock_guard lock(mutex_);
  orphans_.push_back(pid);
  changed_.notify_one();
}

std::size_t ProcessSpawner::orphans() const {
  const std::lock_guard lock(mutex_);
  return orphans_.size();
}

void ProcessSpawner::collect_orphans() noexcept {
  std::erase_if(orphans_, [](pid_t pid) {
    int status = 0;
    const pid_t got = ::waitpid(pid, &status, WNOHANG);
    return got == pid || (got < 0 && errno == ECHILD);
  });
}

void ProcessSpawner::main() {
  ::pthread_setname_np(::pthread_self(), "cm-spawn");
  constexpr auto kLook = std::chrono::milliseconds(5);
  std::unique_lock lock(mutex_);
  while (true) {
    collect_orphans();
    if (!jobs_.empty() && !closing_) {
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      Result<SpawnedChild> child = spawn_now(job.plan, shared_from_this());
      (child ? started_ : failed_).fetch_add(1, std::memory_order_relaxed);
      job.done(std::move(child));
      job.done = {};
      lock.lock();
    } else if (closing_) {
      return;
    } else if (orphans_.empty()) {
      changed_.wait(lock);
    } else {
      changed_.wait_for(lock, kLook);
    }
  }
}

void ProcessSpawner::close() {
  std::deque<Job> dropped;
  std::thread thread;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    dropped.swap(jobs_);
    thread = std::exchange(thread_, {});
    changed_.notify_one();
  }
  dropped.clear();
  if (!thread.joinable()) {
    return;
  }
  thread.join();
  // They were killed; one that the kernel cannot end now (a hung disk) is left to init.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kOrphanWaitMs);
  std::unique_lock lock(mutex_);
  for (collect_orphans(); !orphans_.empty() && std::chrono::steady_clock::now() < deadline; collect_orphans()) {
    changed_.wait_for(lock, std::chrono::milliseconds(1));
  }
}

}  // namespace cm::host
