#include "host/net/loop.hpp"

#include <sys/random.h>
#include <sys/stat.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <cassert>
#include <chrono>
#include <cstring>
#include <ctime>

#include "host/net/detail/linger.hpp"
#include "host/net/detail/reactor.hpp"
#include "host/net/http_types.hpp"
#include "host/net/shared_buffer.hpp"

namespace cm::net {

namespace detail {

namespace {

constexpr std::int64_t kForeverNs = -1;
constexpr std::size_t kRandomPoolBytes = 1024;

}  // namespace

void FdState::arm() {
  if (want_read && !read_pending) {
    read_pending = true;
    descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                          [self = shared_from_this()](const boost::system::error_code& error) {
                            self->read_pending = false;
                            if (error || self->listener == nullptr) {
                              return;
                            }
                            if (self->want_read) {
                              self->listener->on_fd_ready(true, false);
                            }
                            if (self->listener != nullptr) {
                              self->arm();
                            }
                          });
  }
  if (want_write && !write_pending) {
    write_pending = true;
    descriptor.async_wait(asio::posix::stream_descriptor::wait_write,
                          [self = shared_from_this()](const boost::system::error_code& error) {
                            self->write_pending = false;
                            if (error || self->listener == nullptr) {
                              return;
                            }
                            if (self->want_write) {
                              self->listener->on_fd_ready(false, true);
                            }
                            if (self->listener != nullptr) {
                              self->arm();
                            }
                          });
  }
}

Status FdWatch::start(Loop& loop, int fd, FdListener& listener) {
  assert(state_ == nullptr);
  auto state = std::make_shared<FdState>(loop.core().reactor().context, listener);
  boost::system::error_code error;
  state->descriptor.assign(fd, error);
  if (error) {
    return make_error(ErrorCode::kIo, "cannot wait for descriptor " + std::to_string(fd) + ": " + error.message() +
                                          "; expected an open socket or pipe that is watched once; report this");
  }
  state_ = std::move(state);
  return {};
}

void FdWatch::want(bool readable, bool writable) {
  if (state_ != nullptr) {
    state_->want_read = readable;
    state_->want_write = writable;
    state_->arm();
  }
}

void FdWatch::stop() {
  if (state_ != nullptr) {
    const auto state = std::move(state_);
    state_ = nullptr;
    state->listener = nullptr;
    if (state->descriptor.is_open()) {
      state->descriptor.release();  // takes it out of the reactor; the owner closes it
    }
  }
}

void PublicWatch::on_fd_ready(bool readable, bool writable) {
  const auto keep_alive = shared_from_this();
  fn(FdInterest{readable, writable});
}

std::int64_t Reactor::wait_ns(std::int64_t limit_ns) const {
  if (!batch_end.empty() || stop_requested.load(std::memory_order_relaxed)) {
    return 0;
  }
  std::int64_t wait = limit_ns;
  if (const auto next = timers.next_deadline_ns()) {
    const std::int64_t left = std::max<std::int64_t>(0, *next - Loop::now_ns());
    wait = wait == kForeverNs ? left : std::min(wait, left);
  }
  return wait;
}

void Reactor::turn(std::int64_t wait_limit_ns) {
  const std::int64_t wait = wait_ns(wait_limit_ns);
  std::size_t ran = 0;
  if (wait == kForeverNs) {
    ran = context.run_one();
  } else if (wait == 0) {
    ran = context.poll_one();
  } else {
    ran = context.run_one_for(std::chrono::nanoseconds(wait));
  }
  const std::int64_t end_ns = Loop::now_ns() + Loop::kTurnNsMax;
  for (int i = 1; ran != 0 && i < Loop::kHandlersPerTurnMax && Loop::now_ns() < end_ns; ++i) {
    ran = context.poll_one();
  }
  run_due_timers();
  run_batch_end();
}

void Reactor::run_due_timers() {
  if (timers.size() == 0) {
    return;
  }
  const std::int64_t now = Loop::now_ns();
  for (int i = 0; i < Loop::kHandlersPerTurnMax; ++i) {
    UniqueFunction<void()> fn = timers.take_due(now);
    if (!fn) {
      return;
    }
    fn();
  }
}

void Reactor::run_batch_end() {
  if (batch_end.empty()) {
    return;
  }
  batch_end_running.swap(batch_end);
  for (auto& fn : batch_end_running) {
    fn();
  }
  batch_end_running.clear();
}

void Reactor::drain_posts() {
  {
    const std::lock_guard lock(post_mutex);
    posted_running.swap(posted);
  }
  // A posted function may run the loop itself (blocking facades never do, tests might): work on a local list.
  std::vector<UniqueFunction<void()>> running;
  running.swap(posted_running);
  for (auto& fn : running) {
    fn();
  }
  running.clear();
  posted_running.swap(running);  // keeps the memory for the next batch
}

LoopCore::LoopCore(Loop& owner, std::string name)
    : owner_(owner), name_(std::move(name)), reactor_(std::make_unique<Reactor>()) {}

LoopCore::~LoopCore() {
  // Functions may own objects that use the reactor while they are destroyed, so they go first, newest kinds first.
  lingerer_.reset();
  while (!residents_.empty()) {
    (*residents_.begin())->on_loop_gone();
  }
  reactor_->batch_end.clear();
  reactor_->timers = TimerHeap();
  std::vector<UniqueFunction<void()>> posted;
  {
    const std::lock_guard lock(reactor_->post_mutex);
    posted.swap(reactor_->posted);
  }
  posted.clear();
  reactor_->watches.clear();
  reactor_->signal_watches.clear();
}

std::span<std::uint8_t> LoopCore::read_buffer() {
  if (read_buffer_ == nullptr) {
    read_buffer_ = std::make_unique<std::uint8_t[]>(kReadBufferBytes + kBufferPadding);
  }
  return {read_buffer_.get(), kReadBufferBytes};
}

void LoopCore::random_mask(std::uint8_t mask[4]) {
  if (random_pool_.size() < 4) {
    random_pool_.resize(kRandomPoolBytes);
    std::size_t filled = 0;
    while (filled < random_pool_.size()) {
      const ssize_t got = getrandom(random_pool_.data() + filled, random_pool_.size() - filled, 0);
      filled += got > 0 ? static_cast<std::size_t>(got) : 0;
    }
  }
  std::memcpy(mask, random_pool_.data() + random_pool_.size() - 4, 4);
  random_pool_.resize(random_pool_.size() - 4);
}

std::string_view LoopCore::date_header() {
  const auto second = static_cast<std::int64_t>(std::time(nullptr));
  if (second != date_second_) {
    date_second_ = second;
    date_text_ = http_date(second);
  }
  return date_text_;
}

Lingerer& LoopCore::lingerer() {
  if (lingerer_ == nullptr) {
    lingerer_ = std::make_unique<Lingerer>(owner_);
  }
  return *lingerer_;
}

}  // namespace detail

