// One simulated child program: between the plugin that started it and the program that a test made. Its program and the
// plugin are never on the stack together: each is called from an event of its own.
#pragma once

#include <claudemesh/ext/process.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "sdk/simhost/programs.hpp"
#include "sdk/simhost/scheduler.hpp"

namespace cm::sim {

class Instance;
class Processes;

class ChildProcess final : public ProgramRun, public std::enable_shared_from_this<ChildProcess> {
 public:
  ChildProcess(Instance& instance, Processes& owner, cm_handle handle, ProgramStart start,
               const cm_process_options& options, const cm_process_callbacks& callbacks, void* user);

  // --- the plugin's side ---
  void launch();  // soon, as an event
  cm_status write(cm_bytes_pview bytes);
  cm_status close_writing();
  void pause(bool paused);
  void kill(std::uint64_t grace_ms);
  std::uint64_t number() const noexcept { return started_ ? kFirstNumber + handle_ : 0; }
  bool counts_as_left() const noexcept { return !kill_asked_ && !ended_; }
  void vanish();  // ended without a word

  // --- the program's side ---
  const ProgramStart& start() const noexcept override { return start_; }
  void out(std::string_view bytes) override { emit(CM_PROCESS_STDOUT, bytes); }
  void err(std::string_view bytes) override { emit(merge_ ? CM_PROCESS_STDOUT : CM_PROCESS_STDERR, bytes); }
  bool blocked() const noexcept override { return waiting_bytes_ > kPipeBytes; }
  void on_room(std::function<void()> once) override;
  void after_ms(std::uint64_t delay_ms, std::function<void()> function) override;
  void on_input(std::function<void(std::string_view)> function) override;
  void close_input() override;
  void on_terminate(std::function<void()> function) override { terminate_handler_ = std::move(function); }
  void use_cpu_ms(std::uint64_t amount_ms) override;
  bool use_memory(std::uint64_t bytes_now) override;
  void exit(int code) override { end(code & 0xff, 0); }
  void crash(int signal) override { end(0, signal); }
  bool ended() const noexcept override { return ended_; }

 private:
  static constexpr std::uint64_t kPipeBytes = 65536;
  static constexpr std::uint64_t kFirstNumber = 1000;
  struct Piece {
    std::uint32_t stream;
    std::string bytes;
  };

  EventId schedule(std::uint64_t delay_us, void (ChildProcess::*function)());
  void begin();
  void emit(std::uint32_t stream, std::string_view bytes);
  void pump();
  void deliver_next();
  bool deliver_piece();
  void tell_room();
  void end_streams();
  void feed();
  void deliver_input();
  void terminate(std::uint32_t cause, std::uint64_t grace_ms);
  void on_time_limit();
  void on_grace_over() { end(0, kSignalKill); }
  void deliver_terminate();
  void end(int code, int signal);
  void finish();
  void not_started();

  static constexpr int kSignalKill = 9;

  Instance& instance_;
  Processes& owner_;
  const cm_handle handle_;
  const ProgramStart start_;
  const cm_process_callbacks callbacks_;
  void* const user_;
  const bool merge_;
  const bool discard_;
  const std::uint64_t output_bytes_max_;
  const std::uint64_t input_bytes_max_;
  const std::uint64_t time_ms_max_;
  std::uint64_t grace_ms_;

  bool started_ = false;
  bool ended_ = false;  // the program is no more; finish follows
  bool gone_ = false;   // nothing is called any more
  bool kill_asked_ = false;
  bool paused_ = false;
  int status_ = 0;  // as wait(2) tells it
  std::uint32_t cause_ = 0;
  EventId limit_event_;
  EventId grace_event_;  // time 0: none is set

  std::deque<Piece> waiting_;
  std::uint64_t waiting_bytes_ = 0;
  std::uint64_t output_bytes_ = 0;
  bool pumping_ = false;
  bool streams_ended_ = false;
  std::function<void()> room_;

  std::string pending_;
  bool input_closing_ = false;
  bool input_closed_ = false;
  bool feeding_ = false;
  bool tell_drained_ = false;
  std::function<void(std::string_view)> input_handler_;

  std::function<void()> terminate_handler_;
  std::uint64_t cpu_ms_ = 0;
  std::uint64_t memory_bytes_peak_ = 0;
};

}  // namespace cm::sim
