// `claudemesh run FILE`: signals, service manager, exit codes.
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "host/loader/discovery.hpp"
#include "host/services/crash.hpp"
#include "host/services/host.hpp"
#include "host/services/notify.hpp"

namespace cm::host {

namespace {

// How long an immediate stop may take before the process ends without it.
constexpr int kImmediateStopMs = 2'000;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

// Blocks the signals for this thread and all it makes, and turns them into reads.
int block_signals() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is an error of that write, as a full disk is
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

Result<config::HostConfig> read_config(const RunOptions& options) {
  const config::Environment environment = config::Environment::of_process();
  loader::PluginCatalog catalog(environment);
  config::LoadRequest request;
  request.file = options.file;
  request.safe_mode = options.safe_mode;
  config::LoadReport report = config::load_config_report(request, environment, catalog);
  if (report.config.has_value()) {
    return std::move(*report.config);
  }
  std::string text;
  for (const config::Problem& problem : report.problems) {
    text += (text.empty() ? "" : "\n") + problem.line();
  }
  if (report.problems_left_out != 0) {
    text += "\n... and " + std::to_string(report.problems_left_out) + " more";
  }
  return make_error(ErrorCode::kInvalid, text);
}

// Waits for signals and for the host's end, and keeps the service manager informed.
class Supervisor {
 public:
  Supervisor(Host& host, int signal_fd, int finished_fd, const ServiceNotifier& notifier)
      : host_(host), signal_fd_(signal_fd), finished_fd_(finished_fd), notifier_(notifier) {}

  void run() {
    while (true) {
      pollfd fds[2] = {{signal_fd_, POLLIN, 0}, {finished_fd_, POLLIN, 0}};
      const int ready = ::poll(fds, 2, timeout_ms());
      if (fds[1].revents != 0) {
        return;
      }
      if (ready > 0 && fds[0].revents != 0) {
        read_signals();
      } else if (ready == 0) {
        on_timeout();
      }
    }
  }

 private:
  int timeout_ms() const {
    if (stops_asked_ > 1) {
      return kImmediateStopMs;
    }
    const auto interval = notifier_.watchdog_interval_ms();
    return interval.has_value() ? static_cast<int>(*interval) : -1;
  }

  void on_timeout() {
    if (stops_asked_ > 1) {
      std::fprintf(stderr, "claudemesh: the stop is held up (%s); ending at once\n", host_.who_blocks().c_str());
      std::_Exit(static_cast<int>(ExitCode::kStartFailed));
    }
    if (host_.healthy()) {
      notifier_.send("WATCHDOG=1");
    }
  }

  void read_signals() {
    signalfd_siginfo info{};
    while (::read(signal_fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo == SIGHUP) {
        notifier_.send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(net::Loop::now_ns() / 1000));
        host_.request_reload();
        continue;
      }
      ++stops_asked_;
      if (stops_asked_ == 1) {
        notifier_.send("STOPPING=1");
        host_.request_stop();
      } else {
        host_.request_immediate_stop();
      }
    }
  }

  Host& host_;
  int signal_fd_;
  int finished_fd_;
  const ServiceNotifier& notifier_;
  int stops_asked_ = 0;
};

}  // namespace

int run_host(const RunOptions& options) {
  install_crash_handlers();
  const Descriptor signal_fd(block_signals());
  const Descriptor finished_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Result<config::HostConfig> config = read_config(options);
  if (!config) {
    std::fprintf(stderr, "%s\n", config.error().message.c_str());
    return static_cast<int>(ExitCode::kConfigError);
  }
  const ServiceNotifier notifier = ServiceNotifier::from_environment();
  std::atomic<bool> start_failed{false};
  HostOptions host_options;
  host_options.read_config = [&options] { return read_config(options); };
  host_options.on_event = [&](HostEvent event) {
    if (event == HostEvent::kStarted || event == HostEvent::kReloaded || event == HostEvent::kReloadFailed) {
      notifier.send("READY=1");
    } else if (event == HostEvent::kStartFailed) {
      start_failed = true;
    } else if (event == HostEvent::kStopped) {
      const std::uint64_t one = 1;
      static_cast<void>(!::write(finished_fd.get(), &one, sizeof one));
    }
  };
  try {
    Host host(std::move(config).value(), std::move(host_options));
    host.request_start();
    Supervisor(host, signal_fd.get(), finished_fd.get(), notifier).run();
    host.join();
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "claudemesh: %s\n", exception.what());
    return static_cast<int>(ExitCode::kStartFailed);
  }
  return static_cast<int>(start_failed ? ExitCode::kStartFailed : ExitCode::kClean);
}

}  // namespace cm::host
