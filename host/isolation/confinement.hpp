// Which files a runner child may open: Landlock (landlock(7)), through its system calls, because no library of the
// foundation has it.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <filesystem>
#include <optional>
#include <vector>

#include "host/config/host_config.hpp"

namespace cm::isolation {

// Versions of Landlock at which something that matters here came. Linux 5.13 has 1, Debian 12 (6.1) has 2.
inline constexpr int kLandlockNone = 0;
inline constexpr int kLandlockRefer = 2;     // a file may be moved from one granted folder to another
inline constexpr int kLandlockTruncate = 3;  // files can be kept from being cut off
inline constexpr int kLandlockDevices = 5;   // ioctl of devices can be refused

// The version of Landlock that this kernel offers now; kLandlockNone when it was left out or turned off. Any thread.
int landlock_version();

// For tests, before a host is made: children are confined as under a kernel of this version, which can only be an older
// one. nullopt: the kernel's own.
void set_landlock_version(std::optional<int> version);

// What every child may read: the plugin's library (may be empty), the folders of system libraries, and the few files
// that libc opens by itself; with `network` also those that are needed to resolve names and to check certificates.
std::vector<config::FileGrant> base_grants(const std::filesystem::path& library, bool network);

// Takes away from this thread, and from all that it starts, every file that is not granted; descriptors that are open
// already stay usable. What a grant names must exist, else it grants nothing. Cannot be undone. A read grant of a
// folder is one of all beneath it; a write grant includes reading, making, moving and removing. `version` is at
// least 1. kIo.
Status confine_files(int version, const std::vector<config::FileGrant>& grants);

}  // namespace cm::isolation
