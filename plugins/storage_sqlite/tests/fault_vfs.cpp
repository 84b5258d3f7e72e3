#include "plugins/storage_sqlite/tests/fault_vfs.hpp"

#include <sqlite3.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>

namespace cm::test {
namespace {

sqlite3_vfs* system_vfs() {
  static sqlite3_vfs* const vfs = sqlite3_vfs_find("unix");
  return vfs;
}

// Followed in memory by the system's own file.
struct FaultFile {
  sqlite3_file base;
  std::string* path;
  sqlite3_file* real() noexcept { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

FaultFile* as_fault(sqlite3_file* file) noexcept {
  return reinterpret_cast<FaultFile*>(file);
}
sqlite3_file* real(sqlite3_file* file) noexcept {
  return as_fault(file)->real();
}
const sqlite3_io_methods* methods(sqlite3_file* file) noexcept {
  return real(file)->pMethods;
}

int file_close(sqlite3_file* file) {
  FaultFile* fault = as_fault(file);
  const int code = fault->real()->pMethods == nullptr ? SQLITE_OK : methods(file)->xClose(real(file));
  delete fault->path;
  fault->path = nullptr;
  return code;
}
int file_read(sqlite3_file* file, void* data, int size, sqlite3_int64 offset) {
  return methods(file)->xRead(real(file), data, size, offset);
}
int file_write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  const int code = FaultVfs::get().before_write(*as_fault(file)->path);
  return code != SQLITE_OK ? code : methods(file)->xWrite(real(file), data, size, offset);
}
int file_truncate(sqlite3_file* file, sqlite3_int64 size) {
  const int code = FaultVfs::get().before_write(*as_fault(file)->path);
  return code != SQLITE_OK ? code : methods(file)->xTruncate(real(file), size);
}
// The disk itself is left in peace: what a sync keeps is what `after_sync` copies.
int file_sync(sqlite3_file* file, int) {
  const std::string& path = *as_fault(file)->path;
  const int code = FaultVfs::get().before_sync(path);
  if (code == SQLITE_OK) {
    FaultVfs::get().after_sync(path);
  }
  return code;
}
int file_size(sqlite3_file* file, sqlite3_int64* size) {
  return methods(file)->xFileSize(real(file), size);
}
int file_lock(sqlite3_file* file, int level) {
  return methods(file)->xLock(real(file), level);
}
int file_unlock(sqlite3_file* file, int level) {
  return methods(file)->xUnlock(real(file), level);
}
int file_check_lock(sqlite3_file* file, int* out) {
  return methods(file)->xCheckReservedLock(real(file), out);
}
int file_control(sqlite3_file* file, int operation, void* argument) {
  return methods(file)->xFileControl(real(file), operation, argument);
}
int file_sector_size(sqlite3_file* file) {
  return methods(file)->xSectorSize(real(file));
}
int file_characteristics(sqlite3_file* file) {
  return methods(file)->xDeviceCharacteristics(real(file));
}
int file_shm_map(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
  return methods(file)->xShmMap(real(file), page, size, extend, out);
}
int file_shm_lock(sqlite3_file* file, int offset, int count, int flags) {
  return methods(file)->xShmLock(real(file), offset, count, flags);
}
void file_shm_barrier(sqlite3_file* file) {
  methods(file)->xShmBarrier(real(file));
}
int file_shm_unmap(sqlite3_file* file, int remove) {
  return methods(file)->xShmUnmap(real(file), remove);
}

const sqlite3_io_methods kMethods = {2,
                                     &file_close,
                                     &file_read,
                                     &file_write,
                                     &file_truncate,
                                     &file_sync,
                                     &file_size,
                                     &file_lock,
                                     &file_unlock,
                                     &file_check_lock,
                                     &file_control,
                                     &file_sector_size,
                                     &file_characteristics,
                                     &file_shm_map,
                                     &file_shm_lock,
                                     &file_shm_barrier,
                                     &file_shm_unmap,
                                     nullptr,
                                     nullptr};

int vfs_open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  FaultFile* fault = as_fault(file);
  fault->base.pMethods = nullptr;
  fault->path = nullptr;
  if (const int code = FaultVfs::get().before_other(); code != SQLITE_OK) {
    return code;
  }
  const int code = system_vfs()->xOpen(system_vfs(), name, fault->real(), flags, out_flags);
  if (code == SQLITE_OK) {
    fault->path = new std::string(name == nullptr ? "" : name);
    fault->base.pMethods = &kMethods;
    FaultVfs::get().opened(*fault->path);
  }
  return code;
}
int vfs_delete(sqlite3_vfs*, const char* name, int sync) {
  if (const int code = FaultVfs::get().before_other(); code != SQLITE_OK) {
    return code;
  }
  const int code = system_vfs()->xDelete(system_vfs(), name, sync);
  if (code == SQLITE_OK) {
    FaultVfs::get().deleted(name);
  }
  return code;
}

bool is_log(const std::string& path) {
  return path.size() > 4 && path.compare(path.size() - 4, 4, "-wal") == 0;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

}  // namespace

FaultVfs::FaultVfs() {
  static sqlite3_vfs vfs;
  vfs = *system_vfs();
  vfs.zName = kFaultVfsName;
  vfs.pNext = nullptr;
  vfs.szOsFile = static_cast<int>(sizeof(FaultFile)) + system_vfs()->szOsFile;
  vfs.xOpen = &vfs_open;
  vfs.xDelete = &vfs_delete;
  sqlite3_vfs_register(&vfs, 0);
}

FaultVfs& FaultVfs::get() {
  static FaultVfs vfs;
  return vfs;
}

void FaultVfs::reset() {
  const std::lock_guard lock(mutex_);
  operations_ = 0;
  wal_syncs_ = 0;
  fired_ = false;
  fault_ = Fault::kNone;
  remember_ = false;
  known_.clear();
  synced_.clear();
}

void FaultVfs::arm(Fault fault, std::uint64_t after, bool only_syncs) {
  const std::lock_guard lock(mutex_);
  fault_ = fault;
  countdown_ = after;
  only_syncs_ = only_syncs;
  fired_ = false;
}

void FaultVfs::repair() {
  const std::lock_guard lock(mutex_);
  fault_ = Fault::kNone;
}

void FaultVfs::remember_syncs(bool remember) {
  const std::lock_guard lock(mutex_);
  remember_ = remember;
}

// Under the mutex.
int FaultVfs::count(bool sync) {
  ++operations_;
  if (fault_ == Fault::kNone || (only_syncs_ && !sync && fault_ != Fault::kPowerOff)) {
    return SQLITE_OK;
  }
  const bool full = fault_ == Fault::kFullOnce || fault_ == Fault::kFullForever;
  if (full && sync) {
    return SQLITE_OK;  // a full disk refuses room, not a sync
  }
  if (countdown_ > 1) {
    --countdown_;
    return SQLITE_OK;
  }
  fired_ = true;
  if (fault_ == Fault::kFullOnce || fault_ == Fault::kIoOnce) {
    fault_ = Fault::kNone;
  }
  return full ? SQLITE_FULL : sync ? SQLITE_IOERR_FSYNC : SQLITE_IOERR_WRITE;
}

int FaultVfs::before_write(const std::string&) {
  const std::lock_guard lock(mutex_);
  return count(false);
}

int FaultVfs::before_sync(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const int code = count(true);
  if (code == SQLITE_OK && is_log(path)) {
    ++wal_syncs_;
  }
  return code;
}

void FaultVfs::after_sync(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (remember_) {
    synced_[path] = read_file(path);
  }
}

int FaultVfs::before_other() const {
  const std::lock_guard lock(mutex_);
  return fault_ == Fault::kPowerOff && fired_ ? SQLITE_IOERR : SQLITE_OK;
}

void FaultVfs::opened(const std::string& path) {
  const std::lock_guard lock(mutex_);
  known_.insert(path);
}

void FaultVfs::deleted(const std::string& path) {
  const std::lock_guard lock(mutex_);
  synced_.erase(path);
}

void FaultVfs::restore_synced() {
  const std::lock_guard lock(mutex_);
  for (const std::string& path : known_) {
    if (path.empty()) {
      continue;
    }
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    std::filesystem::remove(path + "-shm", ignored);
    const auto found = synced_.find(path);
    if (found != synced_.end()) {
      std::ofstream(path, std::ios::binary | std::ios::trunc) << found->second;
    }
  }
}

}  // namespace cm::test
