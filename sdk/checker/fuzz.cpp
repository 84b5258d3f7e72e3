// Random lives: random values, faults, traffic, clocks and ends, all drawn from one seed, so that the seed is the
// finding.
#include <algorithm>

#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"
#include "sdk/checker/runner.hpp"

namespace cm::checker {
namespace {

using sim::Random;

constexpr std::uint64_t kActionsMax = 30;

std::string random_text(Random& random, std::size_t size_max) {
  std::string text(random.below(size_max + 1), '\0');
  const bool readable = random.chance(0.5);
  for (char& c : text) {
    c = static_cast<char>(readable ? random.between(0x20, 0x7e) : random.below(256));
  }
  return text;
}

Values random_values(const Subject& subject, Random& random) {
  Values values = subject.config.values;
  for (const auto& option : subject.manifest->options) {
    const auto candidates = good_values(option);
    if (!candidates.empty() && random.chance(0.05)) {
      values[option.name] = candidates[random.below(candidates.size())];
    }
  }
  return values;
}

// What acts on one bench; the drivers live as long as it.
class Life {
 public:
  Life(Bench& bench, Random& random) : bench_(bench), random_(random) {
    hook_ = keep<HookDriver>();
    store_ = keep<StoreDriver>();
    link_ = keep<LinkDriver>();
    store_ready_ = store_->usable() && store_->prepare();
  }

  void act() {
    switch (random_.below(12)) {
      case 0:
        return ask_hook();
      case 1:
        return use_store();
      case 2:
        return use_link();
      case 3:
        return use_bridge();
      case 4:
        return send_request();
      case 5:
        return bench_.peer().push(random_text(random_, 400));
      case 6:
        return bench_.peer().drop_connections();
      case 7:
        return partition();
      case 8:
        bench_.node().clock_skew_ms = static_cast<std::int64_t>(random_.below(2'000'000'000)) - 1'000'000'000;
        return;
      case 9:
        return bench_.world().sleep_for_ms(random_.below(100'000));
      case 10:
        return reload();
      default:
        bench_.run(random_.below(20'000));
    }
  }

 private:
  template <typename Driver>
  std::shared_ptr<Driver> keep() {
    auto driver = std::make_shared<Driver>(bench_);
    bench_.keep(driver);
    return driver;
  }

  void ask_hook() {
    constexpr const char* kPoints[] = {"broker.accept", "daemon.send", "daemon.received", "check.unknown"};
    if (hook_->usable()) {
      hook_->ask(kPoints[random_.below(4)], random_.chance(0.7) ? "{}" : random_text(random_, 100),
                 random_text(random_, 2'000));
    }
  }

  void use_store() {
    if (store_ready_) {
      store_->insert(static_cast<std::int64_t>(random_.below(50)), random_text(random_, 300));
      bench_.node().disk().faults.full = random_.chance(0.1);
      bench_.node().disk().faults.io_error = random_.chance(0.1) ? 0.2 : 0;
    }
  }

  void use_link() {
    if (!link_->usable()) {
      return;
    }
    if (link_->link() == CM_NO_HANDLE || random_.chance(0.1)) {
      link_->close();
      link_->open(bench_.about().config.url);
    } else {
      link_->send("f" + std::to_string(++sent_), "Y2lwaGVy");
      bench_.peer().push_message("p" + std::to_string(sent_));
    }
  }

  void use_bridge() {
    BridgeDriver bridge(bench_);
    if (!bridge.usable()) {
      return;
    }
    bridge.map("fuzz" + std::to_string(random_.below(5)), "room" + std::to_string(random_.below(5)), "@fuzz",
               static_cast<std::uint32_t>(random_.below(4)));
    bridge.deliver(random_.chance(0.5), {.channel = random_.chance(0.5) ? "room1" : "@fuzz",
                                         .id = random_text(random_, 20),
                                         .text = random_text(random_, 500),
                                         .trail = random_.chance(0.3) ? random_text(random_, 90) : std::string()});
  }

  void send_request() {
    constexpr const char* kMethods[] = {"GET", "POST", "DELETE", "PUT", "OPTIONS"};
    for (const auto& [handle, listener] : bench_.subject().listeners) {
      sim::HttpExchange exchange;
      exchange.method = kMethods[random_.below(5)];
      exchange.target = "/" + random_text(random_, 40);
      exchange.body = random_text(random_, 500);
      bench_.world().http(listener->address, std::move(exchange), [](const sim::HttpAnswer&) {});
    }
  }

  void partition() {
    if (random_.chance(0.5)) {
      bench_.world().network().heal_all();
    } else {
      bench_.world().network().partition(std::string(kNodeName), std::string(kPeerNode));
    }
  }

  void reload() {
    sim::Instance& instance = bench_.subject();
    const cm_status status = instance.reload_prepare(instance.wanted().options);
    if (status != CM_UNSUPPORTED) {
      instance.reload_finish(status == CM_OK && random_.chance(0.5));
    }
  }

  Bench& bench_;
  Random& random_;
  std::shared_ptr<HookDriver> hook_;
  std::shared_ptr<StoreDriver> store_;
  std::shared_ptr<LinkDriver> link_;
  bool store_ready_ = false;
  std::uint64_t sent_ = 0;
};

Outcome judge(Bench& bench, bool orderly) {
  if (bench.storm()) {
    return failed("the events do not end", "it calms down", "wait before you try again");
  }
  if (orderly && bench.left().total() != 0) {
    return failed("after destroy the host still holds " + bench.left().text(), "nothing is left", "release it in stop");
  }
  for (const sim::BreachNote& note : bench.breaches()) {
    return failed(note.text, "no rule is broken", "see the rule of " + std::string(breach_name(note.breach)));
  }
  return ok();
}

}  // namespace

Outcome fuzz_one(const Subject& subject, std::uint64_t seed) {
  if (!subject.manifest) {
    return skipped("it has no readable manifest");
  }
  Random random(seed);
  constexpr double kFailures[] = {0, 0, 0.01, 0.1, 0.4};
  const double failures = kFailures[random.below(5)];
  Bench bench(subject, {.seed = seed, .values = random_values(subject, random), .probe = [&](sim::HostProbe& probe) {
                          probe.fail_randomly(failures, seed);
                        }});
  bench.world().network().faults.reset = random.chance(0.3) ? 0.1 : 0;
  if (!bench.bring_up()) {
    bench.end();
    return judge(bench, true);
  }
  Life life(bench, random);
  const std::uint64_t actions = random.below(kActionsMax);
  for (std::uint64_t i = 0; i < actions && !bench.storm(); ++i) {
    progress("seed " + std::to_string(seed) + ", action " + std::to_string(i + 1));
    life.act();
  }
  const bool orderly = random.chance(0.7);
  progress("seed " + std::to_string(seed) + ", " + (orderly ? "the end" : "a crash"));
  if (orderly) {
    bench.end();
  } else {
    bench.crash();
  }
  return judge(bench, orderly);
}

}  // namespace cm::checker
