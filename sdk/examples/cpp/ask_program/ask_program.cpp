// A hook that asks a program: each message that a daemon wants to send is given to it on its standard input. It ends
// with 0: the message goes. It ends with 1: the message is refused, with what the program wrote as the reason. Anything
// else is a broken program, and `if_broken` decides.
//
// It shows what cm.process/1 is for: the program runs outside, under limits, and whatever it does - hang, crash, flood
// - the daemon goes on. No call blocks: `invoke` answers DEFER, and the end of the program gives the answer.
//
//   [plugins.ask]
//   use = "ask_program"
//   program = "/usr/local/bin/no-secrets"
//   [plugins.daemon]
//   hooks = ["ask"]
#include <claudemesh/ext/hook.h>
#include <claudemesh/cpp/plugin.hpp>
#include <claudemesh/cpp/process.hpp>

#include <algorithm>
#include <list>
#include <string>

namespace {

constexpr std::uint64_t kReasonBytesMax = 1'000;      // shown to the sender
constexpr std::uint64_t kOutputBytesMax = 64 * 1024;  // then the program is ended
constexpr std::uint64_t kGraceMs = 200;               // between TERM and KILL
constexpr std::uint32_t kDeadlineSlackMs = 2'000;     // the chain waits this much longer than the program may take

class AskProgram final : public cm::PluginInstance {
 public:
  explicit AskProgram(const cm_host* host) : PluginInstance(host) {}

  std::vector<cm::TableNeed> required_tables() const override {
    return {cm::need<cm_config_v1>(CM_CONFIG_ID), cm::need<cm_process_v1>(CM_PROCESS_ID)};
  }

  cm::Status configure() override {
    command_.program = host().option_text("program");
    command_.arguments = host().option_list("arguments");
    command_.time_ms_max = static_cast<std::uint64_t>(host().option_int("time_max"));
    command_.memory_bytes_max = static_cast<std::uint64_t>(host().option_int("memory_max"));
    command_.output_bytes_max = kOutputBytesMax;
    command_.grace_ms = kGraceMs;
    command_.merge_output = true;
    at_once_max_ = static_cast<std::size_t>(host().option_int("at_once_max"));
    allows_if_broken_ = host().option_text("if_broken") == "allow";
    hook_.timeout_ms = static_cast<std::uint32_t>(command_.time_ms_max) + kDeadlineSlackMs;
    asked_ = host().counter("ask_program_asked_total", "", "Messages that the program was asked about");
    broken_ = host().counter("ask_program_broken_total", "", "Times that the program gave no answer");
    if (command_.program.empty() || command_.program.front() != '/') {
      return cm::make_error(cm::ErrorCode::kInvalid, "found program = \"" + command_.program +
                                                         "\", expected an absolute path; PATH is not searched");
    }
    return {};
  }

  void start(Done started) override { started(cm::Status()); }

  // Destroying a cm::Process ends its program at once. Who asked gets no answer: it has stopped before us.
  void stop() override { questions_.clear(); }

  const void* extension(std::string_view id) override { return id == CM_HOOK_ID ? &hook_ : nullptr; }

 private:
  // One message that waits for the program.
  struct Question {
    cm::Process process;
    std::string said;
    decltype(cm_hook_reply::finish) finish = nullptr;
    void* context = nullptr;
    cm_handle ticket = CM_NO_HANDLE;
  };

  static std::uint32_t invoke(void* instance, const cm_hook_event* event, const cm_hook_reply* reply) noexcept {
    return static_cast<AskProgram*>(static_cast<cm::PluginInstance*>(instance))->ask(*event, *reply);
  }

  std::uint32_t ask(const cm_hook_event& event, const cm_hook_reply& reply) {
    if (cm::to_view(event.point) != "daemon.send") {
      return CM_HOOK_CONTINUE;
    }
    const auto refuse = [&](std::string_view text) -> std::uint32_t {
      reply.set_payload(reply.context, event.ticket, cm::to_bytes_pview(text));
      return CM_HOOK_DENY;
    };
    if (questions_.size() >= at_once_max_) {
      return refuse("too many messages are being looked at; send it again in a moment");
    }
    const auto question = questions_.emplace(questions_.end());
    question->finish = reply.finish;
    question->context = reply.context;
    question->ticket = event.ticket;
    question->process.on_output = [question](std::uint32_t, std::string_view bytes) {
      question->said += bytes.substr(0, kReasonBytesMax - std::min(question->said.size(), kReasonBytesMax));
    };
    question->process.on_exit = [this, question](const cm::ProcessExit& end) { answer(question, end); };
    cm::ProcessCommand command = command_;
    command.input = std::string(cm::to_view(event.payload));
    command.environment = {"CM_FACTS=" + std::string(cm::to_view(event.json))};  // {"mesh","to","priority"}
    asked_.add();
    const cm::Status started = question->process.start(host(), command);
    if (!started) {
      questions_.erase(question);
      broken_.add();
      return allows_if_broken_ ? CM_HOOK_CONTINUE : refuse("it could not be looked at: " + started.error().message);
    }
    return CM_HOOK_DEFER;
  }

  void answer(std::list<Question>::iterator question, const cm::ProcessExit& end) {
    const bool judged = end.reason == CM_PROCESS_EXITED && (end.code == 0 || end.code == 1);
    std::string reason = question->said;
    if (!judged) {
      broken_.add();
      host().log(cm::LogLevel::kWarn, "the program gave no answer", {{"program", command_.program}, {"end", end.text}});
      reason = "it could not be looked at: " + end.text;
    }
    const bool may_go = judged ? end.code == 0 : allows_if_broken_;
    const auto finish = question->finish;
    void* const context = question->context;
    const cm_handle ticket = question->ticket;
    questions_.erase(question);  // a process may be destroyed by its own on_exit
    finish(context, ticket, may_go ? CM_HOOK_CONTINUE : CM_HOOK_DENY,
           cm::to_bytes_pview(may_go ? std::string_view() : std::string_view(reason)));
  }

  cm_hook_v1 hook_ = {sizeof(cm_hook_v1), CM_HOOK_GUARD, 200, 0, &AskProgram::invoke};
  cm::ProcessCommand command_;
  std::size_t at_once_max_ = 0;
  bool allows_if_broken_ = false;
  std::list<Question> questions_;  // a list, because the processes keep their place in it
  cm::Metric asked_;
  cm::Metric broken_;
};

}  // namespace

CM_DEFINE_PLUGIN(AskProgram);
