#include "host/isolation/confinement.hpp"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

#include "host/isolation/sandbox.hpp"

namespace cm::isolation {

namespace {

// linux/landlock.h of Debian 12 ends at version 2.
constexpr std::uint64_t kTruncate = 1ULL << 14;
constexpr std::uint64_t kIoctlDevice = 1ULL << 15;

constexpr std::uint64_t kReadFile = LANDLOCK_ACCESS_FS_READ_FILE;
constexpr std::uint64_t kRead = kReadFile | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kWriteFile = LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;
// Neither programs to run nor devices to make: no grant gives them.
constexpr std::uint64_t kWrite = kRead | kWriteFile | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                                 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                 LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER;
constexpr std::uint64_t kEverything =
    kWrite | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | kIoctlDevice;
// What can be granted of a file that is no folder.
constexpr std::uint64_t kOfFiles = kReadFile | kWriteFile;

constexpr int kNotForced = -1;
std::atomic<int> forced_version{kNotForced};

// What a kernel of this version knows; others would be refused as invalid.
std::uint64_t known_to(int version) {
  std::uint64_t known = kEverything;
  known &= version < kLandlockRefer ? ~std::uint64_t{LANDLOCK_ACCESS_FS_REFER} : ~std::uint64_t{0};
  known &= version < kLandlockTruncate ? ~kTruncate : ~std::uint64_t{0};
  known &= version < kLandlockDevices ? ~kIoctlDevice : ~std::uint64_t{0};
  return known;
}

Error confinement_error(const std::string& what, int error) {
  return make_error(ErrorCode::kIo,
                    "the files of the runner cannot be confined: " + what + ": " + std::strerror(error));
}

// Does the error say that there is nothing to grant, rather than that the sandbox is broken?
bool is_absent(int error) noexcept {
  return error == ENOENT || error == ENOTDIR || error == EACCES || error == ELOOP;
}

Status add_grant(int ruleset, std::uint64_t known, const config::FileGrant& grant) {
  const Descriptor target(::open(grant.path.c_str(), O_PATH | O_CLOEXEC));
  if (target.get() < 0) {
    return is_absent(errno) ? Status() : confinement_error(grant.path.string(), errno);
  }
  struct stat status{};
  if (::fstat(target.get(), &status) != 0) {
    return confinement_error(grant.path.string(), errno);
  }
  landlock_path_beneath_attr rule{};
  rule.parent_fd = target.get();
  rule.allowed_access = (grant.write ? kWrite : kRead) & known & (S_ISDIR(status.st_mode) ? kEverything : kOfFiles);
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
    return confinement_error(grant.path.string(), errno);
  }
  return {};
}

}  // namespace

int landlock_version() {
  const long offered = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  const int version = offered < 0 ? kLandlockNone : static_cast<int>(offered);
  const int forced = forced_version.load(std::memory_order_relaxed);
  return forced == kNotForced ? version : std::min(forced, version);
}

void set_landlock_version(std::optional<int> version) {
  forced_version.store(version.value_or(kNotForced), std::memory_order_relaxed);
}

std::vector<config::FileGrant> base_grants(const std::filesystem::path& library, bool network) {
  std::vector<config::FileGrant> grants;
  const auto read = [&grants](const std::filesystem::path& path) { grants.push_back({path, false, {}}); };
  if (!library.empty()) {
    read(library);
  }
  // Libraries that the plugin's library needs, character sets and locales; texts and time zones for LANG and TZ.
  for (const char* path : {"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib",
                           "/etc/ld.so.cache", "/usr/share/locale", "/usr/share/zoneinfo", "/etc/localtime"}) {
    read(path);
  }
  for (const char* path : {"/dev/urandom", "/dev/random", "/dev/zero"}) {
    read(path);
  }
  grants.push_back({"/dev/null", true, {}});
  if (network) {
    for (const char* path : {"/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf",
                             "/etc/services", "/etc/protocols", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
                             "/etc/pki/tls/certs", "/usr/share/ca-certificates"}) {
      read(path);
    }
  }
  if (!kLimitsAddressSpace) {
    read("/proc");  // a sanitizer looks at the map of its own memory
  }
  return grants;
}

Status confine_files(int version, const std::vector<config::FileGrant>& grants) {
  const std::uint64_t known = known_to(version);
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = known;
  // Only the first member: a header of a newer kernel may have more, which a kernel of today need not know.
  const Descriptor ruleset(
      ::syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes.handled_access_fs), 0));
  if (ruleset.get() < 0) {
    return confinement_error("landlock_create_ruleset", errno);
  }
  for (const config::FileGrant& grant : grants) {
    if (Status added = add_grant(ruleset.get(), known, grant); !added) {
      return added;
    }
  }
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    return confinement_error("landlock_restrict_self", errno);
  }
  return {};
}

}  // namespace cm::isolation
