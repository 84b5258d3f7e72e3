#include "host/isolation/runner/runtime.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace cm::isolation {

namespace {

Runtime* the_runtime = nullptr;

constexpr std::size_t kPostsPerTurnMax = 1024;
constexpr int kHostGone = 1;  // exit code; nobody is left to read it

const void* host_get(cm_handle, const char* table_id) noexcept {
  const std::string_view id = table_id == nullptr ? std::string_view() : std::string_view(table_id);
  return Runtime::get().granted(id) ? runner_table(id) : nullptr;
}

void host_set_error(cm_handle, cm_text_pview text) noexcept {
  Runtime::get().set_error(to_view(text));
}

// A ticket names its step and the call that asked for it (step_ticket).
cm_status host_complete(cm_handle, cm_handle ticket, cm_status status, cm_text_pview text) noexcept {
  if (status >= CM_DEFER) {
    return CM_INVALID;
  }
  Runtime::get().send(Method::kStepDone, ticket / kStepsMax, [&](FrameWriter& writer) {
    writer.u32(static_cast<std::uint32_t>(ticket % kStepsMax));
    writer.u32(status);
    writer.text(to_view(text));
  });
  Runtime::get().flush();
  return CM_OK;
}

}  // namespace

std::int64_t steady_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

const void* runner_table(std::string_view id) noexcept {
  if (id == "cm.config/1") {
    return runner_config_table();
  }
  if (id == "cm.worker/1") {
    return runner_worker_table();
  }
  if (id == "cm.http.server/1") {
    return runner_http_server_table();
  }
  if (id == "cm.http.client/1") {
    return runner_http_client_table();
  }
  if (id == "cm.websocket/1") {
    return runner_websocket_table();
  }
  const void* local = runner_local_table(id);
  return local != nullptr ? local : runner_shared_table(id);
}

Runtime::Runtime(std::unique_ptr<Channel> channel)
    : channel_(std::move(channel)), wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  the_runtime = this;
}

Runtime::~Runtime() {
  the_runtime = nullptr;
}

Runtime& Runtime::get() noexcept {
  return *the_runtime;
}

void Runtime::describe(std::string name, cm_handle self, std::uint32_t abi_version, std::uint32_t log_level,
                       std::set<std::string, std::less<>> tables) {
  name_ = std::move(name);
  log_level_ = log_level;
  tables_ = std::move(tables);
  host_ = cm_host{sizeof(cm_host), abi_version, self, &host_get, &host_set_error, &host_complete};
}

// --- to the host -----------------------------------------------------------------------------------------------------

void Runtime::flush() {
  if (channel_->flush() == IoResult::kClosed) {
    ::_exit(kHostGone);
  }
}

void Runtime::after_send() {
  if (!on_loop()) {
    flush();
  }
  // The host reads at its own pace; a plugin that produces faster waits here.
  while (channel_->waiting() > kChildOutboundBytesMax) {
    pollfd fd{channel_->fd(), POLLOUT, 0};
    ::poll(&fd, 1, 100);
    flush();
  }
}

cm_status Runtime::wait_reply(std::uint64_t number, const std::function<void(FrameReader&)>& read) {
  awaited_ = number;
  const std::int64_t deadline_ns = steady_ns() + std::int64_t{kReplyTimeoutMs} * 1'000'000;
  flush();
  while (!replies_.contains(number)) {
    const std::int64_t left_ms = (deadline_ns - steady_ns()) / 1'000'000;
    if (left_ms <= 0) {
      awaited_ = 0;
      return refuse(CM_IO, "the host did not answer in time");
    }
    wait(static_cast<int>(left_ms));
  }
  awaited_ = 0;
  OwnedFrame owned = std::move(replies_.extract(number).mapped());
  const Frame frame = std::move(owned).view();
  FrameReader reader(frame);
  const cm_status status = reader.u32();
  if (status == CM_OK) {
    read(reader);
  }
  return reader.good() && status <= CM_INTERNAL ? status : CM_INTERNAL;
}

void Runtime::misbehaved(std::string_view text) {
  send(Method::kMisbehaved, 0, [text](FrameWriter& writer) { writer.text(text); });
}

void Runtime::wrong_thread(Method method) {
  misbehaved("a function of the host was called outside the instance's loop and refused (method " +
             std::to_string(static_cast<int>(method)) + "); use cm.loop/1 post to get there");
}

// --- the loop --------------------------------------------------------------------------------------------------------

void Runtime::wake() const {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake_fd_.get(), &one, sizeof one));
}

void Runtime::take_frames() {
  Frame frame;
  while (true) {
    const FrameDecoder::Outcome outcome = channel_->next(frame);
    if (outcome == FrameDecoder::Outcome::kMore) {
      return;
    }
    if (outcome == FrameDecoder::Outcome::kBad) {
      ::_exit(kHostGone);
    }
    if (frame.method != Method::kReply) {
      frames_.emplace_back(std::move(frame));
    } else if (frame.call == awaited_) {  // others come too late
      const std::uint64_t number = frame.call;
      replies_.emplace(number, OwnedFrame(std::move(frame)));
    }
  }
}

void Runtime::wait(int timeout_ms) {
  const short events = channel_->waiting() != 0 ? POLLIN | POLLOUT : POLLIN;
  pollfd fds[2] = {{channel_->fd(), events, 0}, {wake_fd_.get(), POLLIN, 0}};
  if (::poll(fds, 2, timeout_ms) <= 0) {
    return;
  }
  if ((fds[0].revents & POLLOUT) != 0) {
    flush();
  }
  if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
    if (channel_->read() == IoResult::kClosed) {
      ::_exit(kHostGone);
    }
    take_frames();
  }
  if (fds[1].revents != 0) {
    std::uint64_t count = 0;
    static_cast<void>(!::read(wake_fd_.get(), &count, sizeof count));
  }
}

