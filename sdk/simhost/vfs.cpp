// The SQLite VFS "cmsim" (https://www.sqlite.org/vfs.html): files of SimDisk, shared memory and locks in process
// memory. Everything runs on one thread, so the locks only tell connections of one process apart.
#include <sqlite3.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sdk/simhost/disk.hpp"

namespace cm::sim {
namespace {

thread_local DiskProvider* current_provider = nullptr;

constexpr int kShmSlots = SQLITE_SHM_NLOCK;
constexpr int kSectorBytes = 4096;

// Locks and shared memory of one database file, shared by its connections. Lives as long as one of them is open.
struct SharedState {
  int shared_count = 0;
  const void* reserved_owner = nullptr;
  const void* pending_owner = nullptr;
  const void* exclusive_owner = nullptr;
  std::vector<std::unique_ptr<std::vector<std::uint8_t>>> regions;
  std::array<int, kShmSlots> shm_shared = {};
  std::array<const void*, kShmSlots> shm_exclusive = {};
};

struct FileState {
  SimDisk* disk = nullptr;
  std::string path;
  std::shared_ptr<SimFile> file;
  std::shared_ptr<SharedState> shared;
  int lock = SQLITE_LOCK_NONE;
  std::array<bool, kShmSlots> holds_shared = {};
  bool delete_on_close = false;
};

struct VfsFile {
  sqlite3_file base;
  FileState* state;
};

// Keyed by the file object: a crashed node's file and its successor under the same path never share locks.
std::map<const SimFile*, std::weak_ptr<SharedState>>& shared_states() {
  static thread_local std::map<const SimFile*, std::weak_ptr<SharedState>> states;
  return states;
}

FileState& state_of(sqlite3_file* file) {
  return *reinterpret_cast<VfsFile*>(file)->state;
}

// True when the operation shall fail.
bool inject(FileState& state) {
  if (state.disk->on_operation) {
    state.disk->on_operation();
  }
  return current_provider != nullptr && state.disk->faults.io_error > 0 &&
         current_provider->disk_random().chance(state.disk->faults.io_error);
}

void drop(const void*& owner, const void* self) {
  if (owner == self) {
    owner = nullptr;
  }
}

void release_locks(FileState& state) {
  SharedState& shared = *state.shared;
  drop(shared.exclusive_owner, &state);
  drop(shared.pending_owner, &state);
  drop(shared.reserved_owner, &state);
  if (state.lock >= SQLITE_LOCK_SHARED) {
    --shared.shared_count;
    state.lock = SQLITE_LOCK_NONE;
  }
  for (std::size_t i = 0; i < kShmSlots; ++i) {
    if (state.holds_shared[i]) {
      --shared.shm_shared[i];
      state.holds_shared[i] = false;
    }
    drop(shared.shm_exclusive[i], &state);
  }
}

int vfs_close(sqlite3_file* file) {
  auto* vfs_file = reinterpret_cast<VfsFile*>(file);
  std::unique_ptr<FileState> state(std::exchange(vfs_file->state, nullptr));
  if (state == nullptr) {
    return SQLITE_OK;
  }
  release_locks(*state);
  if (state->delete_on_close) {
    state->disk->remove(state->path);
  }
  // The last connection takes what they shared with it.
  state.reset();
  std::erase_if(shared_states(), [](const auto& entry) { return entry.second.expired(); });
  return SQLITE_OK;
}

int vfs_read(sqlite3_file* file, void* buffer, int amount, sqlite3_int64 offset) {
  const Bytes& content = state_of(file).file->content();
  const auto start = static_cast<std::size_t>(offset);
  const auto wanted = static_cast<std::size_t>(amount);
  const std::size_t available = start < content.size() ? std::min(wanted, content.size() - start) : 0;
  if (available > 0) {
    std::memcpy(buffer, content.data() + start, available);
  }
  if (available < wanted) {
    std::memset(static_cast<char*>(buffer) + available, 0, wanted - available);
    return SQLITE_IOERR_SHORT_READ;
  }
  return SQLITE_OK;
}

int vfs_write(sqlite3_file* file, const void* buffer, int amount, sqlite3_int64 offset) {
  FileState& state = state_of(file);
  if (inject(state)) {
    return SQLITE_IOERR_WRITE;
  }
  const auto end = static_cast<std::uint64_t>(offset) + static_cast<std::uint64_t>(amount);
  if (state.disk->faults.full && end > state.file->content().size()) {
    return SQLITE_FULL;
  }
  ++state.disk->writes;
  state.file->write(static_cast<std::uint64_t>(offset), static_cast<const std::uint8_t*>(buffer),
                    static_cast<std::size_t>(amount));
  return SQLITE_OK;
}

int vfs_truncate(sqlite3_file* file, sqlite3_int64 size) {
  FileState& state = state_of(file);
  if (inject(state)) {
    return SQLITE_IOERR_TRUNCATE;
  }
  state.file->truncate(static_cast<std::uint64_t>(size));
  return SQLITE_OK;
}

int vfs_sync(sqlite3_file* file, int) {
  FileState& state = state_of(file);
  if (inject(state)) {
    return SQLITE_IOERR_FSYNC;
  }
  ++state.disk->syncs;
  state.file->sync();
  return SQLITE_OK;
}

int vfs_file_size(sqlite3_file* file, sqlite3_int64* size) {
  *size = static_cast<sqlite3_int64>(state_of(file).file->content().size());
  return SQLITE_OK;
}

int vfs_lock(sqlite3_file* file, int level) {
  FileState& state = state_of(file);
  SharedState& shared = *state.shared;
  if (state.lock >= level) {
    return SQLITE_OK;
  }
  const auto held_by_other = [&state](const void* owner) { return owner != nullptr && owner != &state; };
  if (level == SQLITE_LOCK_SHARED) {
    if (held_by_other(shared.exclusive_owner) || held_by_other(shared.pending_owner)) {
      return SQLITE_BUSY;
    }
    ++shared.shared_count;
  } else if (level == SQLITE_LOCK_RESERVED) {
    if (held_by_other(shared.reserved_owner)) {
      return SQLITE_BUSY;
    }
    shared.reserved_owner = &state;
  } else {
    if (held_by_other(shared.reserved_owner) || held_by_other(shared.pending_owner)) {
      return SQLITE_BUSY;
    }
    shared.pending_owner = &state;
    if (level == SQLITE_LOCK_EXCLUSIVE) {
      if (shared.shared_count > 1) {
        state.lock = SQLITE_LOCK_PENDING;
        return SQLITE_BUSY;
      }
      shared.exclusive_owner = &state;
    }
  }
  state.lock = level;
  return SQLITE_OK;
}

int vfs_unlock(sqlite3_file* file, int level) {
  FileState& state = state_of(file);
  SharedState& shared = *state.shared;
  if (state.lock <= level) {
    return SQLITE_OK;
  }
  drop(shared.exclusive_owner, &state);
  drop(shared.pending_owner, &state);
  drop(shared.reserved_owner, &state);
  if (level == SQLITE_LOCK_NONE && state.lock >= SQLITE_LOCK_SHARED) {
    --shared.shared_count;
  }
  state.lock = level;
  return SQLITE_OK;
}

int vfs_check_reserved(sqlite3_file* file, int* result) {
  *result = state_of(file).shared->reserved_owner != nullptr ? 1 : 0;
  return SQLITE_OK;
}

int vfs_control(sqlite3_file*, int, void*) {
  return SQLITE_NOTFOUND;
}
int vfs_sector_size(sqlite3_file*) {
  return kSectorBytes;
}
int vfs_characteristics(sqlite3_file*) {
  return 0;
}

int vfs_shm_map(sqlite3_file* file, int region, int size, int extend, void volatile** out) {
  SharedState& shared = *state_of(file).shared;
  const auto index = static_cast<std::size_t>(region);
  *out = nullptr;
  if (index >= shared.regions.size() && extend == 0) {
    return SQLITE_OK;
  }
  while (shared.regions.size() <= index) {
    shared.regions.push_back(std::make_unique<std::vector<std::uint8_t>>(static_cast<std::size_t>(size)));
  }
  *out = shared.regions[index]->data();
  return SQLITE_OK;
}

int vfs_shm_lock(sqlite3_file* file, int offset, int count, int flags) {
  FileState& state = state_of(file);
  SharedState& shared = *state.shared;
  const bool lock = (flags & SQLITE_SHM_LOCK) != 0;
  const bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
  const auto first = static_cast<std::size_t>(offset);
  const std::size_t end = first + static_cast<std::size_t>(count);
  for (std::size_t i = first; lock && i < end; ++i) {
    const bool other_exclusive = shared.shm_exclusive[i] != nullptr && shared.shm_exclusive[i] != &state;
    const int other_shared = shared.shm_shared[i] - (state.holds_shared[i] ? 1 : 0);
    if (other_exclusive || (exclusive && other_shared > 0)) {
      return SQLITE_BUSY;
    }
  }
  for (std::size_t i = first; i < end; ++i) {
    if (exclusive) {
      shared.shm_exclusive[i] = lock ? &state : nullptr;
    } else if (state.holds_shared[i] != lock) {
      shared.shm_shared[i] += lock ? 1 : -1;
      state.holds_shared[i] = lock;
    }
  }
  return SQLITE_OK;
}

void vfs_shm_barrier(sqlite3_file*) {}

int vfs_shm_unmap(sqlite3_file* file, int) {
  FileState& state = state_of(file);
  for (std::size_t i = 0; i < kShmSlots; ++i) {
    if (state.holds_shared[i]) {
      --state.shared->shm_shared[i];
      state.holds_shared[i] = false;
    }
    drop(state.shared->shm_exclusive[i], &state);
  }
  return SQLITE_OK;
}

const sqlite3_io_methods kMethods = {2,
                                     vfs_close,
                                     vfs_read,
                                     vfs_write,
                                     vfs_truncate,
                                     vfs_sync,
                                     vfs_file_size,
                                     vfs_lock,
                                     vfs_unlock,
                                     vfs_check_reserved,
                                     vfs_control,
                                     vfs_sector_size,
                                     vfs_characteristics,
                                     vfs_shm_map,
                                     vfs_shm_lock,
                                     vfs_shm_barrier,
                                     vfs_shm_unmap,
                                     nullptr,
                                     nullptr};

int vfs_open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  auto* vfs_file = reinterpret_cast<VfsFile*>(file);
  vfs_file->base.pMethods = nullptr;
  SimDisk* disk = current_provider == nullptr || name == nullptr ? nullptr : current_provider->disk_of(name);
  if (disk == nullptr) {
    return SQLITE_CANTOPEN;
  }
  auto opened = disk->open(name, (flags & SQLITE_OPEN_CREATE) != 0);
  if (opened == nullptr) {
    return SQLITE_CANTOPEN;
  }
  auto& weak = shared_states()[opened.get()];
  auto shared = weak.lock();
  if (shared == nullptr) {
    shared = std::make_shared<SharedState>();
    weak = shared;
  }
  auto state = std::make_unique<FileState>();
  state->disk = disk;
  state->path = name;
  state->file = std::move(opened);
  state->shared = std::move(shared);
  state->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
  vfs_file->state = state.release();
  vfs_file->base.pMethods = &kMethods;
  if (out_flags != nullptr) {
    *out_flags = flags;
  }
  return SQLITE_OK;
}

int vfs_delete(sqlite3_vfs*, const char* name, int) {
  if (SimDisk* disk = current_provider == nullptr ? nullptr : current_provider->disk_of(name)) {
    disk->remove(name);
  }
  return SQLITE_OK;
}

int vfs_access(sqlite3_vfs*, const char* name, int, int* result) {
  SimDisk* disk = current_provider == nullptr ? nullptr : current_provider->disk_of(name);
  *result = disk != nullptr && disk->exists(name) ? 1 : 0;
  return SQLITE_OK;
}

int vfs_full_path(sqlite3_vfs*, const char* name, int size, char* out) {
  sqlite3_snprintf(size, out, "%s", name);
  return SQLITE_OK;
}

int vfs_randomness(sqlite3_vfs*, int size, char* out) {
  for (int i = 0; i < size; ++i) {
    out[i] = current_provider == nullptr ? '\0' : static_cast<char>(current_provider->disk_random().next());
  }
  return size;
}

int vfs_sleep(sqlite3_vfs*, int microseconds) {
  return microseconds;
}

int vfs_time_ms(sqlite3_vfs*, sqlite3_int64* out) {
  constexpr sqlite3_int64 kUnixEpochInJulianMs = 24405875LL * 8640000LL;
  *out = kUnixEpochInJulianMs + (current_provider == nullptr ? 0 : current_provider->disk_unix_ms());
  return SQLITE_OK;
}

int vfs_time(sqlite3_vfs* vfs, double* out) {
  sqlite3_int64 now = 0;
  vfs_time_ms(vfs, &now);
  *out = static_cast<double>(now) / 86400000.0;
  return SQLITE_OK;
}

int vfs_last_error(sqlite3_vfs*, int, char*) {
  return 0;
}

void register_vfs() {
  static sqlite3_vfs vfs = {};
  if (vfs.zName != nullptr) {
    return;
  }
  vfs.iVersion = 2;
  vfs.szOsFile = sizeof(VfsFile);
  vfs.mxPathname = 512;
  vfs.zName = kSimVfsName.data();
  vfs.xOpen = vfs_open;
  vfs.xDelete = vfs_delete;
  vfs.xAccess = vfs_access;
  vfs.xFullPathname = vfs_full_path;
  vfs.xRandomness = vfs_randomness;
  vfs.xSleep = vfs_sleep;
  vfs.xCurrentTime = vfs_time;
  vfs.xGetLastError = vfs_last_error;
  vfs.xCurrentTimeInt64 = vfs_time_ms;
  sqlite3_vfs_register(&vfs, 0);
}

}  // namespace

void set_disk_provider(DiskProvider* provider) {
  register_vfs();
  current_provider = provider;
}

}  // namespace cm::sim
