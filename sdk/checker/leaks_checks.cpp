// What is left when an instance is gone.
#include <algorithm>

#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"
#include "sdk/checker/process_state.hpp"

namespace cm::checker {
namespace {

constexpr int kWarmUpLives = 3;
// Lives are measured in windows, and the window that grows least is judged: a cache grows in one of them, a leak in
// all, also one that shows only now and then, as the pages of a container do.
constexpr int kWindows = 3;
constexpr int kLivesPerWindow = 8;
// How free blocks are split shifts 16 bytes up or down now and then. Eight bytes that each life forgets are 256 to
// malloc and 64 to the address sanitizer.
constexpr std::uint64_t kNoiseBytesPerWindow = 32;

// One whole life; what the host still holds of the kind that `count` looks at.
Outcome leaves_none(const Subject& subject, std::size_t (*count)(const sim::Holdings&), const std::string& what,
                    const std::string& remedy) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  exercise(bench);
  bench.end();
  const std::size_t left = count(bench.left());
  return left == 0
             ? ok()
             : failed("after destroy the host still holds " + bench.left().text(), "no " + what + " is left", remedy);
}

Outcome leaves_no_timers(const Subject& subject) {
  return leaves_none(subject, [](const sim::Holdings& held) { return held.timers; }, "timer", "cancel them in stop");
}

Outcome leaves_no_posts(const Subject& subject) {
  return leaves_none(
      subject, [](const sim::Holdings& held) { return held.posts + held.jobs + held.queues; }, "post, job or queue",
      "close worker queues in stop, and post nothing from there");
}

Outcome leaves_no_connections(const Subject& subject) {
  return leaves_none(
      subject, [](const sim::Holdings& held) { return held.listeners + held.sockets + held.calls + held.requests; },
      "listener, connection, HTTP call or request", "close or cancel them in stop, and answer every request");
}

Outcome leaves_no_subscriptions(const Subject& subject) {
  return leaves_none(
      subject, [](const sim::Holdings& held) { return held.subscriptions; }, "subscription", "unsubscribe in stop");
}

Outcome leaves_no_references(const Subject& subject) {
  return leaves_none(
      subject, [](const sim::Holdings& held) { return held.references; }, "reference to another plugin",
      "release extensions in stop");
}

Outcome leaves_no_buffers(const Subject& subject) {
  return leaves_none(
      subject, [](const sim::Holdings& held) { return held.buffers; }, "buffer", "release every buffer once");
}

Outcome leaves_no_memory(const Subject& subject) {
  const auto live = [&subject](int number) {
    progress("life " + std::to_string(number + 1));
    Bench bench(subject);
    const bool up = bench.bring_up();
    if (up) {
      exercise(bench, {.quiet_ms = 500});
    }
    bench.end();
    return up;
  };
  for (int i = 0; i < kWarmUpLives; ++i) {
    if (!live(i)) {
      return Bench(subject).could_not("start");
    }
  }
  std::uint64_t least = UINT64_MAX;
  for (int window = 0; window < kWindows; ++window) {
    const std::uint64_t before = allocated_bytes();
    for (int i = 0; i < kLivesPerWindow; ++i) {
      live(kWarmUpLives + window * kLivesPerWindow + i);
    }
    const std::uint64_t after = allocated_bytes();
    least = std::min(least, after > before ? after - before : 0);
  }
  return least <= kNoiseBytesPerWindow
             ? ok()
             : failed("each life leaves about " + std::to_string(least / kLivesPerWindow) +
                          " bytes of memory behind, as malloc counts (its own 8 bytes and rounding included)",
                      "what is allocated is freed by the end of destroy",
                      "run the plugin's tests under -fsanitize=address, which names the allocation; what one instance "
                      "keeps in static variables counts as well");
}

Outcome leaves_no_descriptors(const Subject& subject) {
  {
    Bench first(subject);  // whatever is opened once per process is open now
    if (!first.bring_up()) {
      return first.could_not("start");
    }
    first.end();
  }
  const auto before = open_descriptors();
  for (int i = 0; i < 3; ++i) {
    Bench bench(subject);
    bench.bring_up();
    exercise(bench, {.quiet_ms = 500});
    bench.end();
  }
  const auto left = added(before, open_descriptors());
  return left.empty() ? ok()
                      : failed(std::to_string(left.size()) + " descriptors stay open: " + left.front(),
                               "every descriptor is closed by the end of destroy", "close it in stop or destroy");
}

constexpr Check kChecks[] = {
    {"leaks.leaves_no_timers", 14, "No timer is left at destroy.", leaves_no_timers},
    {"leaks.leaves_no_posts", 14, "No post, job or worker queue is left at destroy.", leaves_no_posts},
    {"leaks.leaves_no_connections", 14, "No listener, connection, call or request is left at destroy.",
     leaves_no_connections},
    {"leaks.leaves_no_subscriptions", 14, "No subscription is left at destroy.", leaves_no_subscriptions},
    {"leaks.leaves_no_references", 14, "No reference to another plugin is left at destroy.", leaves_no_references},
    {"leaks.leaves_no_buffers", 11, "No buffer is left at destroy.", leaves_no_buffers},
    {"leaks.leaves_no_memory", 14, "Repeated lives do not grow the memory.", leaves_no_memory, {}, 30'000},
    {"leaks.leaves_no_descriptors", 14, "Repeated lives leave no descriptor open.", leaves_no_descriptors},
};

}  // namespace

std::span<const Check> leaks_checks() {
  return kChecks;
}

}  // namespace cm::checker
