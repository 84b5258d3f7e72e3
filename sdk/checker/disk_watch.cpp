#include "sdk/checker/disk_watch.hpp"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "sdk/checker/child.hpp"

namespace cm::checker {
namespace {

// How to undo one write or change of size.
struct Change {
  off_t offset = 0;
  std::string before;
  off_t size_before = 0;
};

struct WatchedFile {
  int fd = -1;  // never closed: that would release the plugin's locks on the file (fcntl(2), F_SETLK)
  std::vector<Change> unsynced;
};

struct Watch {
  std::mutex mutex;  // held by the power cut for good
  std::map<std::pair<dev_t, ino_t>, WatchedFile> files;
  std::atomic<std::int64_t> delay_ms = 0;
};

// Never destroyed: threads of plugins may write until the very end.
Watch& watch() {
  static Watch* const instance = new Watch;
  return *instance;
}

void wait_a_little() {
  const std::int64_t delay_ms = watch().delay_ms.load(std::memory_order_relaxed);
  if (delay_ms > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
  }
}

// The file behind a descriptor of a plugin, or null: a pipe, a socket, the checker's own output. Under the mutex.
WatchedFile* file_of(int fd, struct stat& facts) {
  if (fd <= kReportFd || ::fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    return nullptr;
  }
  WatchedFile& file = watch().files[{facts.st_dev, facts.st_ino}];
  if (file.fd < 0) {
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    file.fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  }
  return file.fd < 0 ? nullptr : &file;
}

constexpr off_t kAtPosition = -1;  // where the descriptor stands

template <typename Call>
ssize_t watched_write(int fd, off_t offset, std::size_t size, Call&& call) {
  wait_a_little();
  const std::lock_guard lock(watch().mutex);
  struct stat facts = {};
  WatchedFile* file = file_of(fd, facts);
  if (file == nullptr) {
    return call();
  }
  const int flags = ::fcntl(fd, F_GETFL);
  const bool appends = (flags & O_APPEND) != 0;
  const off_t position = appends ? facts.st_size : offset == kAtPosition ? ::lseek(fd, 0, SEEK_CUR) : offset;
  Change change{position, std::string(size, '\0'), facts.st_size};
  const ssize_t there = ::pread(file->fd, change.before.data(), size, position);
  change.before.resize(there > 0 ? static_cast<std::size_t>(there) : 0);
  const ssize_t written = call();
  const int code = errno;
  if (written > 0 && (flags & O_DSYNC) == 0) {
    file->unsynced.push_back(std::move(change));
  }
  errno = code;
  return written;
}

// Of one that grows or cuts a file; `kept` is where the new end may be.
template <typename Call>
int watched_resize(int fd, off_t new_size, Call&& call) {
  wait_a_little();
  const std::lock_guard lock(watch().mutex);
  struct stat facts = {};
  WatchedFile* file = file_of(fd, facts);
  if (file == nullptr) {
    return call();
  }
  Change change{new_size, {}, facts.st_size};
  if (new_size < facts.st_size) {
    change.before.resize(static_cast<std::size_t>(facts.st_size - new_size));
    const ssize_t there = ::pread(file->fd, change.before.data(), change.before.size(), new_size);
    change.before.resize(there > 0 ? static_cast<std::size_t>(there) : 0);
  }
  const int result = call();
  const int code = errno;
  if (result == 0) {
    file->unsynced.push_back(std::move(change));
  }
  errno = code;
  return result;
}

template <typename Call>
int watched_sync(int fd, Call&& call) {
  wait_a_little();
  const std::lock_guard lock(watch().mutex);
  struct stat facts = {};
  WatchedFile* file = file_of(fd, facts);
  if (file == nullptr) {
    return call();
  }
  file->unsynced.clear();  // the real disk need not be waited for: the process dies, the machine does not
  return 0;
}

void watched_sync_all() {
  wait_a_little();
  const std::lock_guard lock(watch().mutex);
  for (auto& [key, file] : watch().files) {
    file.unsynced.clear();
  }
}

std::size_t size_of(const iovec* parts, int count) {
  std::size_t size = 0;
  for (int i = 0; i < count; ++i) {
    size += parts[i].iov_len;
  }
  return size;
}

// --- what stands in for the functions of the C library ---------------------------------------------------------------

ssize_t on_write(int fd, const void* data, std::size_t size) {
  return watched_write(fd, kAtPosition, size, [&] { return ::write(fd, data, size); });
}
ssize_t on_pwrite(int fd, const void* data, std::size_t size, off_t offset) {
  return watched_write(fd, offset, size, [&] { return ::pwrite(fd, data, size, offset); });
}
ssize_t on_writev(int fd, const iovec* parts, int count) {
  return watched_write(fd, kAtPosition, size_of(parts, count), [&] { return ::writev(fd, parts, count); });
}
ssize_t on_pwritev(int fd, const iovec* parts, int count, off_t offset) {
  return watched_write(fd, offset, size_of(parts, count), [&] { return ::pwritev(fd, parts, count, offset); });
}
int on_ftruncate(int fd, off_t size) {
  return watched_resize(fd, size, [&] { return ::ftruncate(fd, size); });
}
int on_posix_fallocate(int fd, off_t offset, off_t size) {
  return watched_resize(fd, offset + size, [&] { return ::posix_fallocate(fd, offset, size); });
}
int on_fsync(int fd) {
  return watched_sync(fd, [&] { return ::fsync(fd); });
}
int on_fdatasync(int fd) {
  return watched_sync(fd, [&] { return ::fdatasync(fd); });
}
int on_syncfs(int) {
  watched_sync_all();
  return 0;
}
void on_sync() {
  watched_sync_all();
}

struct Redirection {
  std::string_view name;
  std::uintptr_t function;
};

template <typename Function>
Redirection redirect(std::string_view name, Function* function) {
  return {name, reinterpret_cast<std::uintptr_t>(function)};
}

const std::vector<Redirection>& redirections() {
  static_assert(sizeof(off_t) == 8, "one type for both spellings of each name");
  static const std::vector<Redirection> all = {
      redirect("write", on_write),
      redirect("pwrite", on_pwrite),
      redirect("pwrite64", on_pwrite),
      redirect("writev", on_writev),
      redirect("pwritev", on_pwritev),
      redirect("pwritev64", on_pwritev),
      redirect("ftruncate", on_ftruncate),
      redirect("ftruncate64", on_ftruncate),
      redirect("posix_fallocate", on_posix_fallocate),
      redirect("posix_fallocate64", on_posix_fallocate),
      redirect("fsync", on_fsync),
      redirect("fdatasync", on_fdatasync),
      redirect("syncfs", on_syncfs),
      redirect("sync", on_sync),
  };
  return all;
}

// --- tables of imports (System V ABI, "Dynamic Linking") -------------------------------------------------------------

bool names_a_function(std::uint64_t relocation_type) {
#if defined(__x86_64__)
  return relocation_type == R_X86_64_JUMP_SLOT || relocation_type == R_X86_64_GLOB_DAT ||
         relocation_type == R_X86_64_64;
#elif defined(__aarch64__)
  return relocation_type == R_AARCH64_JUMP_SLOT || relocation_type == R_AARCH64_GLOB_DAT ||
         relocation_type == R_AARCH64_ABS64;
#else
  return relocation_type == UINT64_MAX;
#endif
}

struct Imports {
  const ElfW(Sym) * symbols = nullptr;
  const char* names = nullptr;
  struct List {
    const ElfW(Rela) * entries = nullptr;
    std::size_t bytes = 0;
  };
  List data;
  List calls;
};

Imports imports_of(const dl_phdr_info& library, const ElfW(Dyn) * dynamic) {
  Imports imports;
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    // The dynamic linker has made addresses of offsets, but not on every processor.
    const std::uintptr_t value = dynamic->d_un.d_ptr;
    const void* address = reinterpret_cast<const void*>(value < library.dlpi_addr ? value + library.dlpi_addr : value);
    switch (dynamic->d_tag) {
      case DT_SYMTAB:
        imports.symbols = static_cast<const ElfW(Sym)*>(address);
        break;
      case DT_STRTAB:
        imports.names = static_cast<const char*>(address);
        break;
      case DT_RELA:
        imports.data.entries = static_cast<const ElfW(Rela)*>(address);
        break;
      case DT_RELASZ:
        imports.data.bytes = dynamic->d_un.d_val;
        break;
      case DT_JMPREL:
        imports.calls.entries = static_cast<const ElfW(Rela)*>(address);
        break;
      case DT_PLTRELSZ:
        imports.calls.bytes = dynamic->d_un.d_val;
        break;
      default:
        break;
    }
  }
  return imports;
}

void put(std::uintptr_t slot, std::uintptr_t function) {
  const auto page_bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  void* page = reinterpret_cast<void*>(slot & ~(page_bytes - 1));
  if (::mprotect(page, page_bytes, PROT_READ | PROT_WRITE) == 0) {
    *reinterpret_cast<std::uintptr_t*>(slot) = function;
  }
}

void redirect_imports(const dl_phdr_info& library, const Imports& imports, const Imports::List& list) {
  for (std::size_t i = 0; i < list.bytes / sizeof(ElfW(Rela)); ++i) {
    const ElfW(Rela)& entry = list.entries[i];
    if (!names_a_function(ELF64_R_TYPE(entry.r_info)) || entry.r_addend != 0) {
      continue;
    }
    const std::string_view name = imports.names + imports.symbols[ELF64_R_SYM(entry.r_info)].st_name;
    for (const Redirection& redirection : redirections()) {
      if (redirection.name == name) {
        put(library.dlpi_addr + entry.r_offset, redirection.function);
      }
    }
  }
}

// The C library and what must lie below everything else keep their own calls.
bool is_left_alone(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return name.empty() || name.starts_with("libc.so") || name.starts_with("ld-") || name.starts_with("linux-vdso") ||
         name.starts_with("libpthread") || name.find("san.so") != std::string_view::npos;
}

int redirect_library(dl_phdr_info* library, std::size_t, void*) {
  if (is_left_alone(library->dlpi_name)) {
    return 0;
  }
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    if (library->dlpi_phdr[i].p_type == PT_DYNAMIC) {
      const std::uintptr_t at = library->dlpi_addr + library->dlpi_phdr[i].p_vaddr;
      const Imports imports = imports_of(*library, reinterpret_cast<const ElfW(Dyn)*>(at));
      redirect_imports(*library, imports, imports.data);
      redirect_imports(*library, imports, imports.calls);
    }
  }
  return 0;
}

}  // namespace

bool watch_disk_calls() {
#if defined(__x86_64__) || defined(__aarch64__)
  ::dl_iterate_phdr(&redirect_library, nullptr);
  return true;
#else
  static_cast<void>(redirect_library);
  return false;
#endif
}

void slow_disk_calls(std::chrono::milliseconds delay) {
  watch().delay_ms.store(delay.count(), std::memory_order_relaxed);
}

void cut_power() {
  watch().mutex.lock();  // for good: whoever writes now never comes back
  for (auto& [key, file] : watch().files) {
    for (auto change = file.unsynced.rbegin(); change != file.unsynced.rend(); ++change) {
      if (::pwrite(file.fd, change->before.data(), change->before.size(), change->offset) < 0 ||
          ::ftruncate(file.fd, change->size_before) != 0) {
        break;  // the disk has a fault of its own; what is left counts as written
      }
    }
  }
  ::kill(::getpid(), SIGKILL);
  for (;;) {
    ::pause();
  }
}

}  // namespace cm::checker
