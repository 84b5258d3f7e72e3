// cm.hook/1: results, texts, deadlines.
#include <claudemesh/ext/hook.h>

#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"

namespace cm::checker {
namespace {

constexpr const char* kPoints[] = {"broker.accept", "daemon.send", "daemon.received"};
constexpr const char* kFacts = R"({"mesh":"m","sender":"a","from":"a","to":"bob","name":"a","id":"1",)"
                               R"("target":"bob","priority":"next","bytes":5})";
constexpr std::uint64_t kTimeoutMaxMs = 120'000;

// Texts that people and programs send. Words that guards like to refuse are among them.
std::vector<std::string> payloads() {
  return {"",
          "hello",
          std::string("\0\0\0", 3),
          "\xff\xfe\x80 not UTF-8",
          "password secret token BEGIN PRIVATE KEY check",
          std::string(300'000, 'x'),
          "{\"a\":[1,2,3]}",
          "line\nline\r\n\ttab",
          "\xf0\x9f\x98\x80 \xc3\xa4\xc3\xb6\xc3\xbc"};
}

template <typename Function>
Outcome with_hook(const Subject& subject, Function&& function) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  const auto hook = std::make_shared<HookDriver>(bench);
  bench.keep(hook);
  return hook->usable() ? function(bench, *hook) : skipped("its cm.hook/1 cannot be called (hook.has_a_sane_table)");
}

void ask_everything(Bench& bench, HookDriver& hook) {
  for (const char* point : kPoints) {
    for (const std::string& payload : payloads()) {
      progress(std::string("invoke at ") + point + " with " + std::to_string(payload.size()) + " bytes");
      hook.ask(point, kFacts, payload);
    }
    bench.run(hook.timeout_ms() + 1'000);
  }
}

Outcome has_a_sane_table(const Subject& subject) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  const auto* table = bench.extension<cm_hook_v1>(CM_HOOK_ID);
  if (table == nullptr || table->size < sizeof(cm_hook_v1) || table->invoke == nullptr) {
    return failed("no cm_hook_v1 with invoke", "a table whose size covers invoke", "fill it before configure returns");
  }
  if (table->kind != CM_HOOK_OBSERVER && table->kind != CM_HOOK_GUARD) {
    return failed("the kind " + std::to_string(table->kind), "CM_HOOK_OBSERVER or CM_HOOK_GUARD",
                  "a guard refuses when it fails, an observer lets pass: say which it is");
  }
  return table->timeout_ms <= kTimeoutMaxMs
             ? ok()
             : failed("a timeout of " + std::to_string(table->timeout_ms) + " ms", "at most two minutes",
                      "nobody waits longer for a message to leave");
}

Outcome ignores_unknown_points(const Subject& subject) {
  return with_hook(subject, [](Bench&, HookDriver& hook) {
    for (const char* point : {"check.unknown", "", "daemon.sen", "daemon.send2", "DAEMON.SEND"}) {
      for (const std::string& payload : payloads()) {
        const std::uint32_t result = hook.ask(point, kFacts, payload).result;
        if (result != CM_HOOK_CONTINUE) {
          return failed("at the point \"" + std::string(point) + "\" it answered " + std::to_string(result),
                        "CM_HOOK_CONTINUE at points that it does not know", "compare the whole name of the point");
        }
      }
    }
    return ok();
  });
}

Outcome answers_known_results(const Subject& subject) {
  return with_hook(subject, [](Bench& bench, HookDriver& hook) {
    ask_everything(bench, hook);
    for (const auto& answer : hook.answers()) {
      if (answer->result > CM_HOOK_REPLACE || (answer->finished && answer->late_result > CM_HOOK_REPLACE)) {
        return failed("it answered " + std::to_string(answer->finished ? answer->late_result : answer->result),
                      "CONTINUE, DEFER, DENY or REPLACE", "answer one of the results of hook.h");
      }
      if (answer->finished && answer->late_result == CM_HOOK_DEFER) {
        return failed("a late answer was DEFER again", "CONTINUE, DENY or REPLACE", "decide before you call finish");
      }
    }
    return ok();
  });
}

Outcome explains_refusals(const Subject& subject) {
  return with_hook(subject, [](Bench& bench, HookDriver& hook) {
    ask_everything(bench, hook);
    for (const auto& answer : hook.answers()) {
      const std::uint32_t result = answer->finished ? answer->late_result : answer->result;
      if (result == CM_HOOK_DENY && answer->payload.empty()) {
        return failed("it answered DENY without a text", "a text that tells the sender why, and what to do",
                      "call set_payload before you return DENY, or give the text to finish");
      }
      if (result == CM_HOOK_REPLACE && !answer->finished && !answer->has_payload) {
        return failed("it answered REPLACE without a payload", "the new payload", "call set_payload before you return");
      }
    }
    return ok();
  });
}

Outcome keeps_its_deadline(const Subject& subject) {
  return with_hook(subject, [](Bench& bench, HookDriver& hook) {
    ask_everything(bench, hook);
    bench.run(hook.timeout_ms() + 1'000);
    std::size_t deferred = 0;
    for (const auto& answer : hook.answers()) {
      if (answer->result != CM_HOOK_DEFER) {
        continue;
      }
      ++deferred;
      if (!answer->finished) {
        return failed("it answered DEFER, and then nothing within " + std::to_string(hook.timeout_ms()) + " ms",
                      "one call of finish before the deadline of its own timeout_ms",
                      "call finish in every branch, or raise timeout_ms");
      }
    }
    return deferred == 0 ? skipped("it never answers DEFER") : ok();
  });
}

Outcome finishes_once(const Subject& subject) {
  return with_hook(subject, [](Bench& bench, HookDriver& hook) {
    ask_everything(bench, hook);
    bench.run(hook.timeout_ms() + 1'000);
    bench.stop();
    bench.run(1'000);
    std::uint32_t at_stop = 0;
    for (const auto& answer : hook.answers()) {
      at_stop += answer->finishes;
      if (answer->finishes > 1 || (answer->finishes == 1 && answer->result != CM_HOOK_DEFER)) {
        return failed(
            std::to_string(answer->finishes) + " calls of finish after the result " + std::to_string(answer->result),
            "one after DEFER, none after anything else", "forget a ticket once it is answered");
      }
    }
    bench.destroy();
    std::uint32_t at_end = 0;
    for (const auto& answer : hook.answers()) {
      at_end += answer->finishes;
    }
    return at_end == at_stop ? ok()
                             : failed("finish was called in destroy", "no answer after stop",
                                      "give up tickets in stop: those who asked are gone");
  });
}

Outcome reads_within_bounds(const Subject& subject) {
  return with_hook(subject, [](Bench& bench, HookDriver& hook) {
    // Payloads and facts of every short length: memory ends right behind them.
    for (const char* point : kPoints) {
      for (std::size_t length = 0; length < 80; ++length) {
        progress(std::string("invoke at ") + point + " with " + std::to_string(length) + " bytes");
        hook.ask(point, std::string_view(kFacts).substr(0, length), std::string(length, 'p'));
      }
      for (const char* facts : {"", "{", "null", "[]", "{\"to\":5}", "{\"to\":\"\\u0000\"}"}) {
        progress(std::string("invoke at ") + point + " with the facts " + facts);
        hook.ask(point, facts, "hello");
      }
    }
    bench.run(hook.timeout_ms());
    return ok();
  });
}

Outcome leaves_events_alone(const Subject& subject) {
  return with_hook(subject, [](Bench& bench, HookDriver& hook) {
    ask_everything(bench, hook);
    const bool wrote = std::any_of(hook.answers().begin(), hook.answers().end(),
                                   [](const auto& answer) { return answer->wrote_into_event; });
    return wrote ? failed("after invoke the point, the facts or the payload of an event are not what they were",
                          "memory that the host shows (`_hview`) is only read",
                          "copy what you change, hand it to set_payload and answer CM_HOOK_REPLACE")
                 : ok();
  });
}

constexpr Check kChecks[] = {
    {"hook.has_a_sane_table", 5, "Its table names a kind, a timeout and invoke.", has_a_sane_table, CM_HOOK_ID},
    {"hook.ignores_unknown_points", 5, "It lets pass what it does not know.", ignores_unknown_points, CM_HOOK_ID},
    {"hook.answers_known_results", 12, "It answers one of the four results.", answers_known_results, CM_HOOK_ID},
    {"hook.explains_refusals", 12, "DENY has a text, and REPLACE a payload.", explains_refusals, CM_HOOK_ID},
    {"hook.keeps_its_deadline", 9, "A deferred event is finished before its deadline.", keeps_its_deadline, CM_HOOK_ID},
    {"hook.finishes_once", 9, "A deferred event is finished once, and none after stop.", finishes_once, CM_HOOK_ID},
    {"hook.reads_within_bounds", 11, "It survives empty, cut and odd facts and payloads.", reads_within_bounds,
     CM_HOOK_ID},
    {"hook.leaves_events_alone", 11, "It writes into nothing that it was shown.", leaves_events_alone, CM_HOOK_ID},
};

}  // namespace

std::span<const Check> hook_checks() {
  return kChecks;
}

}  // namespace cm::checker
