#include "sdk/simhost/child_process.hpp"

#include <algorithm>
#include <csignal>
#include <utility>

#include "host/services/process_text.hpp"
#include "host/services/processes.hpp"
#include "sdk/simhost/instance.hpp"
#include "sdk/simhost/processes.hpp"
#include "sdk/simhost/world.hpp"

namespace cm::sim {
namespace {

constexpr std::uint64_t kStartDelayUsMin = 200;  // a fork and an exec
constexpr std::uint64_t kStartDelayUsMax = 3'000;
constexpr std::uint64_t kPipeDelayUsMin = 5;
constexpr std::uint64_t kPipeDelayUsMax = 200;

constexpr std::uint64_t or_default(std::uint64_t given, std::uint64_t standard) {
  return given == 0 ? standard : given;
}

// As wait(2) tells it.
constexpr int wait_status(int code, int signal) {
  return signal != 0 ? signal : code << 8;
}

}  // namespace

ChildProcess::ChildProcess(Instance& instance, Processes& owner, cm_handle handle, ProgramStart start,
                           const cm_process_options& options, const cm_process_callbacks& callbacks, void* user)
    : instance_(instance),
      owner_(owner),
      handle_(handle),
      start_(std::move(start)),
      callbacks_(callbacks),
      user_(user),
      merge_((options.flags & CM_PROCESS_MERGE_OUTPUT) != 0),
      discard_((options.flags & CM_PROCESS_DISCARD_OUTPUT) != 0),
      output_bytes_max_(or_default(options.output_bytes_max, host::kProcessOutputBytes)),
      input_bytes_max_(or_default(options.input_bytes_max, host::kProcessInputBytes)),
      time_ms_max_(std::min(options.time_ms_max, host::kProcessTimeMsMax)),
      grace_ms_(or_default(options.grace_ms, host::kProcessGraceMs)) {
  if (options.input.size != 0) {
    pending_.assign(reinterpret_cast<const char*>(options.input.data), options.input.size);
  }
}

EventId ChildProcess::schedule(std::uint64_t delay_us, void (ChildProcess::*function)()) {
  return instance_.node().schedule_after(delay_us, [weak = weak_from_this(), function] {
    if (const auto self = weak.lock(); self != nullptr && !self->gone_) {
      (self.get()->*function)();
    }
  });
}

// --- start -----------------------------------------------------------------------------------------------------------

void ChildProcess::launch() {
  schedule(instance_.node().world().random().between(kStartDelayUsMin, kStartDelayUsMax), &ChildProcess::begin);
}

void ChildProcess::begin() {
  const Program* program = instance_.node().find_program(start_.program);
  if (program == nullptr) {
    not_started();
    return;
  }
  instance_.node().trace(instance_.name() + " runs " + start_.program);
  started_ = true;
  if (time_ms_max_ != 0) {
    limit_event_ = schedule(time_ms_max_ * 1000, &ChildProcess::on_time_limit);
  }
  const Program copy = *program;  // it may register another for its path
  copy(*this);
  if (kill_asked_) {
    terminate(CM_PROCESS_KILLED, std::exchange(grace_ms_, host::kProcessGraceMs));
  }
}

void ChildProcess::not_started() {
  const auto self = shared_from_this();
  owner_.children_.erase(handle_);
  gone_ = true;
  const std::string text =
      "cannot start " + start_.program + ": no such program on this simulated node; Node::add_program makes one";
  cm_process_exit result = {};
  result.size = sizeof(result);
  result.reason = CM_PROCESS_NOT_STARTED;
  result.code = -1;
  result.text = cm_text_hview{text.data(), text.size()};
  if (callbacks_.exited != nullptr) {
    callbacks_.exited(user_, handle_, &result);
  }
}

void ChildProcess::after_ms(std::uint64_t delay_ms, std::function<void()> function) {
  instance_.node().schedule_after(delay_ms * 1000, [weak = weak_from_this(), function = std::move(function)] {
    if (const auto self = weak.lock(); self != nullptr && !self->ended_ && !self->gone_) {
      function();
    }
  });
}

// --- output ----------------------------------------------------------------------------------------------------------

void ChildProcess::emit(std::uint32_t stream, std::string_view bytes) {
  if (ended_ || discard_ || streams_ended_) {
    return;
  }
  waiting_bytes_ += bytes.size();
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, CM_PROCESS_CHUNK_BYTES_MAX);
    waiting_.push_back(Piece{stream, std::string(piece)});
    bytes.remove_prefix(piece.size());
  }
  pump();
}

