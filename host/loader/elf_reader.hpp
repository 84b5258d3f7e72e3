// Two questions to an ELF64 file, answered without loading it: its notes of one owner, and its exported symbols.
// Every offset and size of the file is hostile until checked. Pure but for ElfFile; any thread.
#pragma once

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cm::loader {

inline constexpr std::size_t kElfProgramHeadersMax = 256;
inline constexpr std::size_t kElfSectionsMax = 4096;
inline constexpr std::size_t kElfNoteBytesMax = 1024 * 1024;        // of one segment or section
inline constexpr std::size_t kElfTableBytesMax = 64 * 1024 * 1024;  // of one symbol or string table

// Random access to a file's bytes. `read` fills `out` from `offset`, or answers false.
struct ByteSource {
  std::uint64_t size = 0;
  std::function<bool(std::uint64_t offset, std::span<std::byte> out)> read;

  static ByteSource of_memory(std::span<const std::byte> bytes);  // `bytes` must outlive the source
};

// An open file as a ByteSource. kGone: there is none; kIo.
class ElfFile {
 public:
  static Result<ElfFile> open(const std::filesystem::path& path);
  const ByteSource& source() const noexcept { return source_; }

 private:
  ElfFile(Descriptor file, std::uint64_t size);
  Descriptor fd_;
  ByteSource source_;
};

// The description of the first note with this owner and type, trailing zero bytes removed. kInvalid: not an ELF64 file
// of this byte order, damaged, or without such a note; the text says which.
Result<std::string> read_elf_note(const ByteSource& source, std::string_view owner, std::uint32_t type);

// Names of the symbols that a dynamic linker would find: defined, global or weak, visible. Sorted. kInvalid.
Result<std::vector<std::string>> read_exported_symbols(const ByteSource& source);
// The same of a file. kGone, kIo, kInvalid.
Result<std::vector<std::string>> exported_symbols(const std::filesystem::path& library);

}  // namespace cm::loader
