// Who may call what from where, and how long a loop may be held.
#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"
#include "sdk/checker/process_state.hpp"

namespace cm::checker {
namespace {

constexpr std::uint64_t kBusyRunMs = 120'000;
constexpr std::chrono::seconds kThreadsEnd{5};  // of real time, for a thread that was told to end

Outcome keeps_thread_tags(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  exercise(bench);
  bench.end();
  for (const sim::BreachNote& note : bench.breaches()) {
    if (note.breach == sim::Breach::kWrongThread) {
      return failed(note.text, "[loop] functions on the instance's loop only",
                    "go back to the loop with cm.loop/1 post, and call it there");
    }
  }
  return ok();
}

// The other direction: what a plugin calls of others must come on their loop, too.
Outcome answers_on_the_loop(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  StoreDriver store(bench);
  if (!store.usable()) {
    return skipped("no extension of it answers from worker threads");
  }
  if (!store.prepare()) {
    return failed(store.problem(), "a usable store", "see the checks storage.*");
  }
  const StoreCall& write = store.insert(1, "x");
  store.wait(write);
  bench.end();
  return write.done_in_job ? failed("`done` came on a worker's thread", "on the caller's loop",
                                    "post the answer to the caller with cm.loop/1")
                           : ok();
}

Outcome ends_its_threads(const Subject& subject) {
  const std::size_t before = thread_count();
  {
    Bench bench(subject);
    if (!bench.bring_up()) {
      return bench.could_not("start");
    }
    exercise(bench, {.quiet_ms = 1'000});
    bench.end();
  }
  wait_for_threads(before, kThreadsEnd);
  const std::size_t after = thread_count();
  return after <= before
             ? ok()
             : failed(std::to_string(after - before) + " threads run on after destroy",
                      "no thread of the plugin outlives its instance", "end and join them in stop, or use cm.worker/1");
}

Outcome does_not_block(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  exercise(bench);
  bench.run(kBusyRunMs);
  bench.end();
  const std::uint64_t slowest_ms = bench.slowest_us() / 1000;
  return slowest_ms < kBlockedLimitMs
             ? ok()
             : failed(bench.slowest_what() + " took " + std::to_string(slowest_ms) + " ms of real time",
                      "less than " + std::to_string(kBlockedLimitMs) +
                          " ms: the host's watchdog then marks the instance as degraded",
                      "use timers, cm.worker/1 and DEFER instead of waiting");
}

constexpr Check kChecks[] = {
    {"threads.keeps_thread_tags", 7, "It calls [loop] functions on its loop only.", keeps_thread_tags},
    {"threads.answers_on_the_loop", 7, "What it calls of others comes on their loop.", answers_on_the_loop},
    {"threads.ends_its_threads", 14, "No thread of it outlives its instance.", ends_its_threads},
    {"threads.does_not_block", 9, "No call into it holds the loop for a second.", does_not_block, {}, 30'000},
};

}  // namespace

std::span<const Check> threads_checks() {
  return kChecks;
}

}  // namespace cm::checker
