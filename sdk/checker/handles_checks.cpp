// Handles that are stale, unknown or gone, and a host that is gone altogether.
#include <algorithm>

#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"

namespace cm::checker {
namespace {

constexpr std::uint64_t kCrashPointsMax = 60;

Outcome whole_life(const Subject& subject, sim::Breach breach, const std::string& expected, const std::string& remedy) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  exercise(bench);
  bench.end();
  for (const sim::BreachNote& note : bench.breaches()) {
    if (note.breach == breach) {
      return failed(note.text, expected, remedy);
    }
  }
  return ok();
}

Outcome uses_given_handles(const Subject& subject) {
  return whole_life(subject, sim::Breach::kUnknownHandle, "only handles that the host gave out",
                    "keep handles as they were given; 0 stands for none");
}

Outcome releases_once(const Subject& subject) {
  return whole_life(subject, sim::Breach::kReleasedTwice, "each reference given back once",
                    "forget a handle when it is released");
}

// From some call on the host answers CM_GONE to everything, as it does once an instance is being torn down.
Outcome survives_a_dying_host(const Subject& subject) {
  std::uint64_t total = 0;
  {
    Bench bench(subject);
    if (!bench.bring_up()) {
      return bench.could_not("start");
    }
    exercise(bench, {.quiet_ms = 1'000});
    total = bench.subject().probe().calls_total();
    bench.end();
  }
  const std::uint64_t stride = std::max<std::uint64_t>(1, total / kCrashPointsMax);
  for (std::uint64_t step = 1; step <= total; step += stride) {
    progress("the host is gone after step " + std::to_string(step));
    Bench bench(subject, {.seed = step});
    bench.node().crash_after_steps(step);
    if (bench.create() == CM_OK && bench.configure() == CM_OK && bench.start() == CM_OK && bench.has_subject()) {
      exercise(bench, {.quiet_ms = 500});
    }
    if (bench.has_subject()) {
      bench.crash();
    }
  }
  return ok();
}

Outcome survives_late_events(const Subject& subject) {
  // Everything is under way when stop comes: answers to HTTP calls, opening sockets, jobs, posts.
  for (const std::uint64_t delay_ms : {0U, 1U, 3U, 20U, 200U}) {
    progress("stop " + std::to_string(delay_ms) + " ms after start");
    Bench bench(subject, {.seed = delay_ms + 1});
    if (!bench.bring_up()) {
      return bench.could_not("start");
    }
    const auto link = std::make_shared<LinkDriver>(bench);
    bench.keep(link);
    if (link->usable()) {
      link->open(subject.config.url);
    }
    const auto hook = std::make_shared<HookDriver>(bench);
    bench.keep(hook);
    if (hook->usable()) {
      hook->ask("daemon.send", "{}", "late");
      hook->ask("daemon.send", "{}", "later");
    }
    const auto store = std::make_shared<StoreDriver>(bench);
    bench.keep(store);
    if (store->usable() && store->prepare()) {
      store->insert(1, "late");
    }
    bench.run(delay_ms);
    bench.stop();
    bench.run(5'000);
    bench.destroy();
    if (bench.left().total() != 0) {
      return failed("stopped in the middle of its work it leaves " + bench.left().text(), "nothing is left",
                    "cancel in stop whatever is under way");
    }
  }
  return ok();
}

constexpr Check kChecks[] = {
    {"handles.uses_given_handles", 10, "It gives the host only handles that the host made.", uses_given_handles},
    {"handles.releases_once", 11, "It gives each buffer and reference back once.", releases_once},
    {"handles.survives_a_dying_host",
     10,
     "It survives CM_GONE from every call, from any moment on.",
     survives_a_dying_host,
     {},
     30'000},
    {"handles.survives_late_events", 10, "It can be stopped while events for it are under way.", survives_late_events},
};

}  // namespace

std::span<const Check> handles_checks() {
  return kChecks;
}

}  // namespace cm::checker
