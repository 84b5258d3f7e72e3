// cm.buffer/1, cm.log/1, cm.loop/1, cm.clock/1 and cm.random/1.
#include <claudemesh/ext/host.h>
#include <sodium.h>

#include <array>
#include <chrono>

#include "host/services/host_view.hpp"
#include "host/services/services.hpp"

namespace cm::host {

namespace {

// --- cm.buffer/1 ----------------------------------------------------------------------------------------------------

cm_status buffer_create(cm_handle self, cm_bytes_pview bytes, cm_hbuf* out_buffer) noexcept {
  const Admission admission = admit_any(self, HostTable::kBuffer);
  if (!admission) {
    return admission.status;
  }
  if (out_buffer == nullptr || (bytes.data == nullptr && bytes.size != 0)) {
    return CM_INVALID;
  }
  Instance& instance = *admission.instance;
  if (bytes.size > kBufferBytesMax) {
    return refuse(instance, make_error(ErrorCode::kBusy,
                                       "a buffer may have at most " + std::to_string(kBufferBytesMax) + " bytes"));
  }
  auto made = instance.services().buffers.insert(net::SharedBuffer::copy({bytes.data, bytes.size}), instance.number());
  if (!made) {
    return refuse(instance, made.error());
  }
  *out_buffer = *made;
  return CM_OK;
}

// Giving back works until the very end: destructors do it.
void buffer_retain(cm_handle self, cm_handle buffer) noexcept {
  const Admission admission = admit_any(self, HostTable::kBuffer);
  if (admission.instance == nullptr) {
    return;
  }
  if (!admission.instance->services().buffers.retain(buffer, admission.instance->number())) {
    admission.instance->misbehaved("retain of a buffer that does not exist (any more)");
  }
}

void buffer_release(cm_handle self, cm_handle buffer) noexcept {
  const Admission admission = admit_any(self, HostTable::kBuffer);
  if (admission.instance == nullptr) {
    return;
  }
  if (!admission.instance->services().buffers.release(buffer, admission.instance->number())) {
    admission.instance->misbehaved("release of a buffer that does not exist (any more)");
  }
}

constexpr cm_buffer_v1 kBufferTable = {sizeof(cm_buffer_v1), 0, buffer_create, buffer_retain, buffer_release};

// --- cm.log/1 -------------------------------------------------------------------------------------------------------

bool log_enabled(cm_handle self, uint32_t level) noexcept {
  const Admission admission = admit_any(self, HostTable::kLog);
  return admission.instance != nullptr && static_cast<LogLevel>(level) >= admission.instance->log_level();
}

void log_write(cm_handle self, uint32_t level, cm_text_pview message, const cm_log_field* fields,
               uint64_t field_count) noexcept {
  const Admission admission = admit_any(self, HostTable::kLog);
  if (admission.instance == nullptr || static_cast<LogLevel>(level) < admission.instance->log_level()) {
    return;
  }
  const uint32_t known_level = level <= CM_LOG_PLUGIN_MISBEHAVING ? level : CM_LOG_ERROR;
  std::array<LogField, kLogFieldsMax> views;
  const std::size_t count = fields == nullptr ? 0 : std::min<std::size_t>(field_count, kLogFieldsMax);
  for (std::size_t i = 0; i < count; ++i) {
    views[i] = LogField{text_of(fields[i].key), text_of(fields[i].value)};
  }
  if (known_level == CM_LOG_HOST_MISBEHAVING) {
    admission.instance->accuse_host(text_of(message), {views.data(), count});
    return;
  }
  if (known_level == CM_LOG_PLUGIN_MISBEHAVING) {
    admission.instance->misbehaved(text_of(message));
    return;
  }
  admission.instance->log(static_cast<LogLevel>(known_level), text_of(message), {views.data(), count});
}

constexpr cm_log_v1 kLogTable = {sizeof(cm_log_v1), 0, log_write, log_enabled};

// --- cm.loop/1 ------------------------------------------------------------------------------------------------------

// One posted call. Whoever destroys it without running it (a stopped instance, a loop that ended) reports the drop.
class PostedCall {
 public:
  PostedCall(Instance& target, cm_callback function, cm_callback dropped, void* user) noexcept
      : target_(&target), function_(function), dropped_(dropped), user_(user) {}
  PostedCall(PostedCall&& other) noexcept
      : target_(std::exchange(other.target_, nullptr)),
        function_(other.function_),
        dropped_(other.dropped_),
        user_(other.user_) {}
  PostedCall& operator=(PostedCall&&) = delete;
  ~PostedCall() {
    if (target_ != nullptr) {
      target_->posts_dropped.fetch_add(1, std::memory_order_relaxed);
      if (dropped_ != nullptr) {
        dropped_(user_);
      }
    }
  }

