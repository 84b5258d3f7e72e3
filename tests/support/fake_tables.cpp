#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>

#include "tests/support/fake_host.hpp"

namespace cm::testing {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

cm_text_hview view(const std::string& text) {
  return cm_text_hview{text.data(), text.size()};
}

std::string text(cm_text_pview value) {
  return std::string(value.data, value.size);
}

}  // namespace

// The host's tables; friends of FakeHost by being members of one type.
struct FakeTables {
  static FakeInstance* of(cm_handle self) {
    const auto place = FakeHost::current->instances_.find(self);
    return place == FakeHost::current->instances_.end() ? nullptr : place->second;
  }

  static const void* get(cm_handle self, const char* id) noexcept;
  static void set_error(cm_handle self, cm_text_pview message) noexcept { of(self)->error = text(message); }
  static cm_status complete(cm_handle self, cm_handle ticket, cm_status status, cm_text_pview message) noexcept {
    FakeInstance* instance = of(self);
    (ticket == 1 ? instance->start_status : instance->drain_status) = status;
    if (status != CM_OK) {
      instance->error = text(message);
    }
    return CM_OK;
  }

  // log, loop, timers, clock, random
  static void log_write(cm_handle, std::uint32_t, cm_text_pview message, const cm_log_field* fields,
                        std::uint64_t count) noexcept {
    std::string line = text(message);
    for (std::uint64_t i = 0; i < count; ++i) {
      line += " " + text(fields[i].key) + "=" + text(fields[i].value);
    }
    FakeHost::current->log.push_back(line);
  }
  static bool log_enabled(cm_handle, std::uint32_t) noexcept { return true; }
  static cm_status post(cm_handle, cm_handle instance, cm_callback function, cm_callback dropped, void* user) noexcept {
    FakeInstance* target = of(instance);
    if (target == nullptr || target->stopped()) {
      return CM_GONE;
    }
    FakeHost::current->schedule(0, [instance, function, dropped, user] {
      FakeInstance* now = of(instance);
      if (now != nullptr && !now->stopped()) {
        function(user);
      } else if (dropped != nullptr) {
        dropped(user);
      }
    });
    return CM_OK;
  }
  static bool on_loop(cm_handle) noexcept { return true; }
  static void arm(cm_handle timer, std::uint64_t delay_us) {
    FakeHost::current->timers_[timer].event = FakeHost::current->schedule(delay_us, [timer] {
      const auto place = FakeHost::current->timers_.find(timer);
      if (place == FakeHost::current->timers_.end()) {
        return;
      }
      const FakeHost::TimerState state = place->second;
      if (state.period_us == 0) {
        FakeHost::current->timers_.erase(place);
      } else {
        arm(timer, state.period_us);
      }
      state.function(state.user);
    });
  }
  static cm_status timer_start(cm_handle, std::uint64_t delay_us, std::uint64_t period_us, cm_callback function,
                               void* user, cm_handle* out) noexcept {
    const cm_handle timer = FakeHost::current->next_handle_++;
    FakeHost::current->timers_[timer] = FakeHost::TimerState{CM_NO_HANDLE, period_us, function, user};
    arm(timer, delay_us);
    *out = timer;
    return CM_OK;
  }
  static cm_status timer_cancel(cm_handle, cm_handle timer) noexcept {
    const auto place = FakeHost::current->timers_.find(timer);
    if (place == FakeHost::current->timers_.end()) {
      return CM_GONE;
    }
    FakeHost::current->cancel(place->second.event);
    FakeHost::current->timers_.erase(place);
    return CM_OK;
  }
  static std::uint64_t monotonic_us(cm_handle) noexcept { return FakeHost::current->now_us; }
  static std::int64_t unix_ms(cm_handle) noexcept { return FakeHost::current->unix_ms(); }
  static void fill(cm_handle, std::uint8_t* bytes, std::uint64_t count) noexcept {
    for (std::uint64_t i = 0; i < count; ++i) {
      FakeHost::current->random_ = FakeHost::current->random_ * 6364136223846793005ULL + 1442695040888963407ULL;
      bytes[i] = static_cast<std::uint8_t>(FakeHost::current->random_ >> 56);
    }
  }

