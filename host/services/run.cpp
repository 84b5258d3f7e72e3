// `claudemesh run FILE`: signals, service manager, exit codes.
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "host/loader/discovery.hpp"
#include "host/services/crash.hpp"
#include "host/services/host.hpp"
#include "host/services/notify.hpp"
#include "host/services/run_record.hpp"
#include "host/services/successor.hpp"

namespace cm::host {

namespace {

// How long an immediate stop may take before the process ends without it.
constexpr int kImmediateStopMs = 2'000;

// Blocks the signals for this thread and all it makes, and turns them into reads.
int block_signals() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is an error of that write, as a full disk is
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  sigaddset(&signals, SIGUSR2);
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

// As a value of the service manager's protocol, in which a line ends an assignment.
std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ';');
  return text;
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
      if (info.ssi_signo == SIGHUP || info.ssi_signo == SIGUSR2) {
        notifier_.send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(net::Loop::now_ns() / 1000));
        info.ssi_signo == SIGHUP ? host_.request_reload() : host_.request_upgrade();
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

// One `claudemesh run`: what the host does not know of itself.
class Runner {
 public:
  Runner(RunOptions options, Inheritance inheritance)
      : options_(std::move(options)),
        invocation_(invocation_of_process()),
        inheritance_(std::move(inheritance)),
        signal_fd_(block_signals()),
        finished_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        notifier_(ServiceNotifier::from_environment()) {}

  int run() {
    Result<config::HostConfig> config = read_config(options_);
    if (config) {
      config = look_at_former_run(std::move(config).value());
    }
    if (!config) {
      std::fprintf(stderr, "%s\n", config.error().message.c_str());
      return static_cast<int>(ExitCode::kConfigError);
    }
    data_dir_ = config->host.data_dir;
    try {
      Host host(std::move(config).value(), host_options());
      host_ = &host;
      host.request_start();
      Supervisor(host, signal_fd_.get(), finished_fd_.get(), notifier_).run();
      host.join();
    } catch (const std::exception& exception) {
      std::fprintf(stderr, "claudemesh: %s\n", exception.what());
      return static_cast<int>(ExitCode::kStartFailed);
    }
    return static_cast<int>(start_failed_ ? ExitCode::kStartFailed : ExitCode::kClean);
  }

 private:
  bool is_heir() const { return inheritance_.predecessor.has_value(); }

  // Opens the record, says how the last run ended, and turns safe mode on when the starts crash one after the other. An
  // heir has a living predecessor, which holds the record until it lets go.
  Result<config::HostConfig> look_at_former_run(config::HostConfig config) {
    if (is_heir()) {
      return config;
    }
    std::string why_not;
    record_ = RunRecord::open(config.host.data_dir, options_.file, why_not);
    if (record_ == nullptr) {
      config.warnings.push_back({config::SourceLocation(), why_not});
      return config;
    }
    if (!record_->unclean()) {
      return config;
    }
    const FormerRun& former = record_->former();
    start_crashes_ = count_start_crashes(former, record_->boot_id(), ::time(nullptr));
    const auto limit = config.host.options.get_int("safe_mode_after");
    const bool too_many = limit.ok() && *limit > 0 && start_crashes_ >= *limit;
    std::string text = describe_former_run(former, record_->boot_id());
    if (too_many && !config.host.safe_mode) {
      text +=
          "; that were " + std::to_string(start_crashes_) +
          " crashes at start in a row, so this run is in safe mode: "
          "only the plugins that came with the program are loaded, until the next clean stop ([host] safe_mode_after)";
      options_.safe_mode = true;
      Result<config::HostConfig> safe = read_config(options_);
      if (!safe) {
        return make_error(safe.error().code, text + "\n" + safe.error().message);
      }
      config = std::move(safe).value();
    } else if (start_crashes_ != 0) {
      text += "; if that goes on, start it with --safe-mode";
    }
    config.warnings.push_back({config::SourceLocation(), text});
    return config;
  }

  HostOptions host_options() {
    HostOptions options;
    options.read_config = [this] { return read_config(options_); };
    options.on_event = [this](HostEvent event) { on_event(event); };
    options.on_phase = [this](std::string_view phase, std::string_view instance) { on_phase(phase, instance); };
    options.spawn_successor = [this](std::vector<HandedSocket> sockets) {
      return Successor::spawn(invocation_, std::move(sockets));
    };
    options.inherited = std::exchange(inheritance_.sockets, {});
    if (is_heir()) {
      options.before_start = [this](int wake_fd) { return wait_for_turn(wake_fd); };
    }
    return options;
  }

  Status wait_for_turn(int wake_fd) {
    inheritance_.predecessor->send("prepared");
    const Result<std::string> word = inheritance_.predecessor->receive(std::nullopt, wake_fd);
    if (!word && word.error().code != ErrorCode::kGone) {
      return word.error();
    }
    // Without a predecessor nobody is in the way, and nobody else serves.
    predecessor_lives_ = word.ok();
    open_record();
    return {};
  }

  void open_record() {
    std::string why_not;
    record_ = RunRecord::open(data_dir_, options_.file, why_not);
    start_crashes_ = 0;
  }

  void on_phase(std::string_view phase, std::string_view instance) {
    if (record_ == nullptr && was_handed_over_) {
      open_record();  // the successor failed
      was_handed_over_ = false;
    }
    if (record_ != nullptr) {
      record_->write(phase, instance, start_crashes_);
    }
    if (phase == "handing over") {
      record_.reset();
      was_handed_over_ = true;
    }
  }

  void on_event(HostEvent event) {
    switch (event) {
      case HostEvent::kStarted:
        if (predecessor_lives_) {
          inheritance_.predecessor->send("started");  // it tells the service manager whom to watch from now on
        } else {
          notifier_.send("READY=1");
        }
        break;
      case HostEvent::kReloaded:
        notifier_.send("READY=1\nSTATUS=reloaded");
        break;
      case HostEvent::kReloadFailed:
        notifier_.send("READY=1\nSTATUS=" + one_line("the reload failed: " + host_->reload_error()));
        break;
      case HostEvent::kUpgradeFailed:
        notifier_.send("READY=1");
        break;
      case HostEvent::kHandedOver:
        notifier_.send("READY=1\nMAINPID=" + std::to_string(host_->successor_pid()));
        break;
      case HostEvent::kStartFailed:
        start_failed_ = true;
        if (predecessor_lives_) {
          inheritance_.predecessor->send("failed to start: " + host_->start_error());
        }
        break;
      case HostEvent::kStopping:
        break;
      case HostEvent::kStopped:
        if (record_ != nullptr) {
          record_->remove();
        }
        const std::uint64_t one = 1;
        static_cast<void>(!::write(finished_fd_.get(), &one, sizeof one));
        break;
    }
  }

  RunOptions options_;
  const Invocation invocation_;
  Inheritance inheritance_;
  const Descriptor signal_fd_;
  const Descriptor finished_fd_;
  const ServiceNotifier notifier_;
  std::filesystem::path data_dir_;
  Host* host_ = nullptr;
  std::unique_ptr<RunRecord> record_;  // control thread, after the start
  std::uint32_t start_crashes_ = 0;
  bool was_handed_over_ = false;
  std::atomic<bool> predecessor_lives_{false};
  std::atomic<bool> start_failed_{false};
};

}  // namespace

int run_host(const RunOptions& options) {
  install_crash_handlers();
  // Before any thread: it changes the environment.
  Inheritance inheritance = take_inheritance();
  return Runner(options, std::move(inheritance)).run();
}

}  // namespace cm::host
