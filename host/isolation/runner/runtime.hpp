// The small host inside a runner child: one plugin, one thread with a poll loop, and the connection to the real host.
#pragma once

#include <claudemesh/ext/host.h>
#include <claudemesh/plugin.h>
#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/text.hpp>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "host/isolation/channel.hpp"
#include "host/isolation/options_codec.hpp"

namespace cm::isolation {

inline constexpr int kReplyTimeoutMs = 10'000;                   // of a call that waits for the host
inline constexpr std::size_t kChildOutboundBytesMax = 1u << 20;  // waiting for the host; more holds the writer back
inline constexpr std::size_t kTimersMax = 65'536;
inline constexpr std::size_t kPostsMax = 65'536;
inline constexpr std::int64_t kMetricsPeriodNs = 100'000'000;

std::int64_t steady_ns() noexcept;

// One per process. `get` names it for the C tables, which have no other way to it. [loop] unless it says otherwise.
class Runtime {
 public:
  explicit Runtime(std::unique_ptr<Channel> channel);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  static Runtime& get() noexcept;

  // --- to the host ---
  // [any] Holds the caller back while too much is waiting. False: too large to cross.
  template <typename Fill>
  bool send(Method method, std::uint64_t call, Fill&& fill) {
    const bool sent = channel_->send(method, call, std::forward<Fill>(fill));
    after_send();
    return sent;
  }
  bool send(Method method, std::uint64_t call = 0) {
    return send(method, call, [](FrameWriter&) {});
  }
  void flush();  // [any]
  std::uint64_t next_call() noexcept { return next_call_++; }
  // Sends and waits for the reply; other frames wait meanwhile. `read(FrameReader&)` gets the fields behind the status
  // when that is CM_OK.
  template <typename Fill, typename Read>
  cm_status call(Method method, Fill&& fill, Read&& read) {
    return call_as(next_call(), method, std::forward<Fill>(fill), std::forward<Read>(read));
  }
  template <typename Fill, typename Read>
  cm_status call_as(std::uint64_t number, Method method, Fill&& fill, Read&& read) {
    if (!on_loop()) {
      wrong_thread(method);
      return CM_INVALID;
    }
    if (!send(method, number, std::forward<Fill>(fill))) {
      return CM_BUSY;
    }
    return wait_reply(number, [&read](FrameReader& reader) { read(reader); });
  }
  template <typename Fill>
  cm_status call(Method method, Fill&& fill) {
    return call(method, std::forward<Fill>(fill), [](FrameReader&) {});
  }

  // --- the loop ---
  bool on_loop() const noexcept { return std::this_thread::get_id() == loop_thread_; }
  // Runs until `end`. `handle` gets each frame but replies.
  void run(const std::function<void(OwnedFrame&&)>& handle);
  void end() noexcept { ended_ = true; }
  void at_end_of_turn(std::function<void()> function) { end_of_turn_.push_back(std::move(function)); }
  // The next frame, without running anything else; for the first one.
  OwnedFrame wait_frame();

  // Runs plugin code, named for the host in case that it is the last thing that runs.
  template <typename F>
  auto enter(Callback callback, F&& function) {
    std::atomic<std::uint32_t>& shown = channel_->memory().callback();
    const std::uint32_t outer = shown.exchange(static_cast<std::uint32_t>(callback), std::memory_order_relaxed);
    struct Leave {
      std::atomic<std::uint32_t>& place;
      std::uint32_t value;
      ~Leave() { place.store(value, std::memory_order_relaxed); }
    } const leave{shown, outer};
    return function();
  }

  // [any] CM_GONE once the instance has stopped, CM_BUSY over the limit.
  cm_status post(cm_callback function, cm_callback dropped, void* user);
  // No post runs any more; those that wait are told.
  void close_posts();
  cm_status start_timer(std::uint64_t delay_us, std::uint64_t period_us, cm_callback function, void* user,
                        cm_handle* out);
  cm_status cancel_timer(cm_handle timer);
  void cancel_all_timers();