  // metrics
  static cm_status define(cm_handle self, std::uint32_t, cm_text_pview name, cm_text_pview labels, cm_text_pview,
                          std::uint32_t* out) noexcept {
    FakeInstance* instance = of(self);
    *out = static_cast<std::uint32_t>(instance->metric_names_.size());
    instance->metric_names_.push_back(text(name) + (labels.size == 0 ? "" : "{" + text(labels) + "}"));
    return CM_OK;
  }
  static void metric_add(cm_handle self, std::uint32_t id, std::int64_t amount) noexcept {
    FakeInstance* instance = of(self);
    instance->metrics[instance->metric_names_[id]] += amount;
  }
  static void metric_set(cm_handle self, std::uint32_t id, std::int64_t value) noexcept {
    FakeInstance* instance = of(self);
    instance->metrics[instance->metric_names_[id]] = value;
  }
  static void metric_observe(cm_handle, std::uint32_t, std::uint64_t) noexcept {}

  // configuration
  template <typename Value>
  static const Value* option(cm_handle self, cm_text_pview name) {
    const auto& options = of(self)->options;
    const auto place = options.find(text(name));
    return place == options.end() ? nullptr : std::get_if<Value>(&place->second);
  }
  static cm_text_hview instance_name(cm_handle self) noexcept { return view(of(self)->name()); }
  static cm_status get_bool(cm_handle self, std::uint32_t, cm_text_pview name, bool* out) noexcept {
    const bool* value = option<bool>(self, name);
    *out = value != nullptr && *value;
    return value == nullptr ? CM_GONE : CM_OK;
  }
  static cm_status get_int(cm_handle self, std::uint32_t, cm_text_pview name, std::int64_t* out) noexcept {
    const std::int64_t* value = option<std::int64_t>(self, name);
    *out = value == nullptr ? 0 : *value;
    return value == nullptr ? CM_GONE : CM_OK;
  }
  static cm_status get_float(cm_handle, std::uint32_t, cm_text_pview, double*) noexcept { return CM_GONE; }
  static cm_status get_text(cm_handle self, std::uint32_t, cm_text_pview name, cm_text_hview* out) noexcept {
    const std::string* value = option<std::string>(self, name);
    if (value == nullptr) {
      return CM_GONE;
    }
    *out = view(*value);
    return CM_OK;
  }
  static cm_status list_size(cm_handle self, std::uint32_t, cm_text_pview name, std::uint64_t* out) noexcept {
    const auto* value = option<std::vector<std::string>>(self, name);
    *out = value == nullptr ? 0 : value->size();
    return value == nullptr ? CM_GONE : CM_OK;
  }
  static cm_status list_text(cm_handle self, std::uint32_t, cm_text_pview name, std::uint64_t index,
                             cm_text_hview* out) noexcept {
    *out = view((*option<std::vector<std::string>>(self, name))[index]);
    return CM_OK;
  }

  // registry
  static cm_status acquire(cm_handle, cm_text_pview name, cm_text_pview id, cm_callback, void*,
                           cm_extension* out) noexcept {
    const auto place = FakeHost::current->extensions_.find({text(name), text(id)});
    if (place == FakeHost::current->extensions_.end()) {
      return CM_GONE;
    }
    *out = cm_extension{place->second.instance, place->second.table, CM_NO_HANDLE, 1};
    return CM_OK;
  }
  static void release(cm_handle, cm_handle) noexcept {}

  // worker: at once, or when the test says so
  static cm_status create_queue(cm_handle, cm_text_pview, cm_handle* out) noexcept {
    *out = 1;
    return CM_OK;
  }
  static cm_status close_queue(cm_handle, cm_handle) noexcept { return CM_OK; }
  static cm_status worker_submit(cm_handle self, cm_handle, cm_callback job, void* user) noexcept {
    FakeHost::current->jobs.push_back({self, [job, user] { job(user); }});
    if (!FakeHost::current->hold_jobs) {
      FakeHost::current->schedule(0, [] { FakeHost::current->run_job(); });
    }
    return CM_OK;
  }