Loop::Loop(std::string name) : core_(std::make_unique<detail::LoopCore>(*this, std::move(name))) {}
Loop::~Loop() = default;

const std::string& Loop::name() const noexcept {
  return core_->name();
}

void Loop::post(UniqueFunction<void()> fn) {
  detail::Reactor& reactor = core_->reactor();
  bool first = false;
  {
    const std::lock_guard lock(reactor.post_mutex);
    first = reactor.posted.empty();
    reactor.posted.push_back(std::move(fn));
  }
  // Only the first post of a batch wakes the loop; drain_posts() takes the whole batch.
  if (first) {
    boost::asio::post(reactor.context, [&reactor] { reactor.drain_posts(); });
  }
}

void Loop::run() {
  detail::Reactor& reactor = core_->reactor();
  reactor.thread.store(std::this_thread::get_id());
  reactor.run_batch_end();  // what was queued before anybody ran the loop
  do {
    reactor.turn(detail::kForeverNs);
  } while (!reactor.stop_requested.load());
  reactor.stop_requested.store(false);
  reactor.thread.store(std::thread::id());
}

void Loop::stop() {
  // Posted, so that everything posted before it still runs.
  post([this] { core_->reactor().stop_requested.store(true); });
}

void Loop::run_once(std::uint64_t wait_ms) {
  detail::Reactor& reactor = core_->reactor();
  reactor.thread.store(std::this_thread::get_id());
  reactor.turn(static_cast<std::int64_t>(wait_ms) * 1'000'000);
  reactor.thread.store(std::thread::id());
}

bool Loop::on_loop() const noexcept {
  const std::thread::id thread = core_->reactor().thread.load();
  return thread == std::this_thread::get_id() || thread == std::thread::id();
}