  // --- what the plugin holds ---
  const cm_host* host() noexcept { return &host_; }
  cm_handle self() const noexcept { return host_.self; }
  void describe(std::string name, cm_handle self, std::uint32_t abi_version, std::uint32_t log_level,
                std::set<std::string, std::less<>> tables);
  bool granted(std::string_view table) const { return tables_.contains(table); }
  const std::string& name() const noexcept { return name_; }
  std::uint32_t log_level() const noexcept { return log_level_; }

  void set_error(std::string_view text);  // [any]
  std::string take_error();               // [any]
  cm_status refuse(cm_status status, std::string_view text) {
    set_error(text);
    return status;
  }
  // [any] Told to the host, which logs and counts it.
  void misbehaved(std::string_view text);
  // A [loop] function on another thread.
  void wrong_thread(Method method);

  RemoteOptions active_options;
  RemoteOptions candidate_options;
  bool has_candidate = false;
  // Old options whose texts the plugin may still hold (until destroy).
  std::vector<std::unique_ptr<RemoteOptions>> former_options;

 private:
  struct Timer {
    std::int64_t due_ns;
    std::int64_t period_ns;
    cm_callback function;
    void* user;
  };
  struct Post {
    cm_callback function;
    cm_callback dropped;
    void* user;
  };

  void after_send();
  cm_status wait_reply(std::uint64_t number, const std::function<void(FrameReader&)>& read);
  // Waits up to the time for the socket or a wake-up, and takes in what came.
  void wait(int timeout_ms);
  void take_frames();
  void run_posts();
  void run_timers();
  int next_timeout_ms() const;
  void wake() const;

  std::unique_ptr<Channel> channel_;
  std::thread::id loop_thread_ = std::this_thread::get_id();
  const Descriptor wake_fd_;
  bool ended_ = false;
  std::uint64_t next_call_ = 1;
  std::deque<OwnedFrame> frames_;
  std::map<std::uint64_t, OwnedFrame> replies_;
  std::uint64_t awaited_ = 0;
  std::vector<std::function<void()>> end_of_turn_;

  std::map<cm_handle, Timer> timers_;
  std::set<std::pair<std::int64_t, cm_handle>> due_;
  cm_handle next_timer_ = 1;

  std::mutex mutex_;
  std::deque<Post> posts_;     // guarded by mutex_
  bool posts_closed_ = false;  // guarded by mutex_
  std::string error_;          // guarded by mutex_

  cm_host host_{};
  std::string name_;
  std::uint32_t log_level_ = 0;
  std::set<std::string, std::less<>> tables_;
};

// --- the tables, by id; null: this runner has none
// --------------------------------------------------------------------
const void* runner_table(std::string_view id) noexcept;
const void* runner_local_table(std::string_view id) noexcept;
const void* runner_config_table() noexcept;
const void* runner_worker_table() noexcept;
const void* runner_shared_table(std::string_view id) noexcept;
const void* runner_http_server_table() noexcept;
const void* runner_http_client_table() noexcept;
const void* runner_websocket_table() noexcept;

// What the services do with frames; false: not one of theirs.
bool shared_frame(OwnedFrame& frame);
bool http_frame(OwnedFrame& frame);
bool websocket_frame(OwnedFrame& frame);
bool hook_frame(OwnedFrame& frame);
bool transport_frame(OwnedFrame& frame);
bool hook_result_frame(OwnedFrame& frame);
bool peer_frame(OwnedFrame& frame);
bool bridge_frame(OwnedFrame& frame);

// When the metrics must be sent next, or 0; sends them when that has passed or `now` is true.
std::int64_t metrics_due_ns() noexcept;
void flush_metrics(bool now);
// Waits for all accepted jobs and ends the threads.
void finish_workers();

}  // namespace cm::isolation
