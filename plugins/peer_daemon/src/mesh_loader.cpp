#include "plugins/peer_daemon/src/mesh_loader.hpp"

#include <memory>
#include <utility>

namespace cm::daemon {

void MeshLoader::bind(const HostApi& host, std::string path, Apply apply) {
  host_ = &host;
  path_ = std::move(path);
  apply_ = std::move(apply);
  reading_ = false;
}

void MeshLoader::close() {
  apply_ = nullptr;
  waiting_.clear();
}

void MeshLoader::load(ReloadDone done) {
  waiting_.push_back(std::move(done));
  if (reading_) {
    return;
  }
  reading_ = true;
  auto callers = std::make_shared<const std::vector<ReloadDone>>(std::exchange(waiting_, {}));
  auto loaded = std::make_shared<Result<LoadedConfig>>(LoadedConfig());
  const Status submitted = run_on_worker(
      *host_, CM_WORKER_POOL, [path = path_, loaded] { *loaded = load_config(path); },
      [this, callers, loaded] { finish(*callers, std::move(*loaded)); });
  if (!submitted.ok()) {
    finish(*callers, submitted.error());
  }
}

void MeshLoader::finish(const std::vector<ReloadDone>& callers, Result<LoadedConfig> loaded) {
  reading_ = false;
  if (!apply_) {
    return;
  }
  const Result<ReloadResult> result = apply_(std::move(loaded));
  for (const ReloadDone& caller : callers) {
    caller(result);
  }
  if (!reading_ && !waiting_.empty()) {
    ReloadDone next = std::move(waiting_.back());
    waiting_.pop_back();
    load(std::move(next));  // and the others that wait
  }
}

}  // namespace cm::daemon
