// A disk in memory that forgets what was not synced, and the SQLite VFS "cmsim" over it.
//
// Paths are "/cmsim/<node>/<file>": the node names the disk. A crash keeps what was synced and, of the writes after the
// last sync, a random subset in order (a real disk may have written any of them). A freeze takes that image while the
// code that is in the middle of a write goes on unaware: whatever it does afterwards never reached the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sdk/simhost/scheduler.hpp"

namespace cm::sim {

using Bytes = std::vector<std::uint8_t>;

// What is injected into disk operations.
struct DiskFaults {
  double io_error = 0;         // probability that a write or sync fails
  bool full = false;           // writes that grow a file fail
  double keep_unsynced = 0.5;  // probability that one unsynced write survives a crash
};

// One file: its content now, and how to undo what is not synced.
class SimFile {
 public:
  const Bytes& content() const noexcept { return content_; }
  void write(std::uint64_t offset, const std::uint8_t* data, std::size_t size);
  void truncate(std::uint64_t size);
  void sync() { pending_.clear(); }
  // The content after a crash: unsynced changes undone, then a random subset redone in order.
  Bytes crash_image(Random& random, double keep_unsynced) const;
  void restore(Bytes content) {
    content_ = std::move(content);
    pending_.clear();
  }

 private:
  struct Change {
    std::uint64_t offset;
    Bytes before;  // what stood there; shorter than `after` when the file grew
    Bytes after;
    bool is_truncate;
    std::uint64_t size_before;
  };
  Bytes content_;
  std::vector<Change> pending_;
};

// One node's disk.
class SimDisk {
 public:
  using Files = std::map<std::string, std::shared_ptr<SimFile>, std::less<>>;

  std::shared_ptr<SimFile> open(std::string_view path, bool create);
  bool exists(std::string_view path) const { return files_.find(path) != files_.end(); }
  void remove(std::string_view path);

  // The content of every file, for checks; valid until the next operation.
  std::vector<const Bytes*> contents() const;

  // Takes the image that a crash at this moment would leave. Only the first freeze counts.
  void freeze(Random& random);
  // Replaces the files by the frozen image (or one taken now). Handles that are still open keep their old file.
  void crash(Random& random);

  DiskFaults faults;
  // Called before each write, sync and truncate: lets the owner count steps and crash in between.
  std::function<void()> on_operation;
  std::uint64_t writes = 0;
  std::uint64_t syncs = 0;

 private:
  Files files_;
  std::optional<std::map<std::string, Bytes, std::less<>>> frozen_;
};

// What the VFS asks of the world that runs now on this thread.
class DiskProvider {
 public:
  virtual ~DiskProvider() = default;
  virtual SimDisk* disk_of(std::string_view path) = 0;  // null: no such node
  virtual Random& disk_random() = 0;
  virtual std::int64_t disk_unix_ms() = 0;
};

// Registers "cmsim" with SQLite (once per process) and makes `provider` the one of this thread. Null: none.
void set_disk_provider(DiskProvider* provider);

inline constexpr std::string_view kSimVfsName = "cmsim";
inline constexpr std::string_view kSimPathPrefix = "/cmsim/";

}  // namespace cm::sim
