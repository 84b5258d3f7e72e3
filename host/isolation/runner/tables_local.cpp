// The tables that need no host: buffers, loop, timers, clocks, randomness, and the options that came with `create`.
#include <sodium.h>

#include <chrono>
#include <unordered_map>

#include "host/isolation/runner/buffers.hpp"
#include "host/isolation/runner/runtime.hpp"

namespace cm::isolation {

namespace {

// --- cm.buffer/1 -----------------------------------------------------------------------------------------------------

cm_status buffer_create(cm_handle, cm_bytes_pview bytes, cm_hbuf* out) noexcept {
  if (out == nullptr || (bytes.data == nullptr && bytes.size != 0)) {
    return CM_INVALID;
  }
  return Buffers::get().create(to_view(bytes), out) ? CM_OK
                                                    : Runtime::get().refuse(CM_BUSY, "too many or too large buffers");
}
void buffer_retain(cm_handle, cm_handle buffer) noexcept {
  if (!Buffers::get().retain(buffer)) {
    Runtime::get().misbehaved("retain of a buffer that does not exist (any more)");
  }
}
void buffer_release(cm_handle, cm_handle buffer) noexcept {
  if (!Buffers::get().release(buffer)) {
    Runtime::get().misbehaved("release of a buffer that does not exist (any more)");
  }
}
constexpr cm_buffer_v1 kBuffer = {sizeof(cm_buffer_v1), 0, buffer_create, buffer_retain, buffer_release};

// --- cm.loop/1, cm.timer/1 -------------------------------------------------------------------------------------------

cm_status loop_post(cm_handle, cm_handle instance, cm_callback function, cm_callback dropped, void* user) noexcept {
  Runtime& runtime = Runtime::get();
  if (instance != runtime.self()) {
    return runtime.refuse(CM_UNSUPPORTED, "a function cannot be posted to an instance in another process");
  }
  return function == nullptr ? CM_INVALID : runtime.post(function, dropped, user);
}
bool loop_on_loop(cm_handle) noexcept {
  return Runtime::get().on_loop();
}
constexpr cm_loop_v1 kLoop = {sizeof(cm_loop_v1), 0, loop_post, loop_on_loop};

cm_status timer_start(cm_handle, std::uint64_t delay_us, std::uint64_t period_us, cm_callback function, void* user,
                      cm_handle* out) noexcept {
  Runtime& runtime = Runtime::get();
  if (!runtime.on_loop()) {
    runtime.misbehaved("cm.timer/1 start was called outside the instance's loop and refused");
    return CM_INVALID;
  }
  return function == nullptr || out == nullptr ? CM_INVALID
                                               : runtime.start_timer(delay_us, period_us, function, user, out);
}
cm_status timer_cancel(cm_handle, cm_handle timer) noexcept {
  Runtime& runtime = Runtime::get();
  if (!runtime.on_loop()) {
    runtime.misbehaved("cm.timer/1 cancel was called outside the instance's loop and refused");
    return CM_INVALID;
  }
  return runtime.cancel_timer(timer);
}
constexpr cm_timer_v1 kTimer = {sizeof(cm_timer_v1), 0, timer_start, timer_cancel};

// --- cm.clock/1, cm.random/1 -----------------------------------------------------------------------------------------

std::uint64_t clock_monotonic_us(cm_handle) noexcept {
  return static_cast<std::uint64_t>(steady_ns() / 1000);
}
std::int64_t clock_unix_ms(cm_handle) noexcept {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}
constexpr cm_clock_v1 kClock = {sizeof(cm_clock_v1), 0, clock_monotonic_us, clock_unix_ms};

void random_fill(cm_handle, std::uint8_t* bytes, std::uint64_t count) noexcept {
  if (bytes != nullptr && count != 0) {
    ::randombytes_buf(bytes, count);
  }
}
constexpr cm_random_v1 kRandom = {sizeof(cm_random_v1), 0, random_fill};

// --- cm.config/1 -----------------------------------------------------------------------------------------------------

// The value of an option as the type that was asked for. CM_GONE: none; CM_INVALID: another type or not declared.
template <typename T>
cm_status find_value(std::uint32_t which, cm_text_pview option, OptionKind kind, const T** out) {
  Runtime& runtime = Runtime::get();
  if (which > CM_CONFIG_CANDIDATE || (which == CM_CONFIG_CANDIDATE && !runtime.has_candidate)) {
    return runtime.refuse(CM_INVALID, "there is no candidate configuration now");
  }
  const RemoteOptions& options = which == CM_CONFIG_ACTIVE ? runtime.active_options : runtime.candidate_options;
  const auto entry = options.find(to_view(option));
  if (entry == options.end() || entry->second.kind != kind) {
    return runtime.refuse(CM_INVALID, "the option " + std::string(to_view(option)) +
                                          " is not declared in the manifest, or with another type");
  }
  *out = std::get_if<T>(&entry->second.value);
  return *out != nullptr ? CM_OK
                         : runtime.refuse(CM_GONE, "the option " + std::string(to_view(option)) + " is not set");
}

template <typename T>
cm_status get_value(std::uint32_t which, cm_text_pview option, OptionKind kind, T* out) {
  const T* value = nullptr;
  const cm_status status = out == nullptr ? CM_INVALID : find_value(which, option, kind, &value);
  if (status == CM_OK) {
    *out = *value;
  }
  return status;
}

cm_text_hview config_instance_name(cm_handle) noexcept {
  return to_hview(Runtime::get().name());
}
cm_status config_get_bool(cm_handle, std::uint32_t which, cm_text_pview option, bool* out) noexcept {
  return get_value(which, option, OptionKind::kBool, out);
}
cm_status config_get_int(cm_handle, std::uint32_t which, cm_text_pview option, std::int64_t* out) noexcept {
  return get_value(which, option, OptionKind::kInt, out);
}
cm_status config_get_float(cm_handle, std::uint32_t which, cm_text_pview option, double* out) noexcept {
  return get_value(which, option, OptionKind::kFloat, out);
}
cm_status config_get_text(cm_handle, std::uint32_t which, cm_text_pview option, cm_text_hview* out) noexcept {
  const std::string* value = nullptr;
  const cm_status status = out == nullptr ? CM_INVALID : find_value(which, option, OptionKind::kText, &value);
  if (status == CM_OK) {
    *out = to_hview(*value);
  }
  return status;
}
cm_status config_list_size(cm_handle, std::uint32_t which, cm_text_pview option, std::uint64_t* out) noexcept {
  const std::vector<std::string>* value = nullptr;
  const cm_status status = out == nullptr ? CM_INVALID : find_value(which, option, OptionKind::kList, &value);
  if (status == CM_OK) {
    *out = value->size();
  }
  return status;
}
cm_status config_list_text(cm_handle, std::uint32_t which, cm_text_pview option, std::uint64_t index,
                           cm_text_hview* out) noexcept {
  const std::vector<std::string>* value = nullptr;
  const cm_status status = out == nullptr ? CM_INVALID : find_value(which, option, OptionKind::kList, &value);
  if (status != CM_OK || index >= value->size()) {
    return status == CM_OK ? CM_INVALID : status;
  }
  *out = to_hview((*value)[index]);
  return CM_OK;
}
constexpr cm_config_v1 kConfig = {sizeof(cm_config_v1), 0,
                                  config_instance_name, config_get_bool,
                                  config_get_int,       config_get_float,
                                  config_get_text,      config_list_size,
                                  config_list_text};

}  // namespace

const void* runner_config_table() noexcept {
  return &kConfig;
}

const void* runner_local_table(std::string_view id) noexcept {
  if (id == CM_BUFFER_ID) {
    return &kBuffer;
  }
  if (id == CM_LOOP_ID) {
    return &kLoop;
  }
  if (id == CM_TIMER_ID) {
    return &kTimer;
  }
  if (id == CM_CLOCK_ID) {
    return &kClock;
  }
  return id == CM_RANDOM_ID ? &kRandom : nullptr;
}

// --- Buffers ---------------------------------------------------------------------------------------------------------

Buffers& Buffers::get() {
  static Buffers buffers;
  return buffers;
}

bool Buffers::create(std::string_view bytes, cm_hbuf* out) {
  const std::lock_guard lock(mutex_);
  if (bytes.size() > kBufferBytesMax || entries_.size() >= kBuffersMax) {
    return false;
  }
  const cm_handle handle = next_++;
  Entry& entry = entries_[handle];
  entry.bytes = std::make_unique<std::string>(bytes);
  *out = cm_hbuf{handle, reinterpret_cast<const std::uint8_t*>(entry.bytes->data()), entry.bytes->size()};
  return true;
}

bool Buffers::retain(cm_handle buffer) {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(buffer);
  if (entry != entries_.end()) {
    ++entry->second.references;
  }
  return buffer == CM_NO_HANDLE || entry != entries_.end();
}

bool Buffers::release(cm_handle buffer) {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(buffer);
  if (entry != entries_.end() && --entry->second.references == 0) {
    entries_.erase(entry);
    return true;
  }
  return buffer == CM_NO_HANDLE || entry != entries_.end();
}

const std::string* Buffers::find(cm_handle buffer) const {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(buffer);
  return entry == entries_.end() ? nullptr : entry->second.bytes.get();
}

}  // namespace cm::isolation
