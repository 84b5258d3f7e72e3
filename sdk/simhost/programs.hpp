// Programs of a simulated machine: what cm.process/1 starts. A program is a function that a test registers for a path;
// it is called when the program is started and says, by its ProgramRun, what it writes, reads and when it ends, all in
// virtual time. Most programs are a Script.
//
//   node.add_program("/usr/bin/lint", Script().read_to_end().wait_ms(20).err("line 3: no\n").exit(1));
//   node.add_program("/usr/bin/hang", Script().ignore_terminate().hang());
//
// A path that nobody registered is CM_PROCESS_NOT_STARTED, as a file that does not exist.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cm::sim {

// What a program was started with.
struct ProgramStart {
  std::string program;
  std::vector<std::string> arguments;  // argv[1] and on
  std::vector<std::string> environment;
  std::string working_folder;
  std::uint64_t memory_bytes_max = 0;
  std::uint64_t cpu_ms_max = 0;  // whole seconds; 0: none
  bool has_input = false;
};

// One running program, as it sees itself. Valid as long as a function that was given to it can be called: nothing is
// called after its end. The thread of the world.
class ProgramRun {
 public:
  virtual const ProgramStart& start() const noexcept = 0;
  // Writes to a stream. What has not been read yet waits, however much it is; `blocked` is then what a write(2) that
  // does not return would be.
  virtual void out(std::string_view bytes) = 0;
  virtual void err(std::string_view bytes) = 0;
  virtual bool blocked() const noexcept = 0;             // more than a pipe's worth waits to be read
  virtual void on_room(std::function<void()> once) = 0;  // called when it is blocked no more, at once if it is not
  virtual void after_ms(std::uint64_t delay_ms, std::function<void()> function) = 0;
  // Begins to read: pieces of at most 64 KiB, and an empty one for the end of the input. Without it, nothing is taken.
  virtual void on_input(std::function<void(std::string_view bytes)> function) = 0;
  virtual void close_input() = 0;  // reads no more: the writer finds it gone
  // Catches SIGTERM. Without it SIGTERM ends the program; SIGKILL always does.
  virtual void on_terminate(std::function<void()> function) = 0;
  // Uses processor time, without waiting. Beyond the limit it is ended by SIGXCPU.
  virtual void use_cpu_ms(std::uint64_t amount_ms) = 0;
  // False: beyond memory_bytes_max, as a malloc that fails. Otherwise it counts for the peak.
  virtual bool use_memory(std::uint64_t bytes_now) = 0;
  virtual void exit(int code) = 0;     // 0 to 255. The second end of a program is ignored
  virtual void crash(int signal) = 0;  // ended by a signal of its own
  virtual bool ended() const noexcept = 0;

 protected:
  ~ProgramRun() = default;
};

using Program = std::function<void(ProgramRun& run)>;

// A program that does one thing after the other, and ends with 0 after the last. Each start runs it from the beginning.
class Script {
 public:
  Script& out(std::string bytes);
  Script& err(std::string bytes);
  Script& wait_ms(std::uint64_t delay_ms);
  Script& read_to_end();  // swallows the input
  Script& echo_to_end();  // writes what it reads
  Script& use_cpu_ms(std::uint64_t amount_ms);
  Script& use_memory(std::uint64_t bytes_now);  // ends with 1 when it gets none
  Script& ignore_terminate();
  Script& call(std::function<void(ProgramRun& run)> function);  // anything else that takes no time
  Script& exit(int code);
  Script& crash(int signal);
  Script& hang();            // until it is killed
  operator Program() const;  // NOLINT(google-explicit-constructor): a script is a program

 private:
  // Does its thing and calls `next`, now or later or never.
  using Step = std::function<void(ProgramRun& run, std::function<void()> next)>;
  Script& add(Step step);
  static void run_from(ProgramRun& run, const std::shared_ptr<const std::vector<Step>>& steps, std::size_t index);

  std::vector<Step> steps_;
};

}  // namespace cm::sim
