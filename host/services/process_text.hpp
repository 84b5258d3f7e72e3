// How a child program ended, as cm.process/1 tells it. Pure.
#pragma once

#include <claudemesh/ext/process.h>

#include <sys/resource.h>

#include <cstdint>
#include <string>

namespace cm::host {

struct ProcessEnd {
  int status = 0;  // of wait4
  rusage usage{};
  std::uint32_t cause = 0;  // why the host ended it; 0: it did not
  std::uint64_t output_bytes = 0;
  std::uint64_t time_ms_max = 0;
  std::uint64_t output_bytes_max = 0;
};

// `text` keeps what the result's view points to.
cm_process_exit exit_of(const ProcessEnd& end, std::string& text);

}  // namespace cm::host
