#include "host/services/process_text.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <string_view>

#include "host/services/processes.hpp"

namespace cm::host {

namespace {

constexpr std::uint32_t kKnownFlags = CM_PROCESS_INPUT | CM_PROCESS_MERGE_OUTPUT | CM_PROCESS_DISCARD_OUTPUT;
constexpr std::uint64_t kDescriptorsMin = 3;

Error invalid(std::string text) {
  return make_error(ErrorCode::kInvalid, std::move(text));
}

std::string_view text_of(cm_text_pview text) {
  return text.data == nullptr ? std::string_view() : std::string_view(text.data, text.size);
}

Status copy_texts(const char* what, const cm_text_pview* texts, std::uint64_t count, std::uint64_t& bytes_left,
                  std::vector<std::string>& out) {
  if (count > CM_PROCESS_ARGUMENTS_MAX || (texts == nullptr && count != 0)) {
    return invalid(std::to_string(count) + " " + what + "; expected at most " +
                   std::to_string(CM_PROCESS_ARGUMENTS_MAX));
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string_view text = text_of(texts[i]);
    if (text.size() > CM_PROCESS_TEXT_BYTES_MAX || text.size() > bytes_left) {
      return invalid(std::string("the ") + what + " are too long; expected at most " +
                     std::to_string(CM_PROCESS_TEXT_BYTES_MAX) + " bytes each and " +
                     std::to_string(CM_PROCESS_TEXT_BYTES_TOTAL_MAX) + " together");
    }
    if (text.find('\0') != std::string_view::npos) {
      return invalid(std::string("the ") + what + " contain a zero byte, which no program can be given");
    }
    bytes_left -= text.size();
    out.emplace_back(text);
  }
  return {};
}

Status check_environment(const std::vector<std::string>& environment) {
  std::vector<std::string_view> names;
  for (const std::string& entry : environment) {
    const std::size_t equals = entry.find('=');
    const std::string_view name = std::string_view(entry).substr(0, equals);
    if (equals == std::string::npos || equals == 0) {
      return invalid("an environment entry is not NAME=value");
    }
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      return invalid("the environment names " + std::string(name) + " twice");
    }
    names.push_back(name);
  }
  return {};
}

Status check_path(const char* what, std::string_view path) {
  if (path.empty() || path.front() != '/' || path.find('\0') != std::string_view::npos || path.size() > 4095) {
    return invalid(std::string("the ") + what + " is \"" + std::string(path.substr(0, 256)) +
                   "\"; expected an absolute path (PATH is not searched)");
  }
  return {};
}

Status check_numbers(const cm_process_options& options) {
  if ((options.flags & ~kKnownFlags) != 0) {
    return make_error(ErrorCode::kUnsupported,
                      "unknown flags " + std::to_string(options.flags & ~kKnownFlags) + " for a process");
  }
  if (options.input.size != 0 && ((options.flags & CM_PROCESS_INPUT) == 0 || options.input.data == nullptr)) {
    return invalid("the options carry input but not CM_PROCESS_INPUT");
  }
  const std::uint64_t input_max = options.input_bytes_max == 0 ? kProcessInputBytes : options.input_bytes_max;
  if (options.input.size > input_max) {
    return invalid("the input has " + std::to_string(options.input.size) +
                   " bytes; expected at most input_bytes_max, " + std::to_string(input_max));
  }
  if (options.descriptors_max != 0 && options.descriptors_max < kDescriptorsMin) {
    return invalid("descriptors_max is " + std::to_string(options.descriptors_max) +
                   "; expected at least 3, for the standard streams");
  }
  return {};
}

}  // namespace

Result<SpawnPlan> plan_of(const cm_process_options& options) {
  SpawnPlan plan;
  plan.program = std::string(text_of(options.program));
  if (options.working_folder.size != 0) {
    plan.working_folder = std::string(text_of(options.working_folder));
  }
  plan.arguments.push_back(plan.program);
  std::uint64_t bytes_left = CM_PROCESS_TEXT_BYTES_TOTAL_MAX;
  const Status checks[] = {
      check_path("program", plan.program),
      check_path("working folder", plan.working_folder),
      check_numbers(options),
      copy_texts("arguments", options.arguments, options.argument_count, bytes_left, plan.arguments),
      copy_texts("environment entries", options.environment, options.environment_count, bytes_left, plan.environment),
      check_environment(plan.environment),
  };
  for (const Status& check : checks) {
    if (!check) {
      return check.error();
    }
  }
  plan.input = (options.flags & CM_PROCESS_INPUT) != 0;
  plan.merge_output = (options.flags & CM_PROCESS_MERGE_OUTPUT) != 0;
  plan.discard_output = (options.flags & CM_PROCESS_DISCARD_OUTPUT) != 0;
  plan.memory_bytes_max = options.memory_bytes_max == 0 ? kProcessMemoryBytes : options.memory_bytes_max;
  plan.cpu_seconds_max = options.cpu_ms_max / 1000 + (options.cpu_ms_max % 1000 != 0 ? 1 : 0);
  plan.descriptors_max = options.descriptors_max == 0 ? kProcessDescriptors : options.descriptors_max;
  return plan;
}

namespace {

std::string how_it_ended(const ProcessEnd& end) {
  if (WIFEXITED(end.status)) {
    return "ended by itself with code " + std::to_string(WEXITSTATUS(end.status));
  }
  const int number = WTERMSIG(end.status);
  std::string text = "ended by signal " + std::to_string(number) + " (" + ::strsignal(number) + ")";
  if (number == SIGXCPU) {
    text += ": the limit of processor time";
  }
  return text;
}

std::string reason_text(const ProcessEnd& end) {
  switch (end.cause) {
    case CM_PROCESS_TIMED_OUT:
      return "took longer than " + std::to_string(end.time_ms_max) + " ms and was ended; ";
    case CM_PROCESS_OUTPUT_LIMIT:
      return "wrote more than " + std::to_string(end.output_bytes_max) + " bytes and was ended; ";
    case CM_PROCESS_KILLED:
      return "was ended on request; ";
    default:
      return {};
  }
}

}  // namespace

cm_process_exit exit_of(const ProcessEnd& end, std::string& text) {
  cm_process_exit result{};
  result.size = sizeof result;
  const bool exited = WIFEXITED(end.status);
  result.reason = end.cause != 0 ? end.cause : exited ? CM_PROCESS_EXITED : CM_PROCESS_SIGNALED;
  result.code = exited ? WEXITSTATUS(end.status) : -1;
  result.signal = exited ? 0 : WTERMSIG(end.status);
  const auto micro = [](const timeval& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(time.tv_usec);
  };
  result.cpu_us = micro(end.usage.ru_utime) + micro(end.usage.ru_stime);
  result.memory_bytes_peak = static_cast<std::uint64_t>(end.usage.ru_maxrss) * 1024;
  result.output_bytes = end.output_bytes;
  text = reason_text(end) + how_it_ended(end);
  result.text = cm_text_hview{text.data(), text.size()};
  return result;
}

}  // namespace cm::host
