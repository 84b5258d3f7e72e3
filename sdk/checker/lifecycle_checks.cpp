// Every order of steps that a host may take, and the refusal of those that it must not take.
#include <algorithm>
#include <chrono>
#include <map>

#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"
#include "sdk/checker/process_state.hpp"

namespace cm::checker {
namespace {

constexpr int kRepeats = 20;
constexpr std::chrono::seconds kThreadsCall{5};  // of real time; only a plugin whose threads run on takes it

Outcome breach_outcome(Bench& bench, sim::Breach breach, std::string expected, std::string remedy) {
  for (const sim::BreachNote& note : bench.breaches()) {
    if (note.breach == breach) {
      return failed(note.text, std::move(expected), std::move(remedy));
    }
  }
  return ok();
}

Outcome runs_a_life(const Subject& subject) {
  Bench bench(subject);
  progress("create, configure, start");
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  progress("use");
  exercise(bench);
  progress("drain");
  const cm_status drained = bench.drain();
  progress("stop");
  bench.stop();
  progress("destroy");
  bench.destroy();
  return drained == CM_OK ? ok()
                          : failed("drain answered " + status_name(drained) + ": " + bench.problem(),
                                   "CM_OK, at once or before the deadline of 10 s",
                                   "finish or give up what is in flight, then complete the ticket");
}

Outcome ends_after_create(const Subject& subject) {
  Bench bench(subject);
  if (!bench.prepared() || bench.create() != CM_OK) {
    return bench.could_not("get created");
  }
  progress("destroy right after create");
  bench.destroy();
  return ok();
}

Outcome ends_after_configure(const Subject& subject) {
  Bench bench(subject);
  if (!bench.prepared() || bench.create() != CM_OK || bench.configure() != CM_OK) {
    return bench.could_not("get configured");
  }
  progress("destroy right after configure");
  bench.destroy();
  return bench.left().total() == 0 ? ok()
                                   : failed("after configure and destroy the host still holds " + bench.left().text(),
                                            "nothing is left", "free in destroy what configure took");
}

Outcome stops_without_drain(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  exercise(bench, {.quiet_ms = 0});
  progress("stop without drain");
  bench.stop();
  bench.destroy();
  return bench.left().total() == 0 ? ok()
                                   : failed("after stop without drain the host still holds " + bench.left().text(),
                                            "nothing is left", "release everything in stop; drain may not come");
}

// The step is made, and then at once the next: a deferred answer has no time to come.
Outcome stops_while_starting(const Subject& subject) {
  Bench bench(subject);
  if (!bench.prepared() || bench.create() != CM_OK || bench.configure() != CM_OK) {
    return bench.could_not("get configured");
  }
  for (sim::Instance* instance : bench.node().instances()) {
    instance->start([](cm_status, const std::string&) {});
    if (instance->name() != kSubjectName) {
      bench.run(5'000);
    }
  }
  progress("stop right after start, before it is complete");
  bench.stop();
  bench.destroy();
  return bench.left().total() == 0 ? ok()
                                   : failed("after a stop during start the host still holds " + bench.left().text(),
                                            "nothing is left", "let stop end a start that is still going on");
}

Outcome stops_while_draining(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  exercise(bench, {.quiet_ms = 0});
  bench.subject().drain(kDrainLimitMs, [](cm_status, const std::string&) {});
  progress("stop right after drain, before it is complete");
  bench.stop();
  bench.destroy();
  return bench.left().total() == 0 ? ok()
                                   : failed("after a stop during drain the host still holds " + bench.left().text(),
                                            "nothing is left", "let stop end a drain that is still going on");
}

Outcome refuses_illegal_orders(const Subject& subject) {
  const std::string remedy =
      "keep the phase in the instance and answer CM_INVALID; the C++ layer of the SDK does it for you";
  const auto refused = [](cm_status status) { return status != CM_OK && status != CM_DEFER; };
  {
    Bench bench(subject);
    if (!bench.prepared() || bench.create() != CM_OK) {
      return bench.could_not("get created");
    }
    const auto* table = bench.subject().table();
    progress("start before configure");
    if (const cm_status status = table->start(bench.subject().raw(), 1); !refused(status)) {
      return failed("start before configure answered " + status_name(status), "a refusal such as CM_INVALID", remedy);
    }
    progress("drain before start");
    if (const cm_status status = table->drain(bench.subject().raw(), 1, 1000); !refused(status)) {
      return failed("drain before start answered " + status_name(status), "a refusal such as CM_INVALID", remedy);
    }
  }
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  const auto* table = bench.subject().table();
  progress("configure twice");
  if (const cm_status status = table->configure(bench.subject().raw()); !refused(status)) {
    return failed("a second configure answered " + status_name(status), "a refusal such as CM_INVALID", remedy);
  }
  progress("start twice");
  if (const cm_status status = table->start(bench.subject().raw(), 1); !refused(status)) {
    return failed("a second start answered " + status_name(status), "a refusal such as CM_INVALID", remedy);
  }
  return ok();
}

Outcome answers_known_statuses(const Subject& subject) {
  Bench bench(subject);
  if (!bench.prepared() || bench.create() != CM_OK) {
    return bench.could_not("get created");
  }
  const auto legal = [](cm_status status, bool may_defer) {
    return status <= CM_INTERNAL || (may_defer && status == CM_DEFER);
  };
  const cm_status configured = bench.configure();
  if (!legal(configured, false)) {
    return failed("configure answered " + status_name(configured), "CM_OK or a failure; configure is never deferred",
                  "move work that takes time to start");
  }
  if (configured != CM_OK || bench.start() != CM_OK) {
    return bench.could_not("start");
  }
  const cm_status drained = bench.subject().table()->drain(bench.subject().raw(), bench.subject().next_handle(), 1'000);
  if (!legal(drained, true)) {
    return failed("drain answered " + status_name(drained), "CM_OK, CM_DEFER or a failure of abi.h",
                  "answer one of the codes of the header");
  }
  return ok();
}

Outcome completes_once(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  bench.run(2'000);
  bench.drain();
  bench.run(2'000);
  bench.stop();
  Outcome outcome =
      breach_outcome(bench, sim::Breach::kCompletion, "each deferred step completed once, with its ticket",
                     "complete a ticket once and forget it");
  bench.destroy();
  return outcome;
}

Outcome refuses_in_words(const Subject& subject) {
  // Without any table hardly a plugin can work; the first step that says no must say why.
  BenchOptions options;
  options.probe = [](sim::HostProbe& probe) {
    for (const sim::HostTableInfo& table : sim::host_tables()) {
      probe.withhold(table.id);
    }
  };
  Bench bench(subject, std::move(options));
  if (!bench.prepared()) {
    return bench.could_not("get loaded");
  }
  if (bench.bring_up()) {
    return skipped("it works without any table, so it has nothing to refuse");
  }
  return bench.problem().find("without a text") == std::string::npos
             ? ok()
             : failed(bench.problem(), "a failing step tells in words what was found, expected and to be done",
                      "call set_error before you return the status");
}

Outcome waits_for_start(const Subject& subject) {
  Bench bench(subject);
  if (!bench.prepared() || bench.create() != CM_OK || bench.configure() != CM_OK) {
    return bench.could_not("get configured");
  }
  return breach_outcome(bench, sim::Breach::kWorkBeforeStart,
                        "no timer, post, job, listener or connection before start", "move it to start");
}

Outcome is_silent_after_stop(const Subject& subject) {
  const std::size_t threads = thread_count();
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  exercise(bench, {.quiet_ms = 100});
  bench.drain();
  bench.stop();
  const auto outcome = [&bench] {
    return breach_outcome(bench, sim::Breach::kCallAfterStop, "no call to the host between stop and destroy",
                          "let stop cancel, close and release everything before it returns");
  };
  // A thread of its own that runs on gets the time to call.
  wait_for_threads(threads, kThreadsCall, [&outcome] { return outcome().verdict == Verdict::kFailed; });
  Outcome seen = outcome();
  bench.destroy();
  return seen;
}

Outcome can_live_again(const Subject& subject) {
  for (int i = 0; i < kRepeats; ++i) {
    progress("life " + std::to_string(i + 1) + " of " + std::to_string(kRepeats));
    Bench bench(subject);
    if (!bench.bring_up()) {
      Outcome outcome = bench.could_not("start");
      outcome.found = "life " + std::to_string(i + 1) + ": " + outcome.found;
      return outcome;
    }
    bench.run(200);
    bench.end();
  }
  return ok();
}

Outcome allows_two_instances(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  // Two machines, one process: the plugin's code is there once.
  progress("a second instance beside the first");
  sim::Instance& first = bench.subject();
  sim::Instance second(bench.node(), first.wanted(), first.factory(), bench.world().next_handle());
  bench.world().register_instance(second.self(), &second);
  const cm_status created = second.create();
  const cm_status configured = created == CM_OK ? second.configure() : created;
  const std::string text = second.take_error();
  second.destroy();
  bench.world().forget_instance(second.self());
  bench.run(500);
  return configured == CM_OK
             ? ok()
             : failed("while one instance runs, a second one answered " + status_name(configured) + " " + text,
                      "any number of instances in one process",
                      "keep all state in the instance; no variables of the library");
}

Outcome offers_its_extensions(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  sim::Instance& instance = bench.subject();
  for (const std::string& id : subject.manifest->provides) {
    progress("get_extension(\"" + id + "\")");
    const void* table = instance.extension(id.c_str());
    if (table == nullptr) {
      return failed("`provides` names " + id + ", but get_extension answers null", "the table that is promised",
                    "answer it from the end of configure on");
    }
    std::uint32_t size = 0;
    __builtin_memcpy(&size, table, sizeof(size));
    if (size < 16 || size > 4096 || instance.extension(id.c_str()) != table) {
      return failed("the table of " + id + " says " + std::to_string(size) + " bytes, or moves between two calls",
                    "a table that begins with its size and stays where it is",
                    "keep one table for the life of the instance and set its size");
    }
  }
  for (const char* id : {"check.unknown/1", "", "cm.hook/9"}) {
    progress("get_extension(\"" + std::string(id) + "\")");
    if (instance.extension(id) != nullptr) {
      return failed("get_extension(\"" + std::string(id) + "\") answered something", "null for unknown ids",
                    "compare the whole id");
    }
  }
  return ok();
}

Outcome keeps_process_settings(const Subject& subject) {
  const auto before = process_settings();
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  exercise(bench, {.quiet_ms = 1'000});
  bench.end();
  const auto changed = added(before, process_settings());
  return changed.empty()
             ? ok()
             : failed("after a life of the plugin " + changed.front(),
                      "signals, umask, working folder and locale stay as they were", "leave the process to the host");
}

Outcome keeps_drain_deadline(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  exercise(bench, {.quiet_ms = 0});
  const std::uint64_t begin_us = bench.world().scheduler().now_us();
  const cm_status status = bench.drain();
  const std::uint64_t took_ms = (bench.world().scheduler().now_us() - begin_us) / 1000;
  return status == CM_OK && took_ms <= kDrainLimitMs
             ? ok()
             : failed("drain answered " + status_name(status) + " after " + std::to_string(took_ms) + " ms",
                      "CM_OK within the deadline of " + std::to_string(kDrainLimitMs) + " ms",
                      "start a timer for the deadline and give up what is left when it fires");
}

constexpr Check kChecks[] = {
    {"lifecycle.runs_a_life", 14, "create, configure, start, work, drain, stop, destroy.", runs_a_life},
    {"lifecycle.ends_after_create", 14, "It can be destroyed right after create.", ends_after_create},
    {"lifecycle.ends_after_configure", 14, "It can be destroyed right after configure.", ends_after_configure},
    {"lifecycle.stops_without_drain", 14, "It can be stopped without a drain.", stops_without_drain},
    {"lifecycle.stops_while_starting", 14, "It can be stopped while its start is going on.", stops_while_starting},
    {"lifecycle.stops_while_draining", 14, "It can be stopped while its drain is going on.", stops_while_draining},
    {"lifecycle.refuses_illegal_orders", 14, "It refuses steps that come too early or twice.", refuses_illegal_orders},
    {"lifecycle.answers_known_statuses", 12, "Its steps answer statuses of the header; configure is never deferred.",
     answers_known_statuses},
    {"lifecycle.completes_once", 9, "It completes a deferred step once, with the right ticket.", completes_once},
    {"lifecycle.refuses_in_words", 12, "A step that fails says why.", refuses_in_words},
    {"lifecycle.waits_for_start", 14, "Nothing runs before start.", waits_for_start},
    {"lifecycle.is_silent_after_stop", 14, "After stop it does not call the host any more.", is_silent_after_stop},
    {"lifecycle.keeps_drain_deadline", 14, "Its drain is over before the deadline.", keeps_drain_deadline},
    {"lifecycle.can_live_again", 14, "It can be created and destroyed many times.", can_live_again},
    {"lifecycle.allows_two_instances", 7, "Two instances live in one process.", allows_two_instances},
    {"lifecycle.offers_its_extensions", 5, "It offers what the manifest promises, and null for unknown ids.",
     offers_its_extensions},
    {"lifecycle.keeps_process_settings", 19, "It leaves signals, umask, folder and locale of the process alone.",
     keeps_process_settings},
};

}  // namespace

std::span<const Check> lifecycle_checks() {
  return kChecks;
}

}  // namespace cm::checker
