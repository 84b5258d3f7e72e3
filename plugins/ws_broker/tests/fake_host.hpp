// The few host tables that a part of the broker needs, on a clock that the test moves. One thread.
#pragma once

#include <claudemesh/ext/storage.h>
#include <claudemesh/cpp/host.hpp>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <vector>

namespace cm::broker::test {

class FakeHost {
 public:
  FakeHost() {
    current() = this;
    host_.size = sizeof(host_);
    host_.abi_version = CM_ABI_VERSION_CURRENT;
    host_.self = 1;
    host_.get = [](cm_handle, const char* id) noexcept -> const void* {
      static constexpr cm_timer_v1 kTimer = {sizeof(cm_timer_v1), 0, &FakeHost::start_timer, &FakeHost::cancel_timer};
      static constexpr cm_registry_v1 kRegistry = {sizeof(cm_registry_v1), 0, &FakeHost::acquire, &FakeHost::release};
      static constexpr cm_clock_v1 kClock = {sizeof(cm_clock_v1), 0, &FakeHost::monotonic_us, &FakeHost::unix_ms};
      if (std::strcmp(id, CM_TIMER_ID) == 0) {
        return &kTimer;
      }
      if (std::strcmp(id, CM_REGISTRY_ID) == 0) {
        return &kRegistry;
      }
      static constexpr cm_random_v1 kRandom = {sizeof(cm_random_v1), 0, &FakeHost::fill};
      if (std::strcmp(id, CM_RANDOM_ID) == 0) {
        return &kRandom;
      }
      return std::strcmp(id, CM_CLOCK_ID) == 0 ? static_cast<const void*>(&kClock) : nullptr;
    };
    host_.set_error = [](cm_handle, cm_text_pview) noexcept {};
    host_.complete = [](cm_handle, cm_handle, cm_status, cm_text_pview) noexcept -> cm_status { return CM_OK; };
  }
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;
  ~FakeHost() { current() = nullptr; }

  const cm_host* raw() const noexcept { return &host_; }
  void provide(const std::string& instance, void* object, const void* table) {
    extensions_[instance] = cm_extension{object, table, 2, 1};
  }

  // Moves the clock and fires what is due, in order.
  void advance_ms(std::uint64_t ms) {
    const std::uint64_t end_us = now_us_ + ms * 1000;
    while (true) {
      auto next = timers_.end();
      for (auto timer = timers_.begin(); timer != timers_.end(); ++timer) {
        if (timer->second.due_us <= end_us && (next == timers_.end() || timer->second.due_us < next->second.due_us)) {
          next = timer;
        }
      }
      if (next == timers_.end()) {
        break;
      }
      const Due due = next->second;
      now_us_ = due.due_us;
      if (due.period_us == 0) {
        timers_.erase(next);
      } else {
        next->second.due_us += due.period_us;
      }
      due.function(due.user);
    }
    now_us_ = end_us;
  }
  std::size_t timers() const noexcept { return timers_.size(); }

 private:
  struct Due {
    std::uint64_t due_us;
    std::uint64_t period_us;
    cm_callback function;
    void* user;
  };
  static FakeHost*& current() {
    static FakeHost* host = nullptr;
    return host;
  }
  static cm_status start_timer(cm_handle, std::uint64_t delay_us, std::uint64_t period_us, cm_callback function,
                               void* user, cm_handle* out) noexcept {
    FakeHost& host = *current();
    *out = ++host.last_timer_;
    host.timers_[*out] = Due{host.now_us_ + delay_us, period_us, function, user};
    return CM_OK;
  }
  static cm_status cancel_timer(cm_handle, cm_handle timer) noexcept {
    return current() != nullptr && current()->timers_.erase(timer) != 0 ? CM_OK : CM_GONE;
  }
  static cm_status acquire(cm_handle, cm_text_pview name, cm_text_pview, cm_callback, void*,
                           cm_extension* out) noexcept {
    const auto found = current()->extensions_.find(std::string(to_view(name)));
    if (found == current()->extensions_.end()) {
      return CM_GONE;
    }
    *out = found->second;
    return CM_OK;
  }
  static void release(cm_handle, cm_handle) noexcept {}
  static std::uint64_t monotonic_us(cm_handle) noexcept { return current()->now_us_; }
  static std::int64_t unix_ms(cm_handle) noexcept { return static_cast<std::int64_t>(current()->now_us_ / 1000); }

  static void fill(cm_handle, std::uint8_t* bytes, std::uint64_t count) noexcept {
    for (std::uint64_t i = 0; i < count; ++i) {
      bytes[i] = ++current()->last_byte_;
    }
  }

  cm_host host_ = {};
  std::uint8_t last_byte_ = 0;
  std::uint64_t now_us_ = 0;
  cm_handle last_timer_ = 0;
  std::map<cm_handle, Due> timers_;
  std::map<std::string, cm_extension> extensions_;
};

// A storage that runs nothing by itself: the test runs the oldest work and says how its commit ended.
class FakeStorage {
 public:
  explicit FakeStorage(FakeHost& host) { host.provide("store", this, &table()); }
  // Whoever waits is gone by now and only frees what is its own.
  ~FakeStorage() {
    while (!jobs_.empty()) {
      end_one(CM_GONE);
    }
  }
  FakeStorage(const FakeStorage&) = delete;
  FakeStorage& operator=(const FakeStorage&) = delete;

  std::size_t waiting() const noexcept { return jobs_.size(); }
  // Runs the oldest work; `commit` CM_OK: its own status counts.
  void run_one(cm_status commit = CM_OK) {
    const Job job = jobs_.front();
    jobs_.pop_front();
    static constexpr cm_storage_sql_v1 kSql = {sizeof(cm_storage_sql_v1), 0, nullptr, nullptr, nullptr};
    const cm_status worked = job.work(job.user, nullptr, &kSql);
    const std::string_view text = "the test says so";
    job.done(job.user, commit != CM_OK ? commit : worked, to_hview(text));
  }
  // The oldest work is over, without being run: for tests that are not about its statements.
  void end_one(cm_status commit) {
    const Job job = jobs_.front();
    jobs_.pop_front();
    const std::string_view text = "the test says so";
    job.done(job.user, commit, to_hview(text));
  }

 private:
  struct Job {
    cm_storage_work work;
    cm_storage_done done;
    void* user;
  };
  static const cm_storage_v1& table() {
    static const cm_storage_v1 kTable = [] {
      cm_storage_v1 table = {};
      table.size = sizeof(table);
      table.submit = &FakeStorage::submit;
      table.read = &FakeStorage::submit;
      return table;
    }();
    return kTable;
  }
  static cm_status submit(void* instance, cm_handle, cm_storage_work work, cm_storage_done done, void* user) noexcept {
    static_cast<FakeStorage*>(instance)->jobs_.push_back(Job{work, done, user});
    return CM_OK;
  }
  std::deque<Job> jobs_;
};

}  // namespace cm::broker::test