  void operator()() noexcept {
    if (!target_->open()) {
      return;  // The destructor reports it.
    }
    Instance& target = *std::exchange(target_, nullptr);
    enter(target, CallbackKind::kPost, [this] { function_(user_); });
  }

 private:
  Instance* target_;
  cm_callback function_;
  cm_callback dropped_;
  void* user_;
};

cm_status loop_post(cm_handle self, cm_handle instance, cm_callback function, cm_callback dropped,
                    void* user) noexcept {
  const Admission admission = admit_any(self, HostTable::kLoop);
  if (admission.instance == nullptr) {
    return admission.status;
  }
  // The poster itself may have been stopped: what counts is whether the target can still run it.
  Instance* target = InstanceDirectory::find(instance);
  if (target == nullptr || function == nullptr) {
    return target == nullptr ? CM_GONE : CM_INVALID;
  }
  if (!target->enter_gate()) {
    target->posts_dropped.fetch_add(1, std::memory_order_relaxed);
    return CM_GONE;
  }
  target->loop_thread().loop().post(PostedCall(*target, function, dropped, user));
  target->leave_gate();
  return CM_OK;
}

bool loop_on_loop(cm_handle self) noexcept {
  const Admission admission = admit_any(self, HostTable::kLoop);
  return admission.instance != nullptr && admission.instance->loop_thread().is_current();
}

constexpr cm_loop_v1 kLoopTable = {sizeof(cm_loop_v1), 0, loop_post, loop_on_loop};

// --- cm.clock/1 and cm.random/1: they ask nothing of the instance but the permission
// -----------------------------------

uint64_t clock_monotonic_us(cm_handle self) noexcept {
  const Admission admission = admit_any(self, HostTable::kClock);
  return admission.instance == nullptr ? 0 : static_cast<uint64_t>(net::Loop::now_ns() / 1000);
}

int64_t clock_unix_ms(cm_handle self) noexcept {
  const Admission admission = admit_any(self, HostTable::kClock);
  if (admission.instance == nullptr) {
    return 0;
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

constexpr cm_clock_v1 kClockTable = {sizeof(cm_clock_v1), 0, clock_monotonic_us, clock_unix_ms};

// Fills even for a closed instance: bytes that look random but are not would be worse than any other answer.
void random_fill(cm_handle self, uint8_t* bytes, uint64_t count) noexcept {
  if (Instance* instance = InstanceDirectory::find(self);
      instance != nullptr && !instance->granted(HostTable::kRandom)) {
    report_not_granted(*instance, HostTable::kRandom);
  }
  if (bytes != nullptr && count != 0) {
    randombytes_buf(bytes, count);
  }
}

constexpr cm_random_v1 kRandomTable = {sizeof(cm_random_v1), 0, random_fill};

}  // namespace

const void* buffer_table() noexcept {
  return &kBufferTable;
}
const void* log_table() noexcept {
  return &kLogTable;
}
const void* loop_table() noexcept {
  return &kLoopTable;
}
const void* clock_table() noexcept {
  return &kClockTable;
}
const void* random_table() noexcept {
  return &kRandomTable;
}

}  // namespace cm::host
