#include "plugins/storage_sqlite/tests/fake_host.hpp"

#include <algorithm>

namespace cm::test {

struct FakeHost::Instance {
  FakeHost* owner = nullptr;
  cm_host host = {};
  std::string name;
  bool stopped = false;
};

struct FakeHost::Tables {
  // The handle of an instance is its address: the tables get nothing else.
  static FakeHost& host_of(cm_handle self) noexcept { return *reinterpret_cast<Instance*>(self)->owner; }

  static cm_status post(cm_handle self, cm_handle instance, cm_callback function, cm_callback dropped,
                        void* user) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    for (const auto& known : host.instances_) {
      if (known->host.self == instance && !known->stopped) {
        host.posts_.push_back(Post{instance, function, dropped, user});
        ++host.post_count_;
        host.changed_.notify_all();
        return CM_OK;
      }
    }
    return CM_GONE;
  }
  static bool on_loop(cm_handle) noexcept { return true; }

  static cm_status timer_start(cm_handle self, std::uint64_t delay_us, std::uint64_t period_us, cm_callback function,
                               void* user, cm_handle* out) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    *out = host.next_timer_++;
    host.timers_[*out] = TimerEntry{host.now_us() + delay_us, period_us, function, user};
    return CM_OK;
  }
  static cm_status timer_cancel(cm_handle self, cm_handle timer) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    return host.timers_.erase(timer) == 1 ? CM_OK : CM_GONE;
  }

  static std::uint64_t monotonic_us(cm_handle self) noexcept { return host_of(self).now_us(); }
  static std::int64_t unix_ms(cm_handle self) noexcept {
    return 1'700'000'000'000 + static_cast<std::int64_t>(host_of(self).now_us() / 1'000);
  }

  static void log_write(cm_handle self, std::uint32_t level, cm_text_pview message, const cm_log_field* fields,
                        std::uint64_t count) noexcept {
    FakeHost& host = host_of(self);
    std::string line(to_view(message));
    for (std::uint64_t i = 0; i < count; ++i) {
      line.append(" ").append(to_view(fields[i].key)).append("=").append(to_view(fields[i].value));
    }
    const std::lock_guard lock(host.mutex_);
    host.logs_.emplace_back(level, std::move(line));
  }
  static bool log_enabled(cm_handle, std::uint32_t) noexcept { return true; }

  static cm_status define(cm_handle self, std::uint32_t, cm_text_pview name, cm_text_pview labels, cm_text_pview,
                          std::uint32_t* out) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    std::string key(to_view(name));
    if (labels.size != 0) {
      key.append("{").append(to_view(labels)).append("}");
    }
    host.series_.push_back(Series{std::move(key), 0});
    *out = static_cast<std::uint32_t>(host.series_.size() - 1);
    return CM_OK;
  }
  static void metric_add(cm_handle self, std::uint32_t metric, std::int64_t amount) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    host.series_[metric].value += amount;
  }
  static void metric_set(cm_handle self, std::uint32_t metric, std::int64_t value) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    host.series_[metric].value = value;
  }
  static void metric_observe(cm_handle self, std::uint32_t metric, std::uint64_t value) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    host.series_[metric].value = std::max(host.series_[metric].value, static_cast<std::int64_t>(value));
  }

  static cm_status create_queue(cm_handle self, cm_text_pview, cm_handle* out) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    host.queues_.push_back(std::make_unique<Queue>());
    Queue* queue = host.queues_.back().get();
    if (host.mode_ == Mode::kThreaded) {
      queue->thread = std::thread([&host, queue] { host.worker_thread(queue); });
    }
    *out = host.queues_.size();
    return CM_OK;
  }
  static cm_status close_queue(cm_handle self, cm_handle queue) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    host.queues_[queue - 1]->closed = true;
    host.changed_.notify_all();
    return CM_OK;
  }
  static cm_status submit(cm_handle self, cm_handle queue, cm_callback job, void* user) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    Queue& target = *host.queues_.at(queue - 1);
    if (target.closed) {
      return CM_GONE;
    }
    if (host.jobs_waiting_ >= host.jobs_max_) {
      return CM_BUSY;
    }
    ++host.jobs_waiting_;
    target.jobs.emplace_back(job, user);
    host.changed_.notify_all();
    return CM_OK;
  }

  static cm_text_hview instance_name(cm_handle) noexcept { return to_hview(std::string_view("store")); }
  static cm_status get_bool(cm_handle self, std::uint32_t, cm_text_pview option, bool* out) noexcept {
    const auto& values = host_of(self).bools;
    const auto found = values.find(std::string(to_view(option)));
    return found == values.end() ? CM_INVALID : (*out = found->second, CM_OK);
  }
  static cm_status get_int(cm_handle self, std::uint32_t, cm_text_pview option, std::int64_t* out) noexcept {
    const auto& values = host_of(self).ints;
    const auto found = values.find(std::string(to_view(option)));
    return found == values.end() ? CM_INVALID : (*out = found->second, CM_OK);
  }
  static cm_status get_float(cm_handle, std::uint32_t, cm_text_pview, double*) noexcept { return CM_INVALID; }
  static cm_status get_text(cm_handle self, std::uint32_t, cm_text_pview option, cm_text_hview* out) noexcept {
    const auto& values = host_of(self).texts;
    const auto found = values.find(std::string(to_view(option)));
    return found == values.end() ? CM_INVALID : (*out = to_hview(found->second), CM_OK);
  }
  static cm_status list_size(cm_handle, std::uint32_t, cm_text_pview, std::uint64_t*) noexcept { return CM_INVALID; }
  static cm_status list_text(cm_handle, std::uint32_t, cm_text_pview, std::uint64_t, cm_text_hview*) noexcept {
    return CM_INVALID;
  }

  static cm_status acquire(cm_handle self, cm_text_pview, cm_text_pview, cm_callback, void*,
                           cm_extension* out) noexcept {
    FakeHost& host = host_of(self);
    return host.provided.table == nullptr ? CM_GONE : (*out = host.provided, CM_OK);
  }
  static void release(cm_handle, cm_handle) noexcept {}

  static const void* get(cm_handle, const char* id) noexcept {
    static constexpr cm_loop_v1 kLoop = {sizeof(cm_loop_v1), 0, &post, &on_loop};
    static constexpr cm_timer_v1 kTimer = {sizeof(cm_timer_v1), 0, &timer_start, &timer_cancel};
    static constexpr cm_clock_v1 kClock = {sizeof(cm_clock_v1), 0, &monotonic_us, &unix_ms};
    static constexpr cm_log_v1 kLog = {sizeof(cm_log_v1), 0, &log_write, &log_enabled};
    static constexpr cm_metrics_v1 kMetrics = {sizeof(cm_metrics_v1), 0,           &define,
                                               &metric_add,           &metric_set, &metric_observe};
    static constexpr cm_worker_v1 kWorker = {sizeof(cm_worker_v1), 0, &create_queue, &close_queue, &submit};
    static constexpr cm_config_v1 kConfig = {sizeof(cm_config_v1), 0,         &instance_name, &get_bool, &get_int,
                                             &get_float,           &get_text, &list_size,     &list_text};
    static constexpr cm_registry_v1 kRegistry = {sizeof(cm_registry_v1), 0, &acquire, &release};
    const std::map<std::string_view, const void*> tables = {
        {CM_LOOP_ID, &kLoop},       {CM_TIMER_ID, &kTimer},   {CM_CLOCK_ID, &kClock},   {CM_LOG_ID, &kLog},
        {CM_METRICS_ID, &kMetrics}, {CM_WORKER_ID, &kWorker}, {CM_CONFIG_ID, &kConfig}, {CM_REGISTRY_ID, &kRegistry}};
    const auto found = tables.find(id);
    return found == tables.end() ? nullptr : found->second;
  }
  static void set_error(cm_handle self, cm_text_pview text) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    host.last_error_ = to_view(text);
  }
  static cm_status complete(cm_handle self, cm_handle ticket, cm_status status, cm_text_pview text) noexcept {
    FakeHost& host = host_of(self);
    const std::lock_guard lock(host.mutex_);
    host.answers_[ticket] = Answer{status, std::string(to_view(text))};
    host.changed_.notify_all();
    return CM_OK;
  }
};

