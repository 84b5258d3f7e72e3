// Which files may become code of this process.
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>
#include <claudemesh/cpp/descriptor.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <system_error>

#include "host/loader/discovery.hpp"

namespace cm::loader {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kHashBlockBytes = 64 * 1024;

std::string octal(mode_t mode) {
  std::array<char, 12> digits{};
  std::to_chars(digits.data(), digits.data() + digits.size() - 1, static_cast<unsigned>(mode & 07777), 8);
  return std::string("0") + digits.data();
}

Error cannot_look(const fs::path& path, int number) {
  return make_error(number == ENOENT || number == ENOTDIR ? ErrorCode::kGone : ErrorCode::kIo,
                    path.string() + " cannot be looked at (" + std::generic_category().message(number) +
                        "), expected a plugin library; check the path");
}

// Only root or this user may own it, and nobody else may write it.
Status check_owner_and_mode(const fs::path& path, const struct stat& status) {
  if (status.st_uid != 0 && status.st_uid != ::geteuid()) {
    return make_error(ErrorCode::kDenied, path.string() + " belongs to user " + std::to_string(status.st_uid) +
                                              ", expected root or user " + std::to_string(::geteuid()) +
                                              "; its owner could change the code: run chown, or copy it");
  }
  if ((status.st_mode & 022) != 0) {
    return make_error(ErrorCode::kDenied, path.string() + " can be written by others (mode " + octal(status.st_mode) +
                                              "), expected write permission for the owner only; run: chmod go-w " +
                                              path.string());
  }
  return {};
}

// Above the plugin's folder it is enough that a stranger cannot exchange the folder: a sticky bit (/tmp) prevents that.
Status check_ancestors(const fs::path& folder) {
  for (fs::path path = folder.parent_path(); path.has_relative_path(); path = path.parent_path()) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) {
      return cannot_look(path, errno);
    }
    if ((status.st_mode & 002) != 0 && (status.st_mode & S_ISVTX) == 0) {
      return make_error(ErrorCode::kDenied, path.string() + " can be written by everybody (mode " +
                                                octal(status.st_mode) +
                                                "), expected a folder above plugins that only its owner can write; "
                                                "run: chmod o-w " +
                                                path.string());
    }
  }
  return {};
}

}  // namespace

Status check_trusted(const fs::path& file) {
  std::error_code error;
  const fs::path real = fs::canonical(file, error);  // what a link points to is what would be loaded
  if (error) {
    return cannot_look(file, error.value());
  }
  for (const fs::path& path : {real, real.parent_path()}) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) {
      return cannot_look(path, errno);
    }
    if (Status safe = check_owner_and_mode(path, status); !safe) {
      return safe;
    }
  }
  return check_ancestors(real.parent_path());
}

Result<std::string> file_sha256(const fs::path& file) {
  const Descriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    return cannot_look(file, errno);
  }
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  const auto block = std::make_unique<std::array<unsigned char, kHashBlockBytes>>();
  ssize_t count = 0;
  while ((count = ::read(fd.get(), block->data(), block->size())) > 0) {
    crypto_hash_sha256_update(&state, block->data(), static_cast<std::size_t>(count));
  }
  if (count < 0) {
    return cannot_look(file, errno);
  }
  std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
  crypto_hash_sha256_final(&state, hash.data());
  std::array<char, crypto_hash_sha256_BYTES * 2 + 1> hex{};
  sodium_bin2hex(hex.data(), hex.size(), hash.data(), hash.size());
  return std::string(hex.data());
}

Status check_pin(const fs::path& file, std::string_view sha256_pin) {
  const Result<std::string> hash = file_sha256(file);
  if (!hash) {
    return hash.error();
  }
  if (*hash != sha256_pin) {
    return make_error(ErrorCode::kDenied, file.string() + " has the sha256 " + *hash + ", expected " +
                                              std::string(sha256_pin) +
                                              "; restore the pinned file, or change sha256 if the update was meant");
  }
  return {};
}

}  // namespace cm::loader
