#include "plugins/peer_daemon/src/private_file_writer.hpp"

#include <algorithm>
#include <iterator>
#include <mutex>
#include <optional>
#include <utility>

namespace cm::daemon {

// What loop and worker share. The mutex is held for a few moves, never while the disk works.
struct PrivateFileWriter::Disk {
  explicit Disk(std::string file) : path(std::move(file)) {}

  const std::string path;
  std::mutex mutex;
  std::optional<SecretText> next;  // newer than what is being written
  std::uint64_t next_version = 0;
  bool busy = false;  // a job was submitted and has not ended
  std::function<void()> finished;
};

void PrivateFileWriter::bind(const HostApi& host, std::string path) {
  host_ = &host;
  disk_ = std::make_shared<Disk>(std::move(path));
}

void PrivateFileWriter::write(SecretText content, Done done) {
  const std::uint64_t version = ++version_;
  waiters_.push_back({version, std::move(done)});
  {
    const std::lock_guard<std::mutex> lock(disk_->mutex);
    disk_->next = std::move(content);
    disk_->next_version = version;
    if (std::exchange(disk_->busy, true)) {
      return;  // the job that runs takes it
    }
  }
  const auto tell = [this](std::uint64_t end, const Status& written) {
    host_->post([this, end, written] { report(end, written); });
  };
  const Status submitted = run_on_worker(*host_, CM_WORKER_POOL, [disk = disk_, tell] { work(*disk, tell); }, nullptr);
  if (!submitted.ok()) {
    {
      const std::lock_guard<std::mutex> lock(disk_->mutex);
      disk_->busy = false;  // the content stays: the next write is newer
    }
    report(version, submitted);
  }
}

void PrivateFileWriter::work(Disk& disk,
                             const std::function<void(std::uint64_t version, const Status& written)>& report) {
  for (;;) {
    SecretText content;
    std::uint64_t version = 0;
    std::function<void()> finished;
    {
      const std::lock_guard<std::mutex> lock(disk.mutex);
      if (disk.next.has_value()) {
        content = std::move(*disk.next);
        disk.next.reset();
        version = disk.next_version;
      } else {
        disk.busy = false;
        finished = std::exchange(disk.finished, nullptr);
      }
    }
    if (version == 0) {
      if (finished) {
        finished();
      }
      return;
    }
    report(version, write_private_file(disk.path, content.text()));
  }
}

void PrivateFileWriter::report(std::uint64_t version, const Status& written) {
  // They stand in the order of their versions.
  const auto later = std::find_if(waiters_.begin(), waiters_.end(),
                                  [version](const Waiter& waiter) { return waiter.version > version; });
  std::vector<Waiter> reached(std::make_move_iterator(waiters_.begin()), std::make_move_iterator(later));
  waiters_.erase(waiters_.begin(), later);
  for (const Waiter& waiter : reached) {
    if (waiter.done) {
      waiter.done(written);
    }
  }
}

void PrivateFileWriter::close(std::function<void()> finished) {
  waiters_.clear();
  if (disk_ != nullptr) {
    const std::lock_guard<std::mutex> lock(disk_->mutex);
    if (disk_->busy) {
      disk_->finished = std::move(finished);
      return;
    }
  }
  finished();
}

}  // namespace cm::daemon
