// Answers on their way back to the loops of those who asked.
#pragma once

#include <claudemesh/ext/storage.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <claudemesh/cpp/host.hpp>

namespace cm::storage {

struct Completion {
  cm_storage_done done = nullptr;
  void* user = nullptr;
  cm_status status = CM_OK;
  std::string error;
};

// Collects the answers of one commit and posts them: one post per caller, each caller's answers in the order in which
// they were added. An answer whose caller is gone is called with CM_GONE, on this thread or the one that drops the
// post. One thread.
class CompletionSender {
 public:
  void add(cm_handle caller, Completion completion);
  void flush(const HostApi& host);

 private:
  // Knows nothing of the storage instance, so that it may outlive it in the queue of another loop.
  using Batch = std::vector<Completion>;
  static void run(void* user) noexcept;
  static void drop(void* user) noexcept;

  std::vector<std::pair<cm_handle, std::unique_ptr<Batch>>> batches_;
};

// One answer, posted alone. [any]
void send_completion(const HostApi& host, cm_handle caller, Completion completion);

}  // namespace cm::storage
