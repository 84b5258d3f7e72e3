#include "host/isolation/sandbox.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "host/isolation/confinement.hpp"

namespace cm::isolation {

namespace {

// What a single-process program without sockets needs; names, because some do not exist on every architecture.
constexpr const char* kAllowed[] = {
    // memory
    "brk",
    "mmap",
    "munmap",
    "mprotect",
    "mremap",
    "madvise",
    "mlock",
    "mlock2",
    "munlock",
    "msync",
    "mincore",
    "membarrier",
    // files
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
    "preadv2",
    "pwritev2",
    "close",
    "close_range",
    "creat",
    "stat",
    "fstat",
    "lstat",
    "newfstatat",
    "statx",
    "statfs",
    "fstatfs",
    "lseek",
    "access",
    "faccessat",
    "faccessat2",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "fallocate",
    "fadvise64",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "readlink",
    "readlinkat",
    "getdents",
    "getdents64",
    "getcwd",
    "chdir",
    "fchdir",
    "umask",
    "flock",
    "fchmod",
    "fcntl",
    "dup",
    "dup2",
    "dup3",
    "copy_file_range",
    "sendfile",
    "ioctl",
    // the channel and waiting; the socket itself is inherited
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "shutdown",
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "eventfd2",
    "timerfd_create",
    "timerfd_settime",
    "timerfd_gettime",
    "pipe",
    "pipe2",
    "inotify_init1",
    "inotify_add_watch",
    "inotify_rm_watch",
    // threads
    "futex",
    "futex_waitv",
    "set_robust_list",
    "get_robust_list",
    "rseq",
    "set_tid_address",
    "gettid",
    "sched_yield",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "arch_prctl",
    "prctl",
    "exit",
    "exit_group",
    "sigaltstack",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "rt_sigpending",
    "restart_syscall",
    "tgkill",
    // clocks and facts
    "clock_gettime",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "times",
    "getrandom",
    "getpid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getgroups",
    "getrlimit",
    "getrusage",
    "uname",
    "sysinfo",
    "getcpu",
    "getpgrp",
    "getpgid",
    "getsid",
};

constexpr const char* kNetwork[] = {
    "socket",     "socketpair", "connect",     "bind",        "listen",   "accept",   "accept4",
    "getsockopt", "setsockopt", "getsockname", "getpeername", "sendmmsg", "recvmmsg",
};

// Calls that change a file by its name and are none of Landlock's business, in any version; by a descriptor they are
// allowed, because that was opened under its rules.
constexpr const char* kAttributesByName[] = {"chmod", "fchmodat", "utimensat"};
// Calls that can cut a file off, which is Landlock's business from kLandlockTruncate on.
constexpr const char* kTruncating[] = {"open", "openat", "openat2", "truncate"};

Error sandbox_error(const char* what, int error) {
  return make_error(ErrorCode::kIo, std::string("the sandbox of the runner: ") + what + ": " + std::strerror(error));
}

int allow(scmp_filter_ctx filter, const char* name) {
  const int number = seccomp_syscall_resolve_name(name);
  return number == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
}

// Allowed when one argument compares so.
int allow_if(scmp_filter_ctx filter, int number, const scmp_arg_cmp& condition) {
  return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 1, &condition);
}

// An opening of a file for reading that cuts it off would need no right to write: Linux has it, and nobody needs it.
int allow_opening(scmp_filter_ctx filter, int number, unsigned int flags_argument) {
  constexpr scmp_datum_t kTruncates = O_TRUNC;
  constexpr scmp_datum_t kAccess = O_ACCMODE;
  int error = allow_if(filter, number, {flags_argument, SCMP_CMP_MASKED_EQ, kTruncates, 0});
  for (const scmp_datum_t writing : {scmp_datum_t{O_WRONLY}, scmp_datum_t{O_RDWR}}) {
    error = error != 0 ? error : allow_if(filter, number, {flags_argument, SCMP_CMP_MASKED_EQ, kAccess, writing});
  }
  return error;
}

// What Landlock of this version leaves open; the file system is reached by these calls only.
int add_file_rules(scmp_filter_ctx filter, int landlock_version) {
  int error = 0;
  if (landlock_version == kLandlockNone) {
    for (const char* name : kAttributesByName) {
      error = error != 0 ? error : allow(filter, name);
    }
  } else {
    error = allow_if(filter, SCMP_SYS(utimensat), {1, SCMP_CMP_EQ, 0, 0});  // no name: of the descriptor
  }
  if (landlock_version == kLandlockNone || landlock_version >= kLandlockTruncate) {
    for (const char* name : kTruncating) {
      error = error != 0 ? error : allow(filter, name);
    }
    return error;
  }
  error = error != 0 ? error : allow_opening(filter, SCMP_SYS(open), 1);
  error = error != 0 ? error : allow_opening(filter, SCMP_SYS(openat), 2);
  // openat2 hides its flags in memory; libraries fall back to openat.
  return error != 0 ? error : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(openat2), 0);
}

