// SQLite's own file layer with faults: it counts writes and syncs, fails the n-th operation, and can take the power
// away, after which the files are what the last sync of each left behind.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace cm::test {

enum class Fault {
  kNone,
  kFullOnce,     // one write answers SQLITE_FULL
  kFullForever,  // and so does every later one, until `repair`
  kIoOnce,       // one write or sync answers SQLITE_IOERR_*
  kIoForever,
  kPowerOff,  // from here on everything fails, and what was not synced is lost in `restore_synced`
};

// One process-wide layer named kFaultVfsName. All functions from any thread.
inline constexpr const char* kFaultVfsName = "cm-fault";

class FaultVfs {
 public:
  static FaultVfs& get();

  // Forgets everything; counts begin at 0.
  void reset();
  // The `after`-th write or sync from now on fails (1: the next). `only_syncs` leaves writes alone.
  void arm(Fault fault, std::uint64_t after, bool only_syncs = false);
  void repair();
  bool fired() const noexcept { return fired_.load(); }
  std::uint64_t operations() const noexcept { return operations_.load(); }
  std::uint64_t wal_syncs() const noexcept { return wal_syncs_.load(); }
  // Keeps a copy of every file at each of its syncs. For kPowerOff.
  void remember_syncs(bool remember);
  // After everything is closed: each file gets the content of its last sync; files never synced are removed.
  void restore_synced();

  // For the file methods. SQLITE_OK or the failure.
  int before_write(const std::string& path);
  int before_sync(const std::string& path);
  void after_sync(const std::string& path);
  int before_other() const;
  void opened(const std::string& path);
  void deleted(const std::string& path);

 private:
  FaultVfs();
  int count(bool sync);

  std::atomic<std::uint64_t> operations_ = 0;
  std::atomic<std::uint64_t> wal_syncs_ = 0;
  std::atomic<bool> fired_ = false;
  mutable std::mutex mutex_;
  Fault fault_ = Fault::kNone;
  std::uint64_t countdown_ = 0;
  bool only_syncs_ = false;
  bool remember_ = false;
  std::set<std::string> known_;
  std::map<std::string, std::string> synced_;
};

}  // namespace cm::test