  // HTTP server
  static cm_status listen(cm_handle, const cm_http_listen_options* options, cm_handle* out) noexcept {
    const std::string address = text(options->address);
    if (FakeHost::current->is_listening(address)) {
      return CM_BUSY;
    }
    *out = FakeHost::current->next_handle_++;
    FakeHost::current->listeners_[*out].address = address;
    return CM_OK;
  }
  static cm_status local_address(cm_handle, cm_handle listener, cm_text_hview* out) noexcept {
    *out = view(FakeHost::current->listeners_.at(listener).address);
    return CM_OK;
  }
  static cm_status route(cm_handle, cm_handle listener, cm_text_pview method, cm_text_pview pattern,
                         cm_http_handler handler, void* user) noexcept {
    FakeHost::current->listeners_.at(listener).routes.push_back({text(method), text(pattern), handler, user});
    return CM_OK;
  }
  static cm_status fallback(cm_handle, cm_handle listener, cm_http_handler handler, void* user) noexcept {
    FakeHost::current->listeners_.at(listener).fallback = {"*", "", handler, user};
    return CM_OK;
  }
  static cm_status http_close(cm_handle, cm_handle listener) noexcept {
    return FakeHost::current->listeners_.erase(listener) != 0 ? CM_OK : CM_GONE;
  }
  static FakeRequest* request(cm_handle handle) {
    const auto place = FakeHost::current->requests_.find(handle);
    return place == FakeHost::current->requests_.end() ? nullptr : &place->second;
  }
  static cm_text_hview header(cm_handle, cm_handle handle, cm_text_pview name) noexcept {
    FakeRequest* found = request(handle);
    for (std::size_t i = 0; found != nullptr && i < found->headers.size(); ++i) {
      if (lower(found->headers[i].first) == lower(text(name))) {
        return view(found->headers[i].second);
      }
    }
    return {nullptr, 0};
  }
  static cm_text_hview path_parameter(cm_handle, cm_handle handle, cm_text_pview name) noexcept {
    FakeRequest* found = request(handle);
    return found != nullptr && found->parameters.contains(text(name)) ? view(found->parameters.at(text(name)))
                                                                      : cm_text_hview{nullptr, 0};
  }
  static cm_text_hview query_parameter(cm_handle, cm_handle handle, cm_text_pview name, bool* present) noexcept {
    FakeRequest* found = request(handle);
    const bool has = found != nullptr && found->query_values.contains(text(name));
    if (present != nullptr) {
      *present = has;
    }
    return has ? view(found->query_values.at(text(name))) : cm_text_hview{nullptr, 0};
  }
  static cm_status respond(cm_handle, cm_handle handle, std::uint32_t status, const cm_http_header*, std::uint64_t,
                           cm_bytes_pview body) noexcept {
    FakeRequest* found = request(handle);
    if (found == nullptr) {
      return CM_GONE;
    }
    found->answer->done = true;
    found->answer->status = status;
    found->answer->body.assign(reinterpret_cast<const char*>(body.data), body.size);
    FakeHost::current->requests_.erase(handle);
    return CM_OK;
  }
  static cm_status stream_begin(cm_handle, cm_handle handle, std::uint32_t status, const cm_http_header*, std::uint64_t,
                                cm_http_stream_callback callback, void* user) noexcept {
    FakeRequest* found = request(handle);
    if (found == nullptr) {
      return CM_GONE;
    }
    found->answer->streaming = true;
    found->answer->status = status;
    found->answer->stream_callback = callback;
    found->answer->stream_user = user;
    return CM_OK;
  }
  static cm_status stream_write(cm_handle, cm_handle handle, cm_bytes_pview bytes) noexcept {
    FakeRequest* found = request(handle);
    if (found == nullptr) {
      return CM_GONE;
    }
    if (found->answer->blocked) {
      return CM_BUSY;
    }
    found->answer->body.append(reinterpret_cast<const char*>(bytes.data), bytes.size);
    return CM_OK;
  }
  static cm_status stream_end(cm_handle, cm_handle handle) noexcept {
    FakeRequest* found = request(handle);
    if (found == nullptr) {
      return CM_GONE;
    }
    found->answer->done = true;
    FakeHost::current->requests_.erase(handle);
    return CM_OK;
  }

