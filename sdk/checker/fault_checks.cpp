// Each call into the host fails once: a run counts the calls, then as many runs follow, and in each of them another
// call fails. Whatever happens then, the plugin must not crash, hang, break a rule or leave something behind.
#include <algorithm>

#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"

namespace cm::checker {
namespace {

constexpr std::uint64_t kRunsMax = 60;  // of one table; with more calls, every n-th is made to fail

void live(Bench& bench) {
  if (bench.bring_up()) {
    exercise(bench, {.quiet_ms = 1'000});
  }
  bench.end();
}

// What a host would plausibly answer for a table.
cm_status status_for(std::string_view table_id, std::uint64_t number) {
  if (table_id == CM_CONFIG_ID) {
    return CM_INTERNAL;  // CM_GONE would only mean that the option is not set
  }
  if (table_id == CM_METRICS_ID || table_id == CM_REGISTRY_ID) {
    return CM_INVALID;
  }
  const bool network = table_id.starts_with("cm.http") || table_id == CM_WEBSOCKET_ID;
  return number % 2 == 0 ? CM_BUSY : network ? CM_IO : CM_INTERNAL;
}

Outcome judge(Bench& bench, const std::string& situation) {
  if (bench.storm()) {
    return failed(situation + ": more than " + std::to_string(kEventsMax) + " events followed", "it calms down",
                  "wait before you try again");
  }
  if (bench.left().total() != 0) {
    return failed(situation + ": after destroy the host still holds " + bench.left().text(), "nothing is left",
                  "release on the way out of the error, too");
  }
  for (const sim::BreachNote& note : bench.breaches()) {
    if (note.breach != sim::Breach::kWorkBeforeStart) {
      return failed(situation + ": " + note.text, "no rule is broken on the way out of an error",
                    "look at the status before you use what the call was to give");
    }
  }
  return ok();
}

Outcome fails_each(const Subject& subject, std::string_view table_id) {
  std::uint64_t calls = 0;
  {
    Bench bench(subject);
    if (!bench.bring_up()) {
      return bench.could_not("start");
    }
    exercise(bench, {.quiet_ms = 1'000});
    calls = bench.subject().probe().fallible_calls(table_id);
    bench.end();
  }
  if (calls == 0) {
    return skipped("it calls no function of " + std::string(table_id) + " that can fail");
  }
  const std::uint64_t stride = std::max<std::uint64_t>(1, (calls + kRunsMax - 1) / kRunsMax);
  for (std::uint64_t number = 1; number <= calls; number += stride) {
    const cm_status status = status_for(table_id, number / stride);
    std::string situation =
        "call " + std::to_string(number) + " of " + std::string(table_id) + " answers " + status_name(status);
    progress(situation);
    Bench bench(subject,
                {.values = {}, .probe = [&](sim::HostProbe& probe) { probe.fail_nth(table_id, number, status); }});
    sim::HostProbe* probe = bench.prepared() ? &bench.subject().probe() : nullptr;
    bool up = bench.bring_up();
    if (up) {
      exercise(bench, {.quiet_ms = 1'000});
    }
    if (probe != nullptr && bench.has_subject()) {
      situation += probe->failed_function().empty() ? "" : " (" + probe->failed_function() + ")";
    }
    bench.end();
    Outcome outcome = judge(bench, situation);
    if (outcome.verdict == Verdict::kFailed) {
      return outcome;
    }
    if (!up && bench.problem_of_subject() && bench.problem().find("without a text") != std::string::npos) {
      return failed(situation + ": " + bench.problem(), "it goes on without, or refuses in words",
                    "call set_error before the failing status is returned");
    }
  }
  return ok();
}

Outcome fail_buffer(const Subject& subject) {
  return fails_each(subject, CM_BUFFER_ID);
}
Outcome fail_loop(const Subject& subject) {
  return fails_each(subject, CM_LOOP_ID);
}
Outcome fail_timer(const Subject& subject) {
  return fails_each(subject, CM_TIMER_ID);
}
Outcome fail_metrics(const Subject& subject) {
  return fails_each(subject, CM_METRICS_ID);
}
Outcome fail_events(const Subject& subject) {
  return fails_each(subject, CM_EVENTS_ID);
}
Outcome fail_worker(const Subject& subject) {
  return fails_each(subject, CM_WORKER_ID);
}
Outcome fail_config(const Subject& subject) {
  return fails_each(subject, CM_CONFIG_ID);
}
Outcome fail_registry(const Subject& subject) {
  return fails_each(subject, CM_REGISTRY_ID);
}
Outcome fail_server(const Subject& subject) {
  return fails_each(subject, CM_HTTP_SERVER_ID);
}
Outcome fail_client(const Subject& subject) {
  return fails_each(subject, CM_HTTP_CLIENT_ID);
}
Outcome fail_process(const Subject& subject) {
  return fails_each(subject, CM_PROCESS_ID);
}
Outcome fail_websocket(const Subject& subject) {
  return fails_each(subject, CM_WEBSOCKET_ID);
}

// Not one call but many, drawn by the seed; more and more of them, as a host gets worse.
Outcome survives_many_failures(const Subject& subject) {
  constexpr double kShares[] = {0.05, 0.1, 0.2, 0.4};
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const double share = kShares[seed % std::size(kShares)];
    const std::string situation =
        std::to_string(static_cast<int>(share * 100)) + " % of all calls fail (seed " + std::to_string(seed) + ")";
    progress(situation);
    Bench bench(subject, {.seed = seed, .values = {}, .probe = [&](sim::HostProbe& probe) {
                            probe.fail_randomly(share, seed);
                          }});
    live(bench);
    Outcome outcome = judge(bench, situation);
    if (outcome.verdict == Verdict::kFailed) {
      return outcome;
    }
  }
  return ok();
}

constexpr std::uint32_t kLimitMs = 40'000;
constexpr Check kChecks[] = {
    {"faults.buffer_calls", 12, "Every call of cm.buffer/1 may fail.", fail_buffer, {}, kLimitMs},
    {"faults.loop_calls", 12, "Every call of cm.loop/1 may fail.", fail_loop, {}, kLimitMs},
    {"faults.timer_calls", 12, "Every call of cm.timer/1 may fail.", fail_timer, {}, kLimitMs},
    {"faults.metrics_calls", 12, "Every call of cm.metrics/1 may fail.", fail_metrics, {}, kLimitMs},
    {"faults.events_calls", 12, "Every call of cm.events/1 may fail.", fail_events, {}, kLimitMs},
    {"faults.worker_calls", 12, "Every call of cm.worker/1 may fail.", fail_worker, {}, kLimitMs},
    {"faults.config_calls", 12, "Every call of cm.config/1 may fail.", fail_config, {}, kLimitMs},
    {"faults.registry_calls", 12, "Every call of cm.registry/1 may fail.", fail_registry, {}, kLimitMs},
    {"faults.http_server_calls", 12, "Every call of cm.http.server/1 may fail.", fail_server, {}, kLimitMs},
    {"faults.http_client_calls", 12, "Every call of cm.http.client/1 may fail.", fail_client, {}, kLimitMs},
    {"faults.websocket_calls", 12, "Every call of cm.websocket/1 may fail.", fail_websocket, {}, kLimitMs},
    {"faults.process_calls", 12, "Every call of cm.process/1 may fail.", fail_process, {}, kLimitMs},
    {"faults.survives_many_failures", 12, "Many calls may fail at once.", survives_many_failures, {}, kLimitMs},
};

}  // namespace

std::span<const Check> fault_checks() {
  return kChecks;
}

}  // namespace cm::checker
