// Keeps one private file up to date without making the loop wait for the disk.
#pragma once

#include <claudemesh/cpp/host.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "plugins/peer_daemon/src/home_files.hpp"

namespace cm::daemon {

// Lives on one loop; the file is written on the worker pool, one version at a time, so that an older content can never
// replace a newer one. What was given while the disk was busy is written next; of several only the newest.
class PrivateFileWriter {
 public:
  // Called on the loop: the content, or a newer one, is on the disk (write_private_file), or could not be put there.
  using Done = std::function<void(const Status& written)>;

  // `host` outlives the writer. Before the first write.
  void bind(const HostApi& host, std::string path);
  // `done` may be empty. It is not called any more after the instance has stopped; the content is written even so.
  void write(SecretText content, Done done);
  // Nobody is told any more. `finished` is called once, when nothing is left to write: at once, or later on a worker.
  void close(std::function<void()> finished);

 private:
  struct Disk;
  struct Waiter {
    std::uint64_t version;
    Done done;
  };
  // [worker] Writes until there is nothing newer.
  static void work(Disk& disk, const std::function<void(std::uint64_t version, const Status& written)>& report);
  void report(std::uint64_t version, const Status& written);

  const HostApi* host_ = nullptr;
  std::shared_ptr<Disk> disk_;  // shared with the job
  std::uint64_t version_ = 0;
  std::vector<Waiter> waiters_;
};

}  // namespace cm::daemon
