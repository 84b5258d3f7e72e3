// cm.process/1 as C functions.
#include "host/services/host_view.hpp"
#include "host/services/http_views.hpp"
#include "host/services/processes.hpp"
#include "host/services/services.hpp"

namespace cm::host {

namespace {

Processes& processes_of(const Admission& admission) {
  return *admission.instance->holdings->processes;
}

cm_status process_spawn(cm_handle self, const cm_process_options* options, const cm_process_callbacks* callbacks,
                        void* user, cm_handle* out_process) noexcept {
  const Admission admission = admit_loop(self, HostTable::kProcess, "cm.process/1 spawn");
  if (!admission) {
    return admission.status;
  }
  if (options == nullptr || callbacks == nullptr || out_process == nullptr) {
    return CM_INVALID;
  }
  const auto process = processes_of(admission).spawn(copy_prefix(*options), copy_prefix(*callbacks), user);
  if (!process) {
    return refuse(*admission.instance, process.error());
  }
  *out_process = *process;
  return CM_OK;
}

cm_status process_write(cm_handle self, cm_handle process, cm_bytes_pview bytes) noexcept {
  const Admission admission = admit_loop(self, HostTable::kProcess, "cm.process/1 write");
  return admission ? processes_of(admission).write(process, bytes) : admission.status;
}

cm_status process_close_input(cm_handle self, cm_handle process) noexcept {
  const Admission admission = admit_loop(self, HostTable::kProcess, "cm.process/1 close_input");
  return admission ? processes_of(admission).close_input(process) : admission.status;
}

cm_status process_pause_output(cm_handle self, cm_handle process, bool paused) noexcept {
  const Admission admission = admit_loop(self, HostTable::kProcess, "cm.process/1 pause_output");
  return admission ? processes_of(admission).pause_output(process, paused) : admission.status;
}

cm_status process_kill(cm_handle self, cm_handle process, std::uint64_t grace_ms) noexcept {
  const Admission admission = admit_loop(self, HostTable::kProcess, "cm.process/1 kill");
  return admission ? processes_of(admission).kill(process, grace_ms) : admission.status;
}

// Gives something back, so it works between stop and the end of destroy too.
cm_status process_abandon(cm_handle self, cm_handle process) noexcept {
  const Admission admission = admit_loop(self, HostTable::kProcess, "cm.process/1 abandon");
  if (admission.instance == nullptr || admission.instance->holdings == nullptr) {
    return admission.status;
  }
  return processes_of(admission).abandon(process) ? admission.status : CM_GONE;
}

std::uint64_t process_id(cm_handle self, cm_handle process) noexcept {
  const Admission admission = admit_loop(self, HostTable::kProcess, "cm.process/1 process_id");
  return admission ? processes_of(admission).process_id(process) : 0;
}

constexpr cm_process_v1 kProcess = {sizeof(cm_process_v1),
                                    0,
                                    process_spawn,
                                    process_write,
                                    process_close_input,
                                    process_pause_output,
                                    process_kill,
                                    process_abandon,
                                    process_id};

}  // namespace

const void* process_table() noexcept {
  return &kProcess;
}

}  // namespace cm::host
