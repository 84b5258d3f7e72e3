// What starting a program takes, for whoever starts one.
#pragma once

#include <spawn.h>

#include <string>
#include <vector>

namespace cm::isolation {

// The arguments or the environment as exec(3) and posix_spawn(3) take them: closed by a null pointer. They are views
// into `texts`, which must stay as they are; nobody writes through them.
inline std::vector<char*> exec_pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (const std::string& text : texts) {
    result.push_back(const_cast<char*>(text.c_str()));
  }
  result.push_back(nullptr);
  return result;
}

// What happens to the descriptors of the new process; posix_spawn_file_actions_init(3).
class SpawnFileActions {
 public:
  SpawnFileActions() { ::posix_spawn_file_actions_init(&actions_); }
  ~SpawnFileActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  SpawnFileActions(const SpawnFileActions&) = delete;
  SpawnFileActions& operator=(const SpawnFileActions&) = delete;
  posix_spawn_file_actions_t* get() noexcept { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

}  // namespace cm::isolation
