// A host that the test plays: it keeps what was logged, runs posts when asked, and hands out the tables it is given.
#pragma once

#include <claudemesh/cpp/host.hpp>

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cm::testing {

// One at a time, because the C functions find it without an argument. Not for more than one thread.
class PlayedHost {
 public:
  PlayedHost() {
    active_ = this;
    give(CM_LOG_ID, &kLog);
    give(CM_LOOP_ID, &kLoop);
    give(CM_REGISTRY_ID, &kRegistry);
  }
  PlayedHost(const PlayedHost&) = delete;
  PlayedHost& operator=(const PlayedHost&) = delete;
  ~PlayedHost() { active_ = nullptr; }

  // `table` must outlive the host. An id of an extension is found by `acquire`, an id of a host table by `get`.
  void give(const std::string& id, const void* table) { tables_[id] = table; }
  void take_away(const std::string& id) { tables_.erase(id); }
  // Runs what was posted, and what that posts.
  void run_posts() {
    for (std::size_t next = 0; next < posts_.size(); ++next) {
      posts_[next].first(posts_[next].second);
    }
    posts_.clear();
  }

  const cm_host* raw() const { return &raw_; }
  // The lines of severity plugin-misbehaving since the last call.
  std::vector<std::string> take_accusations() { return std::exchange(accusations_, {}); }
  const std::string& last_error() const { return last_error_; }

 private:
  static const void* get(cm_handle, const char* id) noexcept {
    const auto found = active_->tables_.find(id);
    return found == active_->tables_.end() ? nullptr : found->second;
  }
  static void set_error(cm_handle, cm_text_pview text) noexcept { active_->last_error_ = to_view(text); }
  static cm_status complete(cm_handle, cm_handle, cm_status, cm_text_pview) noexcept { return CM_OK; }
  static void log_write(cm_handle, std::uint32_t level, cm_text_pview message, const cm_log_field*,
                        std::uint64_t) noexcept {
    if (level == CM_LOG_PLUGIN_MISBEHAVING) {
      active_->accusations_.emplace_back(to_view(message));
    }
  }
  static bool log_enabled(cm_handle, std::uint32_t) noexcept { return true; }
  static cm_status post(cm_handle, cm_handle, cm_callback function, cm_callback, void* user) noexcept {
    active_->posts_.emplace_back(function, user);
    return CM_OK;
  }
  static bool on_loop(cm_handle) noexcept { return true; }
  static cm_status acquire(cm_handle, cm_text_pview, cm_text_pview id, cm_callback, void*, cm_extension* out) noexcept {
    const void* table = get(1, std::string(to_view(id)).c_str());
    if (table == nullptr) {
      return CM_GONE;
    }
    *out = cm_extension{nullptr, table, 2, 3};
    return CM_OK;
  }
  static void release(cm_handle, cm_handle) noexcept {}

  static constexpr cm_log_v1 kLog = {sizeof(cm_log_v1), 0, &log_write, &log_enabled};
  static constexpr cm_loop_v1 kLoop = {sizeof(cm_loop_v1), 0, &post, &on_loop};
  static constexpr cm_registry_v1 kRegistry = {sizeof(cm_registry_v1), 0, &acquire, &release};
  static inline PlayedHost* active_ = nullptr;

  cm_host raw_ = {sizeof(cm_host), CM_ABI_VERSION_CURRENT, 1, &get, &set_error, &complete};
  std::map<std::string, const void*> tables_;
  std::vector<std::pair<cm_callback, void*>> posts_;
  std::vector<std::string> accusations_;
  std::string last_error_;
};

}  // namespace cm::testing
