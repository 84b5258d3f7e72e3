// Reads config.json again and again, off the loop.
#pragma once

#include <claudemesh/cpp/host.hpp>

#include <functional>
#include <string>
#include <vector>

#include "plugins/peer_daemon/src/config_file.hpp"
#include "plugins/peer_daemon/src/membership.hpp"

namespace cm::daemon {

// Lives on the daemon's loop; only the reading itself happens on a worker.
class MeshLoader {
 public:
  using Apply = std::function<Result<ReloadResult>(Result<LoadedConfig> loaded)>;
  // `host` outlives it. `apply` is called on the loop with what was read.
  void bind(const HostApi& host, std::string path, Apply apply);
  // Reads and applies. Who asks while a reading goes on gets the outcome of the next one: what is being read may be
  // older than what this caller wrote.
  void load(ReloadDone done);
  // Nobody is answered any more.
  void close();

 private:
  void finish(const std::vector<ReloadDone>& callers, Result<LoadedConfig> loaded);

  const HostApi* host_ = nullptr;
  std::string path_;
  Apply apply_;
  bool reading_ = false;
  std::vector<ReloadDone> waiting_;
};

}  // namespace cm::daemon