void ChildProcess::pump() {
  if (!pumping_ && !paused_ && !waiting_.empty()) {
    pumping_ = true;
    schedule(instance_.node().world().random().between(kPipeDelayUsMin, kPipeDelayUsMax), &ChildProcess::deliver_next);
  }
}

void ChildProcess::deliver_next() {
  const auto self = shared_from_this();
  pumping_ = false;
  if (!paused_ && deliver_piece()) {
    pump();
  }
  if (!gone_) {
    tell_room();
  }
}

// False when nothing more can be delivered now. The plugin may have abandoned this.
bool ChildProcess::deliver_piece() {
  if (waiting_.empty()) {
    return false;
  }
  const Piece piece = std::move(waiting_.front());
  waiting_.pop_front();
  waiting_bytes_ -= piece.bytes.size();
  const std::uint64_t left = output_bytes_max_ - output_bytes_;
  const std::uint64_t taken = std::min<std::uint64_t>(piece.bytes.size(), left);
  output_bytes_ += taken;
  if (taken != 0 && callbacks_.output != nullptr) {
    callbacks_.output(user_, handle_, piece.stream,
                      cm_bytes_hview{reinterpret_cast<const std::uint8_t*>(piece.bytes.data()), taken});
  }
  if (gone_) {
    return false;
  }
  if (taken < piece.bytes.size()) {
    terminate(CM_PROCESS_OUTPUT_LIMIT, 0);
    end_streams();
    return false;
  }
  return !paused_;
}

void ChildProcess::end_streams() {
  waiting_.clear();
  waiting_bytes_ = 0;
  if (std::exchange(streams_ended_, true) || discard_ || callbacks_.output == nullptr) {
    return;
  }
  for (const std::uint32_t stream : {CM_PROCESS_STDOUT, CM_PROCESS_STDERR}) {
    if (!gone_ && !(merge_ && stream == CM_PROCESS_STDERR)) {
      callbacks_.output(user_, handle_, stream, cm_bytes_hview{nullptr, 0});
    }
  }
}

void ChildProcess::on_room(std::function<void()> once) {
  if (!blocked()) {
    once();
    return;
  }
  room_ = std::move(once);
}

void ChildProcess::tell_room() {
  if (!blocked() && !ended_ && room_) {
    after_ms(0, std::exchange(room_, nullptr));
  }
}

void ChildProcess::pause(bool paused) {
  if (paused_ == paused) {
    return;
  }
  paused_ = paused;
  if (!paused && ended_) {
    schedule(1, &ChildProcess::finish);
  } else {
    pump();
  }
}

// --- input -----------------------------------------------------------------------------------------------------------

cm_status ChildProcess::write(cm_bytes_pview bytes) {
  if (!start_.has_input || (bytes.data == nullptr && bytes.size != 0)) {
    return CM_INVALID;
  }
  if (input_closing_ || input_closed_ || ended_) {
    return CM_GONE;
  }
  if (bytes.size > input_bytes_max_ - std::min<std::uint64_t>(pending_.size(), input_bytes_max_)) {
    tell_drained_ = !pending_.empty();
    return pending_.empty() ? CM_INVALID : CM_BUSY;
  }
  if (bytes.size != 0) {
    pending_.append(reinterpret_cast<const char*>(bytes.data), bytes.size);
  }
  feed();
  return CM_OK;
}

cm_status ChildProcess::close_writing() {
  if (!start_.has_input) {
    return CM_INVALID;
  }
  if (input_closing_ || input_closed_ || ended_) {
    return CM_GONE;
  }
  input_closing_ = true;
  feed();
  return CM_OK;
}

void ChildProcess::on_input(std::function<void(std::string_view)> function) {
  input_handler_ = std::move(function);
  feed();
}

void ChildProcess::close_input() {
  input_closed_ = true;
  input_handler_ = nullptr;
  pending_.clear();
  if (tell_drained_) {
    feed();
  }
}

void ChildProcess::feed() {
  if (!feeding_ && !ended_) {
    feeding_ = true;
    schedule(instance_.node().world().random().between(kPipeDelayUsMin, kPipeDelayUsMax), &ChildProcess::deliver_input);
  }
}

void ChildProcess::deliver_input() {
  feeding_ = false;
  if (ended_) {
    return;
  }
  if (pending_.empty() && std::exchange(tell_drained_, false) && callbacks_.input_drained != nullptr) {
    const auto self = shared_from_this();
    feed();  // the end of the input may be next
    callbacks_.input_drained(user_, handle_);
    return;
  }
  const bool at_end = !start_.has_input || input_closing_;
  if (!input_handler_ || (pending_.empty() && !at_end)) {
    return;
  }
  const auto handler = input_handler_;
  const std::string piece = pending_.substr(0, kPipeBytes);
  pending_.erase(0, piece.size());
  if (piece.empty()) {
    input_handler_ = nullptr;
  }
  handler(piece);
  if (!pending_.empty() || tell_drained_ || (at_end && !piece.empty())) {
    feed();
  }
}

