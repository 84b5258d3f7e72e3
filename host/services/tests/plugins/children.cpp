// Starts `count` shells with `script` and logs what they tell: for the tests of cm.process/1.
#include <claudemesh/cpp/plugin.hpp>
#include <claudemesh/cpp/process.hpp>

#include <map>
#include <memory>
#include <string>

namespace {

class Children final : public cm::PluginInstance {
 public:
  explicit Children(const cm_host* host) : PluginInstance(host) {}

  cm::Status configure() override { return {}; }

  void start(Done started) override {
    const auto count = static_cast<int>(host().option_int("count"));
    for (int i = 0; i < count; ++i) {
      children_.push_back(std::make_unique<cm::Process>());
      if (const cm::Status status = begin(*children_.back()); !status) {
        host().log(cm::LogLevel::kInfo, "refused: " + status.error().message);
      }
    }
    started({});
  }

  void drain(std::uint64_t, Done drained) override {
    if (host().option_text("at_end") == "kill") {
      children_.clear();
    }
    drained({});
  }

 private:
  cm::Status begin(cm::Process& child) {
    cm::ProcessCommand command;
    command.program = host().option_text("program");
    if (command.program == "/bin/sh") {
      command.arguments = {"-c", host().option_text("script")};
    }
    command.environment = {"GREETING=good day", "PATH=/usr/bin:/bin"};
    command.working_folder = host().option_text("folder");
    command.input = host().option_text("input");
    command.keep_input_open = !host().option_text("reply").empty();
    command.merge_output = host().option_bool("merge");
    command.time_ms_max = number("time_ms");
    command.cpu_ms_max = number("cpu_ms");
    command.memory_bytes_max = number("memory");
    command.output_bytes_max = number("output_bytes");
    command.input_bytes_max = number("input_bytes");
    command.grace_ms = number("grace_ms");
    child.on_output = [this, &child](std::uint32_t stream, std::string_view bytes) { heard(child, stream, bytes); };
    child.on_input_drained = [this] { host().log(cm::LogLevel::kInfo, "drained"); };
    child.on_exit = [this](const cm::ProcessExit& end) {
      host().log(cm::LogLevel::kInfo, "exited reason " + std::to_string(end.reason) + " code " +
                                          std::to_string(end.code) + " signal " + std::to_string(end.signal) + " [" +
                                          end.text + "] after " + std::to_string(bytes_) + " bytes, out <" +
                                          out_.substr(0, 200) + "> err <" + err_.substr(0, 200) + "> ends " +
                                          std::to_string(ends_) + " peak " + std::to_string(end.memory_bytes_peak > 0) +
                                          " cpu " + std::to_string(end.cpu_us > 0));
    };
    return child.start(host(), command);
  }

  void heard(cm::Process& child, std::uint32_t stream, std::string_view bytes) {
    ends_ += bytes.empty() ? 1 : 0;
    bytes_ += bytes.size();
    std::string& text = stream == CM_PROCESS_STDERR ? err_ : out_;
    text.append(bytes.substr(0, 4096 - std::min<std::size_t>(text.size(), 4096)));
    if (text.find("pid ") != std::string::npos && !told_) {
      told_ = true;
      host().log(cm::LogLevel::kInfo, "told " + text + " child " + std::to_string(child.process_id()));
      act(child);
    }
  }

  // What the test wants to be done once the child is ready.
  void act(cm::Process& child) {
    std::string reply;
    for (std::int64_t i = 0; i < host().option_int("reply_times"); ++i) {
      reply += host().option_text("reply");
    }
    if (!reply.empty()) {
      const cm_status status = child.write(reply);
      const cm_status second = child.write(reply);
      host().log(cm::LogLevel::kInfo, "wrote " + std::to_string(status) + " then " + std::to_string(second));
      child.close_input();
    }
    const std::int64_t grace = host().option_int("kill_grace_ms");
    if (grace >= 0) {
      child.kill(static_cast<std::uint64_t>(grace));
    }
    if (host().option_bool("pause")) {
      child.pause_output(true);
      resume_.bind(host());
      resume_.start_ms(30, [this, &child, before = bytes_] {
        host().log(cm::LogLevel::kInfo, bytes_ == before ? "nothing came while paused" : "bytes came while paused");
        child.pause_output(false);
      });
    }
  }

  std::uint64_t number(std::string_view name) const { return static_cast<std::uint64_t>(host().option_int(name)); }

  std::vector<std::unique_ptr<cm::Process>> children_;
  cm::Timer resume_;
  std::string out_;
  std::string err_;
  std::uint64_t bytes_ = 0;
  int ends_ = 0;
  bool told_ = false;
};

}  // namespace

CM_PLUGIN_MANIFEST(
    "{\"id\":\"org.claudemesh.test.children\",\"name\":\"test_children\",\"version\":\"1.0.0\","
    "\"abi\":{\"min\":\"1.0\",\"built\":\"1.0\"},\"platform\":\"linux-x86_64\","
    "\"requires\":[\"cm.config/1\",\"cm.log/1\",\"cm.timer/1\",\"cm.process/1\"],"
    "\"options\":["
    "{\"name\":\"program\",\"type\":\"string\",\"default\":\"/bin/sh\",\"doc\":\"x\"},"
    "{\"name\":\"script\",\"type\":\"string\",\"default\":\"\",\"doc\":\"x\"},"
    "{\"name\":\"folder\",\"type\":\"string\",\"default\":\"\",\"doc\":\"x\"},"
    "{\"name\":\"input\",\"type\":\"string\",\"default\":\"\",\"doc\":\"x\"},"
    "{\"name\":\"reply\",\"type\":\"string\",\"default\":\"\",\"doc\":\"x\"},"
    "{\"name\":\"at_end\",\"type\":\"string\",\"default\":\"\",\"doc\":\"x\"},"
    "{\"name\":\"journal\",\"type\":\"string\",\"default\":\"\",\"doc\":\"x\"},"
    "{\"name\":\"merge\",\"type\":\"bool\",\"default\":false,\"doc\":\"x\"},"
    "{\"name\":\"pause\",\"type\":\"bool\",\"default\":false,\"doc\":\"x\"},"
    "{\"name\":\"count\",\"type\":\"int\",\"default\":1,\"doc\":\"x\"},"
    "{\"name\":\"reply_times\",\"type\":\"int\",\"default\":1,\"doc\":\"x\"},"
    "{\"name\":\"time_ms\",\"type\":\"int\",\"default\":0,\"doc\":\"x\"},"
    "{\"name\":\"cpu_ms\",\"type\":\"int\",\"default\":0,\"doc\":\"x\"},"
    "{\"name\":\"memory\",\"type\":\"int\",\"default\":0,\"doc\":\"x\"},"
    "{\"name\":\"output_bytes\",\"type\":\"int\",\"default\":0,\"doc\":\"x\"},"
    "{\"name\":\"input_bytes\",\"type\":\"int\",\"default\":0,\"doc\":\"x\"},"
    "{\"name\":\"grace_ms\",\"type\":\"int\",\"default\":0,\"doc\":\"x\"},"
    "{\"name\":\"kill_grace_ms\",\"type\":\"int\",\"default\":-1,\"doc\":\"x\"}]}");
CM_DEFINE_PLUGIN(Children);
