#include "plugins/storage_sqlite/src/completion.hpp"

namespace cm::storage {

void CompletionSender::add(cm_handle caller, Completion completion) {
  for (auto& [known, batch] : batches_) {
    if (known == caller) {
      batch->push_back(std::move(completion));
      return;
    }
  }
  auto batch = std::make_unique<Batch>();
  batch->reserve(batches_.empty() ? 64 : 8);
  batch->push_back(std::move(completion));
  batches_.emplace_back(caller, std::move(batch));
}

void CompletionSender::flush(const HostApi& host) {
  for (auto& [caller, batch] : batches_) {
    Batch* raw = batch.release();
    if (host.loop_table()->post(host.self(), caller, &CompletionSender::run, &CompletionSender::drop, raw) != CM_OK) {
      drop(raw);
    }
  }
  batches_.clear();
}

void CompletionSender::run(void* user) noexcept {
  const std::unique_ptr<Batch> batch(static_cast<Batch*>(user));
  for (const Completion& completion : *batch) {
    completion.done(completion.user, completion.status, to_hview(completion.error));
  }
}

void CompletionSender::drop(void* user) noexcept {
  const std::unique_ptr<Batch> batch(static_cast<Batch*>(user));
  for (const Completion& completion : *batch) {
    completion.done(completion.user, CM_GONE, to_hview(std::string_view("the caller has been stopped")));
  }
}

void send_completion(const HostApi& host, cm_handle caller, Completion completion) {
  CompletionSender sender;
  sender.add(caller, std::move(completion));
  sender.flush(host);
}

}  // namespace cm::storage