FakeHost::FakeHost(Mode mode, std::uint64_t seed) : mode_(mode), random_(seed) {
  ints = {{"readers", 2},
          {"queue_max", 65'536},
          {"batch_max", 512},
          {"batch_time_max", 20},
          {"busy_timeout", 200},
          {"page_size", 4'096},
          {"cache_size", 16 * 1'024 * 1'024},
          {"reader_cache_size", 4 * 1'024 * 1'024},
          {"wal_autocheckpoint", 8'000},
          {"wal_truncate_size", 64 * 1'024 * 1'024},
          {"idle_after", 5'000},
          {"read_only_grace", 2'000},
          {"slow_work", 100},
          {"stuck_work", 5'000},
          {"backup_step", 16}};
  texts = {{"path", ""}, {"vfs", ""}, {"synchronous", "full"}, {"integrity_check", "quick"}};
  bools = {{"self_check", true}};
}

FakeHost::~FakeHost() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  for (const auto& queue : queues_) {
    if (queue->thread.joinable()) {
      queue->thread.join();
    }
  }
}

const cm_host* FakeHost::add_instance(const std::string& name) {
  auto instance = std::make_unique<Instance>();
  instance->owner = this;
  instance->name = name;
  instance->host.self = reinterpret_cast<std::uintptr_t>(instance.get());
  instance->host.size = sizeof(cm_host);
  instance->host.abi_version = CM_ABI_VERSION_CURRENT;
  instance->host.get = &Tables::get;
  instance->host.set_error = &Tables::set_error;
  instance->host.complete = &Tables::complete;
  const std::lock_guard lock(mutex_);
  instances_.push_back(std::move(instance));
  return &instances_.back()->host;
}

void FakeHost::stop_instance(cm_handle instance) {
  std::vector<Post> dropped;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& known : instances_) {
      known->stopped = known->stopped || known->host.self == instance;
    }
    std::deque<Post> kept;
    for (const Post& post : posts_) {
      if (post.instance == instance) {
        dropped.push_back(post);
      } else {
        kept.push_back(post);
      }
    }
    posts_ = std::move(kept);
  }
  for (const Post& post : dropped) {
    if (post.dropped != nullptr) {
      post.dropped(post.user);
    }
  }
}

void FakeHost::hold_workers(bool held) {
  std::unique_lock lock(mutex_);
  held_ = held;
  changed_.notify_all();
  const auto running = [](const auto& queue) { return queue->running; };
  changed_.wait(lock, [&] { return !held_ || std::none_of(queues_.begin(), queues_.end(), running); });
}

void FakeHost::set_jobs_max(std::size_t jobs_max) {
  const std::lock_guard lock(mutex_);
  jobs_max_ = jobs_max;
}

std::uint64_t FakeHost::now_us() const {
  if (mode_ == Mode::kDeterministic) {
    return simulated_us_;
  }
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

void FakeHost::advance_ms(std::uint64_t ms) {
  const std::lock_guard lock(mutex_);
  simulated_us_ += ms * 1'000;
}

void FakeHost::worker_thread(Queue* queue) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this, queue] {
      return (!queue->jobs.empty() && !held_) || ending_ || (queue->closed && queue->jobs.empty());
    });
    if (queue->jobs.empty() || held_) {
      return;
    }
    const auto [job, user] = queue->jobs.front();
    queue->jobs.pop_front();
    queue->running = true;
    --jobs_waiting_;
    lock.unlock();
    job(user);
    lock.lock();
    queue->running = false;
    changed_.notify_all();
  }
}

