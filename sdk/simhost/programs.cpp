#include "sdk/simhost/programs.hpp"

#include <utility>

namespace cm::sim {

Script& Script::add(Step step) {
  steps_.push_back(std::move(step));
  return *this;
}

Script& Script::call(std::function<void(ProgramRun& run)> function) {
  return add([function = std::move(function)](ProgramRun& run, const std::function<void()>& next) {
    function(run);
    next();
  });
}

Script& Script::out(std::string bytes) {
  return add([bytes = std::move(bytes)](ProgramRun& run, std::function<void()> next) {
    run.out(bytes);
    run.on_room(std::move(next));
  });
}

Script& Script::err(std::string bytes) {
  return add([bytes = std::move(bytes)](ProgramRun& run, std::function<void()> next) {
    run.err(bytes);
    run.on_room(std::move(next));
  });
}

Script& Script::wait_ms(std::uint64_t delay_ms) {
  return add([delay_ms](ProgramRun& run, std::function<void()> next) { run.after_ms(delay_ms, std::move(next)); });
}

Script& Script::read_to_end() {
  return add([](ProgramRun& run, std::function<void()> next) {
    run.on_input([next = std::move(next)](std::string_view bytes) {
      if (bytes.empty()) {
        next();
      }
    });
  });
}

Script& Script::echo_to_end() {
  return add([](ProgramRun& run, std::function<void()> next) {
    run.on_input([&run, next = std::move(next)](std::string_view bytes) {
      if (bytes.empty()) {
        next();
      } else {
        run.out(bytes);
      }
    });
  });
}

Script& Script::use_cpu_ms(std::uint64_t amount_ms) {
  return call([amount_ms](ProgramRun& run) { run.use_cpu_ms(amount_ms); });
}

Script& Script::use_memory(std::uint64_t bytes_now) {
  return call([bytes_now](ProgramRun& run) {
    if (!run.use_memory(bytes_now)) {
      run.err("out of memory\n");
      run.exit(1);
    }
  });
}

Script& Script::ignore_terminate() {
  return call([](ProgramRun& run) { run.on_terminate([] {}); });
}

Script& Script::exit(int code) {
  return call([code](ProgramRun& run) { run.exit(code); });
}

Script& Script::crash(int signal) {
  return call([signal](ProgramRun& run) { run.crash(signal); });
}

Script& Script::hang() {
  return add([](ProgramRun&, const std::function<void()>&) {});
}

void Script::run_from(ProgramRun& run, const std::shared_ptr<const std::vector<Step>>& steps, std::size_t index) {
  if (run.ended()) {
    return;
  }
  if (index == steps->size()) {
    run.exit(0);
    return;
  }
  (*steps)[index](run, [&run, steps, index] { run_from(run, steps, index + 1); });
}

Script::operator Program() const {
  return [steps = std::make_shared<const std::vector<Step>>(steps_)](ProgramRun& run) { run_from(run, steps, 0); };
}

}  // namespace cm::sim
