// Uses everything that a plugin offers once, in the hope that it gets to do what it does.
#include <memory>

#include "sdk/checker/drivers.hpp"

namespace cm::checker {
namespace {

constexpr std::uint64_t kLinkPatienceMs = 20'000;

void exercise_hook(Bench& bench) {
  const auto hook = std::make_shared<HookDriver>(bench);
  bench.keep(hook);
  if (!hook->usable()) {
    return;
  }
  for (const std::string_view point : {"broker.accept", "daemon.send", "daemon.received", "check.unknown"}) {
    hook->ask(point, R"({"mesh":"m","to":"bob","priority":"next"})", "the quick brown fox");
    hook->ask(point, R"({"mesh":"m","to":"bob","priority":"next"})", "");
  }
  bench.run(hook->timeout_ms() + 100);
}

void exercise_store(Bench& bench) {
  const auto store = std::make_shared<StoreDriver>(bench);
  bench.keep(store);
  if (!store->usable() || !store->prepare()) {
    return;
  }
  store->insert(1, "one");
  store->insert(2, "two");
  store->wait_all();
  store->rows();
}

void exercise_link(Bench& bench) {
  const auto link = std::make_shared<LinkDriver>(bench);
  bench.keep(link);
  if (!link->usable() || link->open(bench.about().config.url) != CM_OK) {
    return;
  }
  if (link->wait_state(CM_LINK_OPEN, kLinkPatienceMs)) {
    link->send("check-1", "Y2lwaGVy");
    link->send("check-2", "Y2lwaGVy");
    bench.peer().push_message("m1");
    bench.run(2'000);
  }
  link->close();
}

void exercise_bridge(Bench& bench) {
  BridgeDriver bridge(bench);
  if (!bridge.usable()) {
    return;
  }
  bridge.map("check", "check-room", "@check", CM_BRIDGE_TO_MESH | CM_BRIDGE_TO_REMOTE);
  bridge.deliver(true, {.channel = "check-room", .id = "x1"});
  bridge.deliver(false, {.channel = "@check", .id = "x2"});
}

void exercise_listeners(Bench& bench) {
  if (!bench.has_subject()) {
    return;
  }
  for (const auto& [handle, listener] : bench.subject().listeners) {
    const std::string address = listener->address;
    for (const auto& [method, target] :
         {std::pair("GET", "/"), std::pair("POST", "/v1/check"), std::pair("PUT", "//%00")}) {
      sim::HttpExchange exchange;
      exchange.method = method;
      exchange.target = target;
      exchange.headers = {{"Host", "localhost"}};
      exchange.body = "{\"check\":true}";
      bench.world().http(address, std::move(exchange), [](const sim::HttpAnswer&) {});
    }
  }
  bench.run(500);
}

}  // namespace

void exercise(Bench& bench, ExerciseOptions options) {
  exercise_hook(bench);
  exercise_store(bench);
  exercise_link(bench);
  exercise_bridge(bench);
  exercise_listeners(bench);
  bench.run(options.quiet_ms);
}

}  // namespace cm::checker
