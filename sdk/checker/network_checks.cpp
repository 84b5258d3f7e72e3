// A bad network, a bad client, clocks that jump and a machine that sleeps.
#include <algorithm>

#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"

namespace cm::checker {
namespace {

constexpr std::int64_t kDayMs = 86'400'000;
constexpr std::uint64_t kCallsPerSecondMax = 200;  // of a plugin that has nothing to do
constexpr std::uint64_t kAttemptsPerMinuteMax = 240;

std::uint64_t outbound_attempts(Bench& bench) {
  const sim::HostProbe& probe = bench.subject().probe();
  return probe.calls("cm.websocket/1 connect") + probe.calls("cm.http.client/1 send");
}

std::shared_ptr<LinkDriver> open_link(Bench& bench) {
  auto link = std::make_shared<LinkDriver>(bench);
  bench.keep(link);
  if (link->usable()) {
    link->open(bench.about().config.url);
  }
  return link;
}

Outcome ends_cleanly(Bench& bench, const std::string& situation) {
  bench.end();
  if (bench.storm()) {
    return failed(situation + ": the events do not end", "it calms down", "wait longer between attempts");
  }
  return bench.left().total() == 0 ? ok()
                                   : failed(situation + ": after destroy the host still holds " + bench.left().text(),
                                            "nothing is left", "release it in stop");
}

Outcome survives_resets(const Subject& subject) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    progress("connections break, seed " + std::to_string(seed));
    Bench bench(subject, {.seed = seed});
    bench.world().network().faults.reset = 0.15;
    bench.world().network().faults.slow = 0.2;
    if (!bench.bring_up()) {
      return bench.could_not("start on a bad network");
    }
    exercise(bench, {.quiet_ms = 30'000});
    Outcome outcome = ends_cleanly(bench, "connections break all the time");
    if (outcome.verdict == Verdict::kFailed) {
      return outcome;
    }
  }
  return ok();
}

Outcome survives_partitions(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  open_link(bench);
  for (int i = 0; i < 5; ++i) {
    progress("partition " + std::to_string(i + 1));
    bench.world().network().partition(std::string(kNodeName), std::string(kPeerNode));
    exercise(bench, {.quiet_ms = 40'000});
    bench.world().network().heal_all();
    bench.run(20'000);
  }
  return ends_cleanly(bench, "the network is cut for a while");
}

Outcome tries_again_with_patience(const Subject& subject) {
  Bench bench(subject);
  bench.peer().stop_listening();
  if (!bench.bring_up()) {
    return bench.could_not("start while its peer is away");
  }
  open_link(bench);
  bench.run(60'000);
  const std::uint64_t first = outbound_attempts(bench);
  bench.run(60'000);
  const std::uint64_t attempts = outbound_attempts(bench) - first;
  if (first == 0) {
    return skipped("it opens no connections");
  }
  return attempts <= kAttemptsPerMinuteMax && !bench.storm()
             ? ends_cleanly(bench, "nobody listens")
             : failed("while nobody listens it tries " + std::to_string(attempts) + " times a minute",
                      "at most " + std::to_string(kAttemptsPerMinuteMax) + ", fewer as time goes on",
                      "back off after each failure, with a random part");
}

Outcome survives_garbage(const Subject& subject) {
  Bench bench(subject);
  bench.peer().garbage = true;
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  const auto link = open_link(bench);
  for (const char* text : {"", "{", "[]", "null", "{\"type\":null}", "\xff\xff\xff", "{\"type\":\"push\"}",
                           R"({"type":"push","messageId":5,"ciphertext":[]})", R"({"type":"hello_ack"})"}) {
    bench.run(300);
    progress("the peer says " + std::string(text));
    bench.peer().push(text);
  }
  bench.peer().push(std::string(200'000, '['));
  bench.run(30'000);
  const bool talks = bench.peer().connections + bench.peer().requests > 0;
  Outcome outcome = ends_cleanly(bench, "the peer talks garbage");
  return outcome.verdict == Verdict::kOk && !talks ? skipped("it talks to nobody") : outcome;
}

// Everybody who can reach a listener can send anything.
Outcome answers_every_request(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  if (bench.subject().listeners.empty()) {
    return skipped("it has no listeners");
  }
  std::vector<std::string> addresses;
  for (const auto& [handle, listener] : bench.subject().listeners) {
    addresses.push_back(listener->address);
  }
  const std::pair<const char*, std::string> requests[] = {{"GET", "/"},
                                                          {"GET", "/health"},
                                                          {"POST", "/v1/send"},
                                                          {"DELETE", "/%ff%fe/..//x"},
                                                          {"GET", "/" + std::string(6'000, 'a')},
                                                          {"POST", "/?a=%zz&&&=&b"},
                                                          {"PATCH", "*"}};
  std::uint64_t asked = 0;
  std::uint64_t answered = 0;
  for (const std::string& address : addresses) {
    for (const auto& [method, target] : requests) {
      for (const std::string& body :
           {std::string(), std::string("{"), std::string(100'000, 'x'), std::string("\xff\0", 2)}) {
        sim::HttpExchange exchange;
        exchange.method = method;
        exchange.target = target;
        exchange.headers = {{"Host", "localhost"}, {"Content-Type", "application/json"}};
        exchange.body = body;
        ++asked;
        progress(std::string(method) + " " + target.substr(0, 40) + " at " + address);
        bench.world().http(address, std::move(exchange), [&answered](const sim::HttpAnswer&) { ++answered; });
        bench.run(200);
      }
    }
  }
  bench.run(121'000, [&] { return answered == asked; });
  return answered == asked ? ends_cleanly(bench, "odd requests come in")
                           : failed(std::to_string(asked - answered) + " of " + std::to_string(asked) +
                                        " requests had no answer after 120 s",
                                    "every request is answered once", "answer in every branch of a handler");
}

Outcome survives_clock(const Subject& subject, std::int64_t jump_ms, const std::string& what) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  exercise(bench, {.quiet_ms = 2'000});
  const std::uint64_t before = bench.subject().probe().calls_total();
  progress(what);
  bench.node().clock_skew_ms = jump_ms;
  bench.run(30'000);
  const std::uint64_t calls = bench.subject().probe().calls_total() - before;
  if (bench.storm() || calls > kCallsPerSecondMax * 30) {
    return failed(what + ": " + std::to_string(calls) + " host calls followed within 30 s", "it stays calm",
                  "use cm.clock/1 monotonic_us for durations, and unix_ms for time stamps only");
  }
  exercise(bench, {.quiet_ms = 1'000});
  return ends_cleanly(bench, what);
}

Outcome survives_clock_forward(const Subject& subject) {
  return survives_clock(subject, 3'650 * kDayMs, "the wall clock jumps ten years ahead");
}

Outcome survives_clock_backward(const Subject& subject) {
  return survives_clock(subject, -3'650 * kDayMs, "the wall clock jumps ten years back");
}

Outcome survives_sleep(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  const auto link = open_link(bench);
  exercise(bench, {.quiet_ms = 5'000});
  for (const std::uint64_t hours : {1U, 24U, 24U * 30}) {
    progress("the machine sleeps " + std::to_string(hours) + " h");
    const std::uint64_t before = bench.subject().probe().calls_total();
    bench.world().sleep_for_ms(hours * 3'600'000);
    bench.run(30'000);
    const std::uint64_t calls = bench.subject().probe().calls_total() - before;
    if (bench.storm() || calls > kCallsPerSecondMax * 30) {
      return failed("after " + std::to_string(hours) + " h of sleep " + std::to_string(calls) +
                        " host calls followed within 30 s",
                    "it goes on, without catching up on every timer that was missed",
                    "arm the next timer from now, not from when the last one should have fired");
    }
  }
  return ends_cleanly(bench, "the machine slept");
}

Outcome is_quiet_when_idle(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  bench.run(5'000);
  const std::uint64_t before = bench.subject().probe().calls_total();
  bench.run(60'000);
  const std::uint64_t calls = bench.subject().probe().calls_total() - before;
  return calls <= kCallsPerSecondMax * 60 && !bench.storm()
             ? ends_cleanly(bench, "it is idle")
             : failed(std::to_string(calls) + " host calls in a minute without any work",
                      "at most " + std::to_string(kCallsPerSecondMax) + " a second",
                      "wait for events instead of polling");
}

constexpr Check kChecks[] = {
    {"network.survives_resets", 9, "It survives connections that break all the time.", survives_resets, {}, 30'000},
    {"network.survives_partitions",
     9,
     "It survives a network that is cut for a while.",
     survives_partitions,
     {},
     30'000},
    {"network.tries_again_with_patience", 9, "It backs off while nobody listens.", tries_again_with_patience},
    {"network.survives_garbage", 9, "It survives a peer that talks garbage.", survives_garbage},
    {"network.answers_every_request", 9, "It answers every request, however odd.", answers_every_request, {}, 30'000},
    {"network.survives_clock_forward", 9, "It stays calm when the wall clock jumps ahead.", survives_clock_forward},
    {"network.survives_clock_backward", 9, "It stays calm when the wall clock jumps back.", survives_clock_backward},
    {"network.survives_sleep", 9, "It stays calm after a sleep of the machine.", survives_sleep},
    {"network.is_quiet_when_idle", 9, "Without work it does hardly anything.", is_quiet_when_idle},
};

}  // namespace

std::span<const Check> network_checks() {
  return kChecks;
}

}  // namespace cm::checker
