#include "host/services/processes.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <utility>

#include "host/services/instance.hpp"
#include "host/services/process_text.hpp"
#include "host/services/services.hpp"

namespace cm::host {

namespace {

constexpr std::uint64_t or_default(std::uint64_t given, std::uint64_t standard) {
  return given == 0 ? standard : given;
}

}  // namespace

net::Loop& Processes::loop() const {
  return instance_.loop_thread().loop();
}

// --- start
// ------------------------------------------------------------------------------------------------------------

Result<cm_handle> Processes::spawn(const cm_process_options& options, const cm_process_callbacks& callbacks,
                                   void* user) {
  Result<SpawnPlan> plan = plan_of(options);
  if (!plan) {
    return std::move(plan).error();
  }
  auto process = std::make_unique<Process>();
  process->callbacks = callbacks;
  process->user = user;
  process->output_bytes_max = or_default(options.output_bytes_max, kProcessOutputBytes);
  process->input_bytes_max = or_default(options.input_bytes_max, kProcessInputBytes);
  process->time_ms_max = std::min(options.time_ms_max, kProcessTimeMsMax);
  process->grace_ms = or_default(options.grace_ms, kProcessGraceMs);
  process->has_input = plan->input;
  process->pending.assign(reinterpret_cast<const char*>(options.input.data), options.input.size);
  process->error.number = CM_PROCESS_STDERR;
  const cm_handle handle = processes_.insert(std::move(process));
  if (handle == CM_NO_HANDLE) {
    return make_error(ErrorCode::kBusy, std::to_string(CM_PROCESS_CHILDREN_MAX) +
                                            " children run, which is the limit of an instance; wait for some to end");
  }
  Instance* instance = &instance_;
  const Status accepted =
      instance_.services().spawner->start(std::move(*plan), [instance, handle](Result<SpawnedChild> child) {
        // A child that finds nobody is killed with the object that holds it.
        if (instance->enter_gate()) {
          instance->loop_thread().loop().post([instance, handle, started = std::move(child)]() mutable {
            if (instance->open()) {
              instance->holdings->processes->on_spawned(handle, std::move(started));
            }
          });
          instance->leave_gate();
        }
      });
  if (!accepted) {
    processes_.remove(handle);
    return accepted.error();
  }
  return handle;
}

void Processes::on_spawned(cm_handle handle, Result<SpawnedChild> child) {
  Process* process = find(handle);
  if (process == nullptr) {
    return;
  }
  if (!child) {
    const std::unique_ptr<Process> removed = processes_.remove(handle);
    cm_process_exit result{};
    result.size = sizeof result;
    result.reason = CM_PROCESS_NOT_STARTED;
    result.code = -1;
    result.text = view_of(child.error().message);
    if (removed->callbacks.exited != nullptr) {
      enter(instance_, CallbackKind::kProcessExited,
            [&] { removed->callbacks.exited(removed->user, handle, &result); });
    }
    return;
  }
  process->child = std::move(*child);
  process->started = true;
  watch_child(handle, *process);
  if (process->kill_asked) {
    terminate(handle, CM_PROCESS_KILLED, std::exchange(process->grace_ms, kProcessGraceMs));
  }
  flush_input(handle);
}

void Processes::watch_child(cm_handle handle, Process& process) {
  process.input = std::move(process.child.input);
  process.output.fd = std::move(process.child.output);
  process.error.fd = std::move(process.child.error);
  const auto watch = [this](const Descriptor& fd, net::FdInterest interest, auto function) {
    const auto id = fd ? loop().watch_fd(fd.get(), interest, function) : net::WatchId::kNone;
    return id ? *id : net::WatchId::kNone;
  };
  const net::FdInterest readable{true, false};
  process.exit_watch = watch(process.child.pidfd, readable, [this, handle](net::FdInterest) { on_exit(handle); });
  process.output.watch =
      watch(process.output.fd, readable, [this, handle](net::FdInterest) { on_readable(handle, false); });
  process.error.watch =
      watch(process.error.fd, readable, [this, handle](net::FdInterest) { on_readable(handle, true); });
  process.input_watch =
      watch(process.input, net::FdInterest{}, [this, handle](net::FdInterest) { flush_input(handle); });
  set_output_interest(process);
  if (process.time_ms_max != 0) {
    process.limit_timer = loop().start_timer_after_ms(process.time_ms_max, [this, handle] { on_time_limit(handle); });
  }
}

// --- output
// -----------------------------------------------------------------------------------------------------------

void Processes::set_output_interest(Process& process) {
  for (const Stream* stream : {&process.output, &process.error}) {
    if (stream->watch != net::WatchId::kNone) {
      static_cast<void>(loop().update_watch(stream->watch, net::FdInterest{!process.paused, false}));
    }
  }
}

void Processes::on_readable(cm_handle handle, bool error_stream) {
  const Process* process = find(handle);
  if (process != nullptr && !process->paused) {
    static_cast<void>(read_some(handle, error_stream));
  }
}

bool Processes::read_some(cm_handle handle, bool error_stream) {
  Process* process = find(handle);
  if (process == nullptr) {
    return false;
  }
  Stream& stream = error_stream ? process->error : process->output;
  if (!stream.fd) {
    return false;
  }
  std::array<std::uint8_t, CM_PROCESS_CHUNK_BYTES_MAX> bytes;
  const ssize_t got = ::read(stream.fd.get(), bytes.data(), bytes.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    return errno == EINTR;
  }
  if (got <= 0) {
    end_stream(handle, error_stream);
    return false;
  }
  const std::uint64_t left = process->output_bytes_max - process->output_bytes;
  const std::uint64_t taken = std::min<std::uint64_t>(static_cast<std::uint64_t>(got), left);
  const bool over = static_cast<std::uint64_t>(got) > left;
  process->output_bytes += taken;
  if (taken != 0 && process->callbacks.output != nullptr) {
    const cm_process_callbacks callbacks = process->callbacks;
    void* user = process->user;
    const std::uint32_t number = stream.number;
    enter(instance_, CallbackKind::kProcessOutput,
          [&] { callbacks.output(user, handle, number, {bytes.data(), taken}); });
  }
  if (over) {
    terminate(handle, CM_PROCESS_OUTPUT_LIMIT, 0);
    end_stream(handle, false);
    end_stream(handle, true);
    return false;
  }
  process = find(handle);  // the plugin may have abandoned it
  return process != nullptr && !process->paused;
}

void Processes::end_stream(cm_handle handle, bool error_stream) {
  Process* process = find(handle);
  if (process == nullptr) {
    return;
  }
  Stream& stream = error_stream ? process->error : process->output;
  if (!stream.fd) {
    return;
  }
  loop().unwatch_fd(std::exchange(stream.watch, net::WatchId::kNone));
  stream.fd.reset();
  const auto output = process->callbacks.output;
  if (output != nullptr) {
    enter(instance_, CallbackKind::kProcessOutput, [output, user = process->user, number = stream.number, handle] {
      output(user, handle, number, {nullptr, 0});
    });
  }
}

// The child has ended: what is in the pipes still belongs to it, what grandchildren may write later does not.
void Processes::drain_streams(cm_handle handle) {
  for (const bool error_stream : {false, true}) {
    while (read_some(handle, error_stream)) {
    }
  }
}

cm_status Processes::pause_output(cm_handle handle, bool paused) {
  Process* process = find(handle);
  if (process == nullptr) {
    return CM_GONE;
  }
  if (process->paused == paused) {
    return CM_OK;
  }
  process->paused = paused;
  set_output_interest(*process);
  if (!paused && process->ended) {
    // Posted: no callback comes from inside a function of the table.
    Instance* instance = &instance_;
    loop().post([instance, handle] {
      if (instance->open()) {
        instance->holdings->processes->finish(handle);
      }
    });
  }
  return CM_OK;
}

// --- input
// ------------------------------------------------------------------------------------------------------------

cm_status Processes::write(cm_handle handle, cm_bytes_pview bytes) {
  Process* process = find(handle);
  if (process == nullptr) {
    return CM_GONE;
  }
  if (!process->has_input || (bytes.data == nullptr && bytes.size != 0)) {
    return CM_INVALID;
  }
  if (process->input_closing || process->ended || (process->started && !process->input)) {
    return CM_GONE;
  }
  const std::uint64_t waiting = process->pending.size() - process->written;
  if (bytes.size > process->input_bytes_max - std::min(waiting, process->input_bytes_max)) {
    process->tell_drained = waiting != 0;
    return waiting == 0 ? CM_INVALID : CM_BUSY;  // more than fits at all can never be taken
  }
  process->pending.append(reinterpret_cast<const char*>(bytes.data), bytes.size);
  if (process->input) {
    static_cast<void>(loop().update_watch(process->input_watch, net::FdInterest{false, true}));
  }
  return CM_OK;
}

cm_status Processes::close_input(cm_handle handle) {
  Process* process = find(handle);
  if (process == nullptr || process->input_closing) {
    return CM_GONE;
  }
  if (!process->has_input) {
    return CM_INVALID;
  }
  if (process->started && !process->input) {
    return CM_GONE;
  }
  process->input_closing = true;
  if (process->input) {
    static_cast<void>(loop().update_watch(process->input_watch, net::FdInterest{false, true}));
  }
  return CM_OK;
}

void Processes::drop_input(Process& process) {
  if (process.input) {
    loop().unwatch_fd(std::exchange(process.input_watch, net::WatchId::kNone));
    process.input.reset();
  }
  process.pending.clear();
  process.written = 0;
}

void Processes::flush_input(cm_handle handle) {
  Process* process = find(handle);
  if (process == nullptr || !process->input) {
    return;
  }
  while (process->written < process->pending.size()) {
    const ssize_t done = ::write(process->input.get(), process->pending.data() + process->written,
                                 process->pending.size() - process->written);
    if (done < 0 && errno == EINTR) {
      continue;
    }
    if (done < 0 && errno == EAGAIN) {
      static_cast<void>(loop().update_watch(process->input_watch, net::FdInterest{false, true}));
      return;
    }
    if (done < 0) {
      drop_input(*process);  // it reads no more
      break;
    }
    process->written += static_cast<std::size_t>(done);
  }
  process->pending.clear();
  process->written = 0;
  if (process->input && process->input_closing) {
    drop_input(*process);
  } else if (process->input) {
    static_cast<void>(loop().update_watch(process->input_watch, net::FdInterest{}));
  }
  const auto drained = process->callbacks.input_drained;
  if (std::exchange(process->tell_drained, false) && drained != nullptr) {
    enter(instance_, CallbackKind::kProcessDrained, [drained, user = process->user, handle] { drained(user, handle); });
  }
}

// --- the end
// ----------------------------------------------------------------------------------------------------------

cm_status Processes::kill(cm_handle handle, std::uint64_t grace_ms) {
  Process* process = find(handle);
  if (process == nullptr) {
    return CM_GONE;
  }
  const bool first = !std::exchange(process->kill_asked, true);
  if (!process->started) {
    process->grace_ms = first ? grace_ms : std::min(process->grace_ms, grace_ms);
    return CM_OK;
  }
  terminate(handle, CM_PROCESS_KILLED, grace_ms);
  return CM_OK;
}

void Processes::terminate(cm_handle handle, std::uint32_t cause, std::uint64_t grace_ms) {
  Process* process = find(handle);
  if (process == nullptr || process->ended) {
    return;
  }
  const bool first = process->cause == 0;
  process->cause = first ? cause : process->cause;
  if (grace_ms == 0) {
    process->child.signal_group(SIGKILL);
    return;
  }
  if (first) {
    process->child.signal_group(SIGTERM);
  }
  // A later call can only make it shorter: whichever timer is first wins.
  const std::int64_t deadline_ns =
      net::Loop::now_ns() + static_cast<std::int64_t>(std::min(grace_ms, kProcessTimeMsMax)) * 1'000'000;
  if (process->grace_timer != net::TimerId::kNone && process->grace_deadline_ns <= deadline_ns) {
    return;
  }
  loop().cancel_timer(process->grace_timer);
  process->grace_deadline_ns = deadline_ns;
  process->grace_timer = loop().start_timer(deadline_ns, [this, handle] {
    if (Process* late = find(handle); late != nullptr) {
      late->grace_timer = net::TimerId::kNone;
      late->child.signal_group(SIGKILL);
    }
  });
}

void Processes::on_time_limit(cm_handle handle) {
  Process* process = find(handle);
  if (process == nullptr) {
    return;
  }
  process->limit_timer = net::TimerId::kNone;
  if (process->ended) {
    process->paused = false;
    finish(handle);  // it waited for a resume that did not come
    return;
  }
  instance_.services().counters.process_limit_kills.fetch_add(1, std::memory_order_relaxed);
  terminate(handle, CM_PROCESS_TIMED_OUT, process->grace_ms);
}

void Processes::on_exit(cm_handle handle) {
  Process* process = find(handle);
  if (process == nullptr || !process->child.collect(process->status, process->usage)) {
    return;
  }
  process->ended = true;
  loop().unwatch_fd(std::exchange(process->exit_watch, net::WatchId::kNone));
  loop().cancel_timer(std::exchange(process->grace_timer, net::TimerId::kNone));
  drop_input(*process);
  if (!process->paused) {
    finish(handle);
  }
}

void Processes::finish(cm_handle handle) {
  Process* process = find(handle);
  if (process == nullptr || process->paused) {
    return;
  }
  drain_streams(handle);
  process = find(handle);
  if (process == nullptr || process->paused) {
    return;  // the plugin paused it while it was told the rest
  }
  end_stream(handle, false);
  end_stream(handle, true);
  const std::unique_ptr<Process> removed = processes_.remove(handle);
  if (removed == nullptr) {
    return;
  }
  release(*removed);
  if (removed->cause == CM_PROCESS_OUTPUT_LIMIT) {
    instance_.services().counters.process_limit_kills.fetch_add(1, std::memory_order_relaxed);
  }
  const ProcessEnd end{removed->status,       removed->usage,       removed->cause,
                       removed->output_bytes, removed->time_ms_max, removed->output_bytes_max};
  std::string text;
  const cm_process_exit result = exit_of(end, text);
  if (removed->callbacks.exited != nullptr) {
    enter(instance_, CallbackKind::kProcessExited, [&] { removed->callbacks.exited(removed->user, handle, &result); });
  }
}

void Processes::release(Process& process) {
  for (net::WatchId* watch : {&process.exit_watch, &process.output.watch, &process.error.watch, &process.input_watch}) {
    loop().unwatch_fd(std::exchange(*watch, net::WatchId::kNone));
  }
  for (net::TimerId* timer : {&process.limit_timer, &process.grace_timer}) {
    loop().cancel_timer(std::exchange(*timer, net::TimerId::kNone));
  }
}

bool Processes::abandon(cm_handle handle) {
  const std::unique_ptr<Process> removed = processes_.remove(handle);
  if (removed == nullptr) {
    return false;
  }
  release(*removed);
  return true;
}

void Processes::silence() {
  processes_.for_each([this](cm_handle handle, Process& process) {
    left_alive_ += process.kill_asked || process.ended ? 0 : 1;
    release(process);
    processes_.remove(handle);  // kills what still runs
  });
}

std::uint64_t Processes::process_id(cm_handle handle) const {
  const Process* process = find(handle);
  return process != nullptr && process->child.pid() > 0 ? static_cast<std::uint64_t>(process->child.pid()) : 0;
}

}  // namespace cm::host