bool FakeHost::run_one_post(std::unique_lock<std::mutex>& lock) {
  if (posts_.empty()) {
    return false;
  }
  const Post post = posts_.front();
  posts_.pop_front();
  lock.unlock();
  post.function(post.user);
  lock.lock();
  return true;
}

bool FakeHost::run_due_timer(std::unique_lock<std::mutex>& lock) {
  const std::uint64_t now = now_us();
  for (auto& [handle, timer] : timers_) {
    if (timer.due_us > now) {
      continue;
    }
    const TimerEntry due = timer;
    if (due.period_us == 0) {
      timers_.erase(handle);
    } else {
      timer.due_us = now + due.period_us;
    }
    lock.unlock();
    due.function(due.user);
    lock.lock();
    return true;
  }
  return false;
}

// Deterministic mode: one job of a queue picked at random.
bool FakeHost::run_one_job(std::unique_lock<std::mutex>& lock) {
  std::vector<Queue*> ready;
  for (const auto& queue : queues_) {
    if (!queue->jobs.empty() && !held_) {
      ready.push_back(queue.get());
    }
  }
  if (ready.empty()) {
    return false;
  }
  Queue* queue = ready[random_() % ready.size()];
  const auto [job, user] = queue->jobs.front();
  queue->jobs.pop_front();
  --jobs_waiting_;
  lock.unlock();
  job(user);
  lock.lock();
  return true;
}

