// A hook in C++: spaces out what a daemon sends. A message that comes too soon waits for its turn without holding up
// anything else, one that would have to wait too long is refused with a text for its sender.
//
// It shows what the C++ layer adds to the C tables: options and metrics in configure, a coroutine for each message that
// waits, an answer that is given later, a reload that changes an option while messages wait, and an end that leaves
// nothing behind. Everything runs on one loop, so there is no lock.
//
//   [plugins.pace]
//   gap = "2s"
//   [plugins.daemon]
//   hooks = ["pace"]
#include <claudemesh/ext/hook.h>
#include <claudemesh/cpp/plugin.hpp>

#include <algorithm>
#include <list>
#include <string>

namespace {

constexpr std::uint32_t kDeadlineSlackMs = 1'000;  // the chain's deadline lies this much after our longest wait

class Pace final : public cm::PluginInstance {
 public:
  explicit Pace(const cm_host* host) : PluginInstance(host) {}

  // Log and metrics are missing here: it works without them.
  std::vector<cm::TableNeed> required_tables() const override {
    return {cm::need<cm_config_v1>(CM_CONFIG_ID), cm::need<cm_timer_v1>(CM_TIMER_ID),
            cm::need<cm_clock_v1>(CM_CLOCK_ID)};
  }

  cm::Status configure() override {
    gap_ms_ = static_cast<std::uint64_t>(host().option_int("gap"));
    wait_max_ms_ = static_cast<std::uint64_t>(host().option_int("wait_max"));
    hook_.timeout_ms = static_cast<std::uint32_t>(wait_max_ms_) + kDeadlineSlackMs;
    delayed_ = host().counter("pace_delayed_total", "", "Messages that waited for their turn");
    refused_ = host().counter("pace_refused_total", "", "Messages that were refused because the wait was too long");
    waiting_count_ = host().gauge("pace_waiting", "", "Messages that wait now");
    return {};
  }

  void start(Done started) override { started(cm::Status()); }

  // A program that is about to end keeps nobody waiting: what is here goes out now.
  void drain(std::uint64_t /*deadline_ms*/, Done drained) override {
    end_all_turns(true);
    drained(cm::Status());
  }

  // Usually nobody waits any more. Who does gets no answer: those who asked have stopped before us.
  void stop() override { end_all_turns(false); }

  const void* extension(std::string_view id) override { return id == CM_HOOK_ID ? &hook_ : nullptr; }

  // Phase one only looks: any value that passed the manifest's range is fine here.
  cm::Status reload_prepare() override { return {}; }
  void reload_finish(bool commit) override {
    if (commit) {
      gap_ms_ = static_cast<std::uint64_t>(host().option_int("gap"));
    }
  }

 private:
  // One message that waits: the timer and the place where its coroutine is suspended.
  struct Turn {
    explicit Turn(const cm::HostApi& host) : timer(host) {}
    void come(bool may_answer) {
      timer.cancel();
      has_come.set(may_answer);
    }
    cm::Timer timer;
    cm::OneShot<bool> has_come;
  };

  // What must be kept of a hook's reply to answer it after `invoke` has returned.
  struct LateAnswer {
    decltype(cm_hook_reply::finish) finish;
    void* context;
    cm_handle ticket;
    void give(std::uint32_t result) const { finish(context, ticket, result, cm::to_bytes_pview(std::string_view())); }
  };

  static std::uint32_t invoke(void* instance, const cm_hook_event* event, const cm_hook_reply* reply) noexcept {
    // The instance of an extension is the object that the factory made, seen as its base.
    return static_cast<Pace*>(static_cast<cm::PluginInstance*>(instance))->decide(*event, *reply);
  }

  std::uint32_t decide(const cm_hook_event& event, const cm_hook_reply& reply) {
    if (cm::to_view(event.point) != "daemon.send" || ending_) {
      return CM_HOOK_CONTINUE;
    }
    const std::uint64_t now_us = host().monotonic_us();
    const std::uint64_t turn_us = std::max(now_us, next_turn_us_);
    const std::uint64_t wait_us = turn_us - now_us;
    if (wait_us > wait_max_ms_ * 1000) {
      refused_.add();
      const std::string text = "too many messages at once: this one would wait " + std::to_string(wait_us / 1000) +
                               " ms, at most " + std::to_string(wait_max_ms_) + " ms are allowed; send it later";
      reply.set_payload(reply.context, event.ticket, cm::to_bytes_pview(std::string_view(text)));
      return CM_HOOK_DENY;
    }
    next_turn_us_ = turn_us + gap_ms_ * 1000;
    if (wait_us == 0) {
      return CM_HOOK_CONTINUE;
    }
    delayed_.add();
    const LateAnswer answer{reply.finish, reply.context, event.ticket};
    cm::spawn(let_go_after(wait_us, answer));
    return CM_HOOK_DEFER;
  }

  // Runs until the first co_await inside `spawn`, and from there on when the timer fires or the plugin ends.
  cm::Task<void> let_go_after(std::uint64_t wait_us, LateAnswer answer) {
    const auto turn = turns_.emplace(turns_.end(), host());
    waiting_count_.add(1);
    turn->timer.start(wait_us, 0, [turn] { turn->come(true); });
    const bool may_answer = co_await turn->has_come;
    turns_.erase(turn);
    waiting_count_.add(-1);
    if (may_answer) {
      answer.give(CM_HOOK_CONTINUE);
    }
  }

  void end_all_turns(bool may_answer) {
    ending_ = true;
    while (!turns_.empty()) {
      turns_.front().come(may_answer);  // resumes the coroutine, which takes itself off the list
    }
  }

  cm_hook_v1 hook_ = {sizeof(cm_hook_v1), CM_HOOK_GUARD, 200, 0, &Pace::invoke};
  std::uint64_t gap_ms_ = 0;
  std::uint64_t wait_max_ms_ = 0;
  std::uint64_t next_turn_us_ = 0;  // when the next message may go
  bool ending_ = false;
  std::list<Turn> turns_;  // a list, because the coroutines keep their place in it
  cm::Metric delayed_;
  cm::Metric refused_;
  cm::Metric waiting_count_;
};

}  // namespace

CM_DEFINE_PLUGIN(Pace);