OwnedFrame Runtime::wait_frame() {
  while (frames_.empty()) {
    wait(-1);
  }
  OwnedFrame frame = std::move(frames_.front());
  frames_.pop_front();
  return frame;
}

int Runtime::next_timeout_ms() const {
  std::int64_t due_ns = metrics_due_ns();
  if (!due_.empty()) {
    due_ns = due_ns == 0 ? due_.begin()->first : std::min(due_ns, due_.begin()->first);
  }
  if (due_ns == 0) {
    return -1;
  }
  const std::int64_t left_ms = (due_ns - steady_ns() + 999'999) / 1'000'000;
  return static_cast<int>(std::clamp<std::int64_t>(left_ms, 0, 60'000));
}

void Runtime::run(const std::function<void(OwnedFrame&&)>& handle) {
  while (!ended_) {
    while (!frames_.empty() && !ended_) {
      OwnedFrame frame = std::move(frames_.front());
      frames_.pop_front();
      handle(std::move(frame));
    }
    run_posts();
    run_timers();
    for (const auto& function : std::exchange(end_of_turn_, {})) {
      function();
    }
    flush_metrics(false);
    flush();
    bool posts_wait = false;
    {
      const std::lock_guard lock(mutex_);
      posts_wait = !posts_.empty();
    }
    wait(posts_wait || !frames_.empty() || !end_of_turn_.empty() ? 0 : next_timeout_ms());
  }
}

// --- posts and timers ------------------------------------------------------------------------------------------------

cm_status Runtime::post(cm_callback function, cm_callback dropped, void* user) {
  {
    const std::lock_guard lock(mutex_);
    if (posts_closed_) {
      return CM_GONE;
    }
    if (posts_.size() >= kPostsMax) {
      return CM_BUSY;
    }
    posts_.push_back(Post{function, dropped, user});
  }
  if (!on_loop()) {
    wake();
  }
  return CM_OK;
}

void Runtime::run_posts() {
  std::deque<Post> batch;
  {
    const std::lock_guard lock(mutex_);
    batch.swap(posts_);
  }
  std::size_t count = 0;
  for (const Post& post : batch) {
    // A chain of posts must not keep frames from being read; what is left over goes back in front.
    if (++count > kPostsPerTurnMax) {
      const std::lock_guard lock(mutex_);
      posts_.insert(posts_.begin(), batch.begin() + static_cast<std::ptrdiff_t>(count - 1), batch.end());
      return;
    }
    enter(Callback::kPost, [&post] { post.function(post.user); });
  }
}

void Runtime::close_posts() {
  std::deque<Post> dropped;
  {
    const std::lock_guard lock(mutex_);
    posts_closed_ = true;
    dropped.swap(posts_);
  }
  for (const Post& post : dropped) {
    if (post.dropped != nullptr) {
      post.dropped(post.user);
    }
  }
}

cm_status Runtime::start_timer(std::uint64_t delay_us, std::uint64_t period_us, cm_callback function, void* user,
                               cm_handle* out) {
  if (timers_.size() >= kTimersMax) {
    return refuse(CM_BUSY, "an instance may have at most 65536 timers");
  }
  constexpr std::uint64_t kLongestUs = std::uint64_t{1} << 52;  // a century; sums stay far from overflow
  const auto delay_ns = static_cast<std::int64_t>(std::min(delay_us, kLongestUs)) * 1000;
  const auto period_ns = static_cast<std::int64_t>(std::min(period_us, kLongestUs)) * 1000;
  const cm_handle handle = next_timer_++;
  const std::int64_t due_ns = steady_ns() + delay_ns;
  timers_.emplace(handle, Timer{due_ns, period_ns, function, user});
  due_.emplace(due_ns, handle);
  *out = handle;
  return CM_OK;
}

cm_status Runtime::cancel_timer(cm_handle timer) {
  const auto entry = timers_.find(timer);
  if (entry == timers_.end()) {
    return CM_GONE;
  }
  due_.erase({entry->second.due_ns, timer});
  timers_.erase(entry);
  return CM_OK;
}

void Runtime::cancel_all_timers() {
  timers_.clear();
  due_.clear();
}

void Runtime::run_timers() {
  const std::int64_t now_ns = steady_ns();
  // Timers that become due by these callbacks wait for the next turn.
  while (!due_.empty() && due_.begin()->first <= now_ns) {
    const cm_handle handle = due_.begin()->second;
    due_.erase(due_.begin());
    Timer& timer = timers_.at(handle);
    const Timer copy = timer;
    if (copy.period_ns != 0) {
      timer.due_ns = std::max(copy.due_ns + copy.period_ns, now_ns + 1);  // a late one does not run twice to catch up
      due_.emplace(timer.due_ns, handle);
    } else {
      timers_.erase(handle);
    }
    enter(Callback::kTimer, [&copy] { copy.function(copy.user); });
  }
}

// --- errors ----------------------------------------------------------------------------------------------------------

void Runtime::set_error(std::string_view text) {
  constexpr std::size_t kErrorBytesMax = 4096;
  const std::lock_guard lock(mutex_);
  error_ = std::string(text.substr(0, kErrorBytesMax));
}

std::string Runtime::take_error() {
  const std::lock_guard lock(mutex_);
  return std::exchange(error_, std::string());
}

}  // namespace cm::isolation