bool FakeHost::run_until(const std::function<bool()>& done, std::uint64_t deadline_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(deadline_ms);
  std::unique_lock lock(mutex_);
  for (;;) {
    lock.unlock();
    const bool finished = done();
    lock.lock();
    if (finished) {
      return true;
    }
    if (mode_ == Mode::kDeterministic) {
      const bool job_first = (random_() & 1U) != 0;
      const bool ran =
          (job_first && run_one_job(lock)) || run_due_timer(lock) || run_one_post(lock) || run_one_job(lock);
      if (!ran) {
        return false;
      }
      continue;
    }
    if (run_due_timer(lock) || run_one_post(lock)) {
      continue;
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      return false;
    }
    changed_.wait_for(lock, std::chrono::milliseconds(5));
  }
}

bool FakeHost::jobs_left() const {
  return std::any_of(queues_.begin(), queues_.end(),
                     [](const auto& queue) { return !queue->jobs.empty() || queue->running; });
}

void FakeHost::wait_for_jobs() {
  std::unique_lock lock(mutex_);
  if (mode_ == Mode::kDeterministic) {
    while (run_one_job(lock)) {
    }
    return;
  }
  changed_.wait(lock, [this] { return !jobs_left(); });
}

std::vector<std::string> FakeHost::logs(std::uint32_t level_min) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> lines;
  for (const auto& [level, line] : logs_) {
    if (level >= level_min) {
      lines.push_back(line);
    }
  }
  return lines;
}

bool FakeHost::logged(const std::string& part, std::uint32_t level_min) const {
  const std::vector<std::string> lines = logs(level_min);
  return std::any_of(lines.begin(), lines.end(),
                     [&part](const std::string& line) { return line.find(part) != std::string::npos; });
}

std::int64_t FakeHost::metric(const std::string& name_and_labels) const {
  const std::lock_guard lock(mutex_);
  // The last one: an instance that is made anew defines its series anew.
  const auto found = std::find_if(series_.rbegin(), series_.rend(),
                                  [&](const Series& series) { return series.key == name_and_labels; });
  return found == series_.rend() ? -1 : found->value;
}

std::string FakeHost::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

bool FakeHost::completed(cm_handle ticket, cm_status* status, std::string* text) const {
  const std::lock_guard lock(mutex_);
  const auto found = answers_.find(ticket);
  if (found == answers_.end()) {
    return false;
  }
  *status = found->second.status;
  *text = found->second.text;
  return true;
}

std::uint64_t FakeHost::posts() const {
  const std::lock_guard lock(mutex_);
  return post_count_;
}

}  // namespace cm::test