  // WebSockets
  static FakeSocket* socket(cm_handle handle) {
    for (const auto& candidate : FakeHost::current->sockets) {
      if (candidate->handle == handle && candidate->alive) {
        return candidate.get();
      }
    }
    return nullptr;
  }
  static cm_status ws_accept(cm_handle, cm_handle, const cm_websocket_options*, const cm_websocket_callbacks*, void*,
                             cm_handle*) noexcept {
    return CM_INVALID;
  }
  static cm_status ws_connect(cm_handle, cm_text_pview url, const cm_websocket_options*,
                              const cm_websocket_callbacks* callbacks, void* user, cm_handle* out) noexcept {
    if (FakeHost::current->connect_status != CM_OK) {
      return FakeHost::current->connect_status;
    }
    auto created = std::make_shared<FakeSocket>();
    created->handle = FakeHost::current->next_handle_++;
    created->url = text(url);
    created->callbacks = *callbacks;
    created->user = user;
    *out = created->handle;
    FakeHost::current->sockets.push_back(std::move(created));
    return CM_OK;
  }
  static cm_status ws_send(cm_handle, cm_handle handle, std::uint32_t, cm_bytes_pview payload) noexcept {
    FakeSocket* found = socket(handle);
    if (found == nullptr) {
      return CM_GONE;
    }
    found->sent.emplace_back(reinterpret_cast<const char*>(payload.data), payload.size);
    return CM_OK;
  }
  static cm_status ws_send_buffer(cm_handle, cm_handle, std::uint32_t, cm_handle) noexcept { return CM_UNSUPPORTED; }
  static cm_status ws_ping(cm_handle, cm_handle handle) noexcept {
    FakeSocket* found = socket(handle);
    if (found == nullptr) {
      return CM_GONE;
    }
    ++found->pings;
    return CM_OK;
  }
  static cm_status ws_close(cm_handle, cm_handle handle, std::uint32_t code, cm_text_pview reason) noexcept {
    FakeSocket* found = socket(handle);
    if (found == nullptr) {
      return CM_GONE;
    }
    found->close_code = code;
    found->close_reason = text(reason);
    return CM_OK;
  }
  static cm_status ws_terminate(cm_handle, cm_handle handle) noexcept {
    FakeSocket* found = socket(handle);
    if (found == nullptr) {
      return CM_GONE;
    }
    found->alive = false;
    found->terminated = true;
    return CM_OK;
  }
  static std::uint64_t ws_buffered(cm_handle, cm_handle) noexcept { return 0; }
  static cm_status ws_pause(cm_handle, cm_handle handle) noexcept {
    return socket(handle) != nullptr ? CM_OK : CM_GONE;
  }
};

const void* FakeTables::get(cm_handle, const char* id) noexcept {
  static const cm_log_v1 kLog = {sizeof(cm_log_v1), 0, &log_write, &log_enabled};
  static const cm_loop_v1 kLoop = {sizeof(cm_loop_v1), 0, &post, &on_loop};
  static const cm_timer_v1 kTimer = {sizeof(cm_timer_v1), 0, &timer_start, &timer_cancel};
  static const cm_clock_v1 kClock = {sizeof(cm_clock_v1), 0, &monotonic_us, &unix_ms};
  static const cm_random_v1 kRandom = {sizeof(cm_random_v1), 0, &fill};
  static const cm_metrics_v1 kMetrics = {sizeof(cm_metrics_v1), 0, &define, &metric_add, &metric_set, &metric_observe};
  static const cm_config_v1 kConfig = {sizeof(cm_config_v1), 0,         &instance_name, &get_bool, &get_int,
                                       &get_float,           &get_text, &list_size,     &list_text};
  static const cm_registry_v1 kRegistry = {sizeof(cm_registry_v1), 0, &acquire, &release};
  static const cm_worker_v1 kWorker = {sizeof(cm_worker_v1), 0, &create_queue, &close_queue, &worker_submit};
  static const cm_http_server_v1 kHttp = {sizeof(cm_http_server_v1),
                                          0,
                                          &listen,
                                          &local_address,
                                          &route,
                                          &fallback,
                                          &http_close,
                                          &header,
                                          &path_parameter,
                                          &query_parameter,
                                          &respond,
                                          &stream_begin,
                                          &stream_write,
                                          &stream_end};
  static const cm_websocket_v1 kWebSocket = {sizeof(cm_websocket_v1),
                                             0,
                                             &ws_accept,
                                             &ws_connect,
                                             &ws_send,
                                             &ws_send_buffer,
                                             &ws_ping,
                                             &ws_close,
                                             &ws_terminate,
                                             &ws_buffered,
                                             &ws_pause,
                                             &ws_pause};
  static const std::map<std::string_view, const void*> kTables = {
      {CM_LOG_ID, &kLog},          {CM_LOOP_ID, &kLoop},          {CM_TIMER_ID, &kTimer},
      {CM_CLOCK_ID, &kClock},      {CM_RANDOM_ID, &kRandom},      {CM_METRICS_ID, &kMetrics},
      {CM_CONFIG_ID, &kConfig},    {CM_REGISTRY_ID, &kRegistry},  {CM_WORKER_ID, &kWorker},
      {CM_HTTP_SERVER_ID, &kHttp}, {CM_WEBSOCKET_ID, &kWebSocket}};
  const auto place = kTables.find(id);
  return place == kTables.end() ? nullptr : place->second;
}

const void* fake_table_get(cm_handle self, const char* id) noexcept {
  return FakeTables::get(self, id);
}
void fake_set_error(cm_handle self, cm_text_pview message) noexcept {
  FakeTables::set_error(self, message);
}
cm_status fake_complete(cm_handle self, cm_handle ticket, cm_status status, cm_text_pview message) noexcept {
  return FakeTables::complete(self, ticket, status, message);
}

}  // namespace cm::testing