int add_rules(scmp_filter_ctx filter, const SandboxLimits& limits) {
  int error = add_file_rules(filter, limits.landlock_version);
  for (const char* name : kAllowed) {
    error = error != 0 ? error : allow(filter, name);
  }
  if (limits.network) {
    for (const char* name : kNetwork) {
      error = error != 0 ? error : allow(filter, name);
    }
  }
  // Threads yes, processes no. clone3 hides its flags in memory, so it answers "no such call" and libc falls back.
  constexpr scmp_datum_t kThread = CLONE_THREAD | CLONE_VM;
  error = error != 0 ? error : allow_if(filter, SCMP_SYS(clone), {0, SCMP_CMP_MASKED_EQ, kThread, kThread});
  error = error != 0 ? error : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  // abort() raises a signal in the own process; others are out of reach.
  error =
      error != 0 ? error : allow_if(filter, SCMP_SYS(kill), {0, SCMP_CMP_EQ, static_cast<scmp_datum_t>(::getpid()), 0});
  // One's own limits may be read, not changed: the pointer to new ones must be null.
  error = error != 0 ? error : allow_if(filter, SCMP_SYS(prlimit64), {2, SCMP_CMP_EQ, 0, 0});
  return error;
}

Status filter_system_calls(const SandboxLimits& limits) {
  const std::unique_ptr<void, void (*)(void*)> filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)),
                                                      [](void* context) { seccomp_release(context); });
  if (filter == nullptr) {
    return sandbox_error("seccomp_init", ENOMEM);
  }
  int error = add_rules(filter.get(), limits);
  error = error != 0 ? error : seccomp_load(filter.get());
  return error == 0 ? Status() : sandbox_error("seccomp", -error);
}

Status limit(__rlimit_resource resource, std::uint64_t value, const char* name) {
  rlimit current{};
  ::getrlimit(resource, &current);
  const rlim_t bounded = std::min<rlim_t>(value, current.rlim_max);
  const rlimit wanted{bounded, bounded};
  return ::setrlimit(resource, &wanted) == 0 ? Status() : sandbox_error(name, errno);
}

// Address space in use before any plugin code: the executable and its libraries.
std::uint64_t address_space_bytes() {
  unsigned long pages = 0;
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/proc/self/statm", "re"), &std::fclose);
  if (file == nullptr || std::fscanf(file.get(), "%lu", &pages) != 1) {
    return 512u << 20;
  }
  return static_cast<std::uint64_t>(pages) * 4096;
}

Status limit_resources(const SandboxLimits& limits) {
  Status status = limit(RLIMIT_CORE, 0, "RLIMIT_CORE");
  status = status ? limit(RLIMIT_NOFILE, limits.descriptors, "RLIMIT_NOFILE") : status;
  status = status ? limit(RLIMIT_FSIZE, limits.file_bytes, "RLIMIT_FSIZE") : status;
  status = status ? limit(RLIMIT_NPROC, kUserTasksMax, "RLIMIT_NPROC") : status;
  if (status && kLimitsAddressSpace) {
    // Each arena of malloc reserves 64 MiB of address space, which would make the limit mean little.
    ::mallopt(M_ARENA_MAX, 1);
    status = limit(RLIMIT_AS, address_space_bytes() + limits.memory_bytes, "RLIMIT_AS");
  }
  return status;
}

}  // namespace

Status enter_sandbox(const SandboxLimits& limits) {
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // other processes of the same user cannot attach or read its memory
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return sandbox_error("PR_SET_NO_NEW_PRIVS", errno);
  }
  if (Status limited = limit_resources(limits); !limited) {
    return limited;
  }
  if (limits.landlock_version != kLandlockNone) {
    if (Status confined = confine_files(limits.landlock_version, limits.files); !confined) {
      return confined;
    }
  }
  return filter_system_calls(limits);
}

}  // namespace cm::isolation
