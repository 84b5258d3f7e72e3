// cm.process/1 as C++: a child program that calls functions of its owner. [loop]
#pragma once

#include <claudemesh/ext/process.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <claudemesh/cpp/host.hpp>

namespace cm {

// What to start. 0 in a limit means the host's default (claudemesh/ext/process.h).
struct ProcessCommand {
  std::string program;  // absolute path
  std::vector<std::string> arguments = {};
  std::vector<std::string> environment = {};  // "NAME=value"; nothing is inherited
  std::string working_folder = {};
  std::string input = {};
  bool keep_input_open = false;  // for write(); otherwise the child sees the end of `input`
  bool merge_output = false;
  std::uint64_t memory_bytes_max = 0;
  std::uint64_t cpu_ms_max = 0;
  std::uint64_t descriptors_max = 0;
  std::uint64_t time_ms_max = 0;
  std::uint64_t output_bytes_max = 0;
  std::uint64_t input_bytes_max = 0;
  std::uint64_t grace_ms = 0;
};

// How it ended.
struct ProcessExit {
  std::uint32_t reason = 0;  // CM_PROCESS_EXITED ...
  int code = -1;
  int signal = 0;
  std::uint64_t cpu_us = 0;
  std::uint64_t memory_bytes_peak = 0;
  std::string text;
  // Did it end by itself with 0? [any]
  bool succeeded() const noexcept { return reason == CM_PROCESS_EXITED && code == 0; }
};

// One child. Killed at once, without a callback, when the object is destroyed. A callback may destroy or restart it.
class Process {
 public:
  Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() { abandon(); }

  // Set before start. `on_output`: the stream is CM_PROCESS_STDOUT or CM_PROCESS_STDERR; an empty text ends it.
  std::function<void(std::uint32_t stream, std::string_view bytes)> on_output;
  std::function<void()> on_input_drained;
  std::function<void(const ProcessExit&)> on_exit;

  // Starts a program; on_exit follows, also when it could not be started. A running child is abandoned first. [loop]
  Status start(const HostApi& host, const ProcessCommand& command) {
    abandon();
    host_ = &host;
    table_ = host.find<cm_process_v1>(CM_PROCESS_ID);
    if (table_ == nullptr) {
      return make_error(ErrorCode::kDenied,
                        "the table cm.process/1 was not granted; add it to `requires` of the manifest and, if the "
                        "configuration has one, to `permissions` of this instance");
    }
    const std::vector<cm_text_pview> arguments = views_of(command.arguments);
    const std::vector<cm_text_pview> environment = views_of(command.environment);
    const cm_process_options options = options_of(command, arguments, environment);
    cm_process_callbacks callbacks = {};
    callbacks.size = sizeof(callbacks);
    callbacks.output = &Process::output;
    callbacks.input_drained = &Process::input_drained;
    callbacks.exited = &Process::exited;
    const cm_status status = table_->spawn(host.self(), &options, &callbacks, this, &handle_);
    if (status != CM_OK) {
      return error_from_status(status, "the host refused to start " + command.program);
    }
    if ((options.flags & CM_PROCESS_INPUT) != 0 && !command.keep_input_open) {
      close_input();
    }
    return {};
  }

  // Has on_exit not been called yet? [loop]
  bool running() const noexcept { return handle_ != CM_NO_HANDLE; }
  // Queues input, copied. CM_BUSY: nothing was taken; on_input_drained tells when. [loop]
  cm_status write(std::string_view bytes) const noexcept {
    return running() ? table_->write(host_->self(), handle_, to_bytes_pview(bytes)) : CM_GONE;
  }
  // The child sees the end of its input after what was written. [loop]
  void close_input() const noexcept {
    if (running()) {
      table_->close_input(host_->self(), handle_);
    }
  }
  // While paused, output stays in the pipes and the child blocks when they are full. [loop]
  void pause_output(bool paused) const noexcept {
    if (running()) {
      table_->pause_output(host_->self(), handle_, paused);
    }
  }
  // on_exit follows. `grace_ms` 0: no SIGTERM first.
  void kill(std::uint64_t grace_ms) const noexcept {
    if (running()) {
      table_->kill(host_->self(), handle_, grace_ms);
    }
  }
  // Kills the child; no callback follows.
  void abandon() noexcept {
    if (running()) {
      table_->abandon(host_->self(), std::exchange(handle_, CM_NO_HANDLE));
    }
  }
  // For a log; 0 while it is being started. Never signal it yourself. [loop]
  std::uint64_t process_id() const noexcept { return running() ? table_->process_id(host_->self(), handle_) : 0; }

 private:
  static std::vector<cm_text_pview> views_of(const std::vector<std::string>& texts) {
    std::vector<cm_text_pview> views;
    views.reserve(texts.size());
    for (const std::string& text : texts) {
      views.push_back(to_pview(text));
    }
    return views;
  }
  static cm_process_options options_of(const ProcessCommand& command, const std::vector<cm_text_pview>& arguments,
                                       const std::vector<cm_text_pview>& environment) {
    cm_process_options options = {};
    options.size = sizeof(options);
    options.flags = (command.merge_output ? CM_PROCESS_MERGE_OUTPUT : 0) |
                    (command.keep_input_open || !command.input.empty() ? CM_PROCESS_INPUT : 0);
    options.program = to_pview(command.program);
    options.arguments = arguments.data();
    options.argument_count = arguments.size();
    options.environment = environment.data();
    options.environment_count = environment.size();
    options.working_folder = to_pview(command.working_folder);
    options.input = to_bytes_pview(std::string_view(command.input));
    options.memory_bytes_max = command.memory_bytes_max;
    options.cpu_ms_max = command.cpu_ms_max;
    options.descriptors_max = command.descriptors_max;
    options.time_ms_max = command.time_ms_max;
    options.output_bytes_max = command.output_bytes_max;
    options.input_bytes_max = command.input_bytes_max;
    options.grace_ms = command.grace_ms;
    return options;
  }

  // Each copies the function first: it may destroy or restart the object.
  static void output(void* user, cm_handle, std::uint32_t stream, cm_bytes_hview bytes) noexcept {
    auto* owner = static_cast<Process*>(user);
    owner->host_->guarded("process_output", [&] {
      if (const auto function = owner->on_output) {
        function(stream, to_view(bytes));
      }
    });
  }
  static void input_drained(void* user, cm_handle) noexcept {
    auto* owner = static_cast<Process*>(user);
    owner->host_->guarded("process_drained", [&] {
      if (const auto function = owner->on_input_drained) {
        function();
      }
    });
  }
  static void exited(void* user, cm_handle, const cm_process_exit* result) noexcept {
    auto* owner = static_cast<Process*>(user);
    owner->handle_ = CM_NO_HANDLE;
    owner->host_->guarded("process_exited", [&] {
      if (const auto function = owner->on_exit) {
        function(ProcessExit{result->reason, result->code, result->signal, result->cpu_us, result->memory_bytes_peak,
                             std::string(to_view(result->text))});
      }
    });
  }

  const HostApi* host_ = nullptr;
  const cm_process_v1* table_ = nullptr;
  cm_handle handle_ = CM_NO_HANDLE;
};

}  // namespace cm