std::int64_t Loop::now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

TimerId Loop::start_timer(std::int64_t deadline_ns, UniqueFunction<void()> fn) {
  assert(on_loop() && fn);
  return TimerId{core_->reactor().timers.start(deadline_ns, std::move(fn))};
}

TimerId Loop::start_timer_after_ms(std::uint64_t delay_ms, UniqueFunction<void()> fn) {
  constexpr std::uint64_t kDelayMsMax = 10ULL * 365 * 24 * 3600 * 1000;  // keeps the sum far from overflow
  return start_timer(now_ns() + static_cast<std::int64_t>(std::min(delay_ms, kDelayMsMax)) * 1'000'000, std::move(fn));
}

bool Loop::cancel_timer(TimerId id) {
  assert(on_loop());
  return core_->reactor().timers.cancel(static_cast<std::uint64_t>(id));
}

Result<WatchId> Loop::watch_fd(int fd, FdInterest interest, UniqueFunction<void(FdInterest ready)> fn) {
  assert(on_loop() && fn);
  struct stat info{};
  if (fstat(fd, &info) != 0 || S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) {
    return make_error(ErrorCode::kInvalid, "descriptor " + std::to_string(fd) +
                                               " cannot be waited for: it is closed, a file or a folder; expected a "
                                               "socket, pipe or device; read files on a worker instead");
  }
  detail::Reactor& reactor = core_->reactor();
  auto watch = std::make_shared<detail::PublicWatch>();
  watch->fn = std::move(fn);
  const Status started = watch->watch.start(*this, fd, *watch);
  if (!started) {
    return started.error();
  }
  watch->watch.want(interest.readable, interest.writable);
  const std::uint64_t id = reactor.next_watch_id++;
  reactor.watches.emplace(id, std::move(watch));
  return WatchId{id};
}

Status Loop::update_watch(WatchId id, FdInterest interest) {
  assert(on_loop());
  const auto found = core_->reactor().watches.find(static_cast<std::uint64_t>(id));
  if (found == core_->reactor().watches.end()) {
    return make_error(ErrorCode::kGone, "the descriptor watch does not exist any more; start a new one");
  }
  found->second->watch.want(interest.readable, interest.writable);
  return {};
}

void Loop::unwatch_fd(WatchId id) {
  assert(on_loop());
  const auto found = core_->reactor().watches.find(static_cast<std::uint64_t>(id));
  if (found != core_->reactor().watches.end()) {
    const auto watch = found->second;
    core_->reactor().watches.erase(found);
    watch->watch.stop();
  }
}

namespace {

void wait_for_signal(const std::shared_ptr<detail::SignalWatch>& watch) {
  watch->set.async_wait([watch](const boost::system::error_code& error, int number) {
    if (error || watch->stopped) {
      return;
    }
    watch->fn(number);
    if (!watch->stopped) {
      wait_for_signal(watch);
    }
  });
}

}  // namespace

Result<WatchId> Loop::watch_signals(const std::vector<int>& signal_numbers, UniqueFunction<void(int)> fn) {
  assert(on_loop() && fn);
  detail::Reactor& reactor = core_->reactor();
  auto watch = std::make_shared<detail::SignalWatch>(reactor.context, std::move(fn));
  for (const int number : signal_numbers) {
    boost::system::error_code error;
    watch->set.add(number, error);
    if (error) {
      return make_error(ErrorCode::kInvalid, "signal " + std::to_string(number) + " cannot be watched: " +
                                                 error.message() + "; expected one such as SIGTERM or SIGHUP");
    }
  }
  wait_for_signal(watch);
  const std::uint64_t id = reactor.next_watch_id++;
  reactor.signal_watches.emplace(id, std::move(watch));
  return WatchId{id};
}

void Loop::unwatch_signals(WatchId id) {
  assert(on_loop());
  const auto found = core_->reactor().signal_watches.find(static_cast<std::uint64_t>(id));
  if (found != core_->reactor().signal_watches.end()) {
    found->second->stopped = true;
    boost::system::error_code ignored;
    found->second->set.clear(ignored);
    found->second->set.cancel(ignored);
    core_->reactor().signal_watches.erase(found);
  }
}

void Loop::at_end_of_batch(UniqueFunction<void()> fn) {
  assert(on_loop() && fn);
  core_->reactor().batch_end.push_back(std::move(fn));
}

}  // namespace cm::net