// --- limits and the end ----------------------------------------------------------------------------------------------

void ChildProcess::use_cpu_ms(std::uint64_t amount_ms) {
  if (ended_) {
    return;
  }
  cpu_ms_ += amount_ms;
  const std::uint64_t limit_ms = (start_.cpu_ms_max + 999) / 1000 * 1000;  // the kernel counts seconds
  if (limit_ms != 0 && cpu_ms_ > limit_ms) {
    cpu_ms_ = limit_ms;
    end(0, SIGXCPU);
  }
}

bool ChildProcess::use_memory(std::uint64_t bytes_now) {
  if (bytes_now > start_.memory_bytes_max) {
    return false;
  }
  memory_bytes_peak_ = std::max(memory_bytes_peak_, bytes_now);
  return true;
}

void ChildProcess::kill(std::uint64_t grace_ms) {
  const bool first = !std::exchange(kill_asked_, true);
  if (!started_) {
    grace_ms_ = first ? grace_ms : std::min(grace_ms_, grace_ms);
    return;
  }
  terminate(CM_PROCESS_KILLED, grace_ms);
}

void ChildProcess::terminate(std::uint32_t cause, std::uint64_t grace_ms) {
  if (ended_) {
    return;
  }
  const bool first = cause_ == 0;
  cause_ = first ? cause : cause_;
  if (grace_ms == 0) {
    end(0, SIGKILL);
    return;
  }
  if (first) {
    schedule(1, &ChildProcess::deliver_terminate);
  }
  // A later call can only make it shorter.
  Scheduler& scheduler = instance_.node().world().scheduler();
  const std::uint64_t grace_us = std::min(grace_ms, host::kProcessTimeMsMax) * 1000;
  if (grace_event_.time_us != 0 && grace_event_.time_us <= scheduler.now_us() + grace_us) {
    return;
  }
  scheduler.cancel(grace_event_);
  grace_event_ = schedule(grace_us, &ChildProcess::on_grace_over);
}

void ChildProcess::deliver_terminate() {
  if (ended_) {
    return;
  }
  if (!terminate_handler_) {
    end(0, SIGTERM);
    return;
  }
  const auto handler = terminate_handler_;
  handler();
}

void ChildProcess::on_time_limit() {
  if (ended_) {
    paused_ = false;  // it waited for a resume that did not come
    finish();
    return;
  }
  terminate(CM_PROCESS_TIMED_OUT, grace_ms_);
}

void ChildProcess::end(int code, int signal) {
  if (ended_) {
    return;
  }
  ended_ = true;
  status_ = wait_status(code, signal);
  pending_.clear();
  instance_.node().world().scheduler().cancel(grace_event_);
  if (!paused_) {
    schedule(1, &ChildProcess::finish);
  }
}

// What is in the pipes still belongs to it. A plugin that pauses meanwhile gets the rest when it goes on.
void ChildProcess::finish() {
  const auto self = shared_from_this();
  if (gone_ || paused_) {
    return;
  }
  while (deliver_piece()) {
  }
  if (gone_ || paused_) {
    return;
  }
  end_streams();
  if (gone_) {
    return;
  }
  vanish();
  owner_.children_.erase(handle_);
  host::ProcessEnd end;
  end.status = status_;
  end.cause = cause_;
  end.usage.ru_utime.tv_sec = static_cast<time_t>(cpu_ms_ / 1000);
  end.usage.ru_utime.tv_usec = static_cast<suseconds_t>(cpu_ms_ % 1000 * 1000);
  end.usage.ru_maxrss = static_cast<long>(memory_bytes_peak_ / 1024);
  end.output_bytes = output_bytes_;
  end.time_ms_max = time_ms_max_;
  end.output_bytes_max = output_bytes_max_;
  std::string text;
  const cm_process_exit result = host::exit_of(end, text);
  instance_.node().trace(start_.program + " " + text);
  if (callbacks_.exited != nullptr) {
    callbacks_.exited(user_, handle_, &result);
  }
}

void ChildProcess::vanish() {
  gone_ = true;
  ended_ = true;
  Scheduler& scheduler = instance_.node().world().scheduler();
  scheduler.cancel(limit_event_);
  scheduler.cancel(grace_event_);
}

}  // namespace cm::sim
