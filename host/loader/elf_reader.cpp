#include "host/loader/elf_reader.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>

namespace cm::loader {
namespace {

Error damaged(std::string_view what) {
  return make_error(ErrorCode::kInvalid, "the file is damaged or cut off: " + std::string(what));
}

template <typename T>
bool read_struct(const ByteSource& source, std::uint64_t offset, T& out) {
  return source.read(offset, std::as_writable_bytes(std::span<T, 1>(&out, 1)));
}

template <typename T>
std::optional<std::vector<T>> read_array(const ByteSource& source, std::uint64_t offset, std::size_t count) {
  std::vector<T> out(count);
  if (!source.read(offset, std::as_writable_bytes(std::span<T>(out)))) {
    return std::nullopt;
  }
  return out;
}

// Reads a block whose size stands in the file; refuses what is larger than the file before memory is taken for it.
std::optional<std::string> read_block(const ByteSource& source, std::uint64_t offset, std::uint64_t size,
                                      std::size_t limit) {
  if (size > limit || offset > source.size || size > source.size - offset) {
    return std::nullopt;
  }
  std::string out(static_cast<std::size_t>(size), '\0');
  if (!source.read(offset, std::as_writable_bytes(std::span<char>(out)))) {
    return std::nullopt;
  }
  return out;
}

Result<Elf64_Ehdr> read_header(const ByteSource& source) {
  Elf64_Ehdr header{};
  if (!read_struct(source, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return make_error(ErrorCode::kInvalid, "it is no ELF file");
  }
  constexpr unsigned char kOwnOrder = std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != kOwnOrder) {
    return make_error(ErrorCode::kInvalid, "it was built for another kind of machine (not 64-bit or other byte order)");
  }
  if (header.e_type != ET_DYN) {
    return make_error(ErrorCode::kInvalid, "it is an ELF file, but no shared library");
  }
  return header;
}

std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) noexcept {
  return (value + alignment - 1) / alignment * alignment;
}

// Walks the notes of one block. Sizes are 32-bit, so the sums below cannot overflow 64 bits.
std::optional<std::string> find_note(std::string_view block, std::uint64_t alignment, std::string_view owner,
                                     std::uint32_t type) {
  std::uint64_t at = 0;
  while (at + sizeof(Elf64_Nhdr) <= block.size()) {
    Elf64_Nhdr note{};
    std::memcpy(&note, block.data() + at, sizeof(note));
    const std::uint64_t name_at = at + sizeof(note);
    const std::uint64_t description_at = align_up(name_at + note.n_namesz, alignment);
    const std::uint64_t end = description_at + note.n_descsz;
    if (end > block.size()) {
      return std::nullopt;
    }
    std::string_view name = block.substr(name_at, note.n_namesz);
    while (name.ends_with('\0')) {
      name.remove_suffix(1);
    }
    if (name == owner && note.n_type == type) {
      return std::string(block.substr(description_at, note.n_descsz));
    }
    at = align_up(end, alignment);
  }
  return std::nullopt;
}

std::uint64_t note_alignment(std::uint64_t declared) noexcept {
  return declared == 8 ? 8 : 4;
}

// A segment may hold notes of several sections; ours are aligned to 4 whatever the segment says, so both are tried.
std::optional<std::string> find_in_block(const ByteSource& source, std::uint64_t offset, std::uint64_t size,
                                         std::uint64_t declared, std::string_view owner, std::uint32_t type) {
  const std::optional<std::string> block = read_block(source, offset, size, kElfNoteBytesMax);
  if (!block) {
    return std::nullopt;
  }
  std::optional<std::string> found = find_note(*block, note_alignment(declared), owner, type);
  return found || note_alignment(declared) == 4 ? found : find_note(*block, 4, owner, type);
}

std::optional<std::vector<Elf64_Shdr>> read_sections(const ByteSource& source, const Elf64_Ehdr& header) {
  if (header.e_shnum == 0 || header.e_shnum > kElfSectionsMax || header.e_shentsize != sizeof(Elf64_Shdr)) {
    return std::nullopt;
  }
  return read_array<Elf64_Shdr>(source, header.e_shoff, header.e_shnum);
}

std::optional<std::string> find_in_segments(const ByteSource& source, const Elf64_Ehdr& header, std::string_view owner,
                                            std::uint32_t type) {
  if (header.e_phnum == 0 || header.e_phnum > kElfProgramHeadersMax || header.e_phentsize != sizeof(Elf64_Phdr)) {
    return std::nullopt;
  }
  const auto segments = read_array<Elf64_Phdr>(source, header.e_phoff, header.e_phnum);
  if (!segments) {
    return std::nullopt;
  }
  for (const Elf64_Phdr& segment : *segments) {
    if (segment.p_type != PT_NOTE) {
      continue;
    }
    if (auto found = find_in_block(source, segment.p_offset, segment.p_filesz, segment.p_align, owner, type)) {
      return found;
    }
  }
  return std::nullopt;
}

// Compilers that do not know the section's type put the note into program data; its name still gives it away.
std::optional<std::string> find_in_sections(const ByteSource& source, const Elf64_Ehdr& header, std::string_view owner,
                                            std::uint32_t type) {
  const auto sections = read_sections(source, header);
  if (!sections || header.e_shstrndx >= sections->size()) {
    return std::nullopt;
  }
  const Elf64_Shdr& names_section = (*sections)[header.e_shstrndx];
  const auto names = read_block(source, names_section.sh_offset, names_section.sh_size, kElfNoteBytesMax);
  if (!names) {
    return std::nullopt;
  }
  const std::string prefix = ".note." + std::string(owner);
  for (const Elf64_Shdr& section : *sections) {
    const bool named =
        section.sh_name < names->size() && std::string_view(*names).substr(section.sh_name).starts_with(prefix);
    if (section.sh_type == SHT_NOBITS || (!named && section.sh_type != SHT_NOTE)) {
      continue;
    }
    if (auto found = find_in_block(source, section.sh_offset, section.sh_size, section.sh_addralign, owner, type)) {
      return found;
    }
  }
  return std::nullopt;
}

bool is_exported(const Elf64_Sym& symbol) noexcept {
  const unsigned binding = ELF64_ST_BIND(symbol.st_info);
  const unsigned visibility = ELF64_ST_VISIBILITY(symbol.st_other);
  return symbol.st_shndx != SHN_UNDEF && (binding == STB_GLOBAL || binding == STB_WEAK || binding == STB_GNU_UNIQUE) &&
         (visibility == STV_DEFAULT || visibility == STV_PROTECTED);
}

}  // namespace

ByteSource ByteSource::of_memory(std::span<const std::byte> bytes) {
  return {bytes.size(), [bytes](std::uint64_t offset, std::span<std::byte> out) {
            if (offset > bytes.size() || out.size() > bytes.size() - offset) {
              return false;
            }
            std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
            return true;
          }};
}

ElfFile::ElfFile(Descriptor file, std::uint64_t size) : fd_(std::move(file)) {
  source_.size = size;
  source_.read = [fd = fd_.get()](std::uint64_t offset, std::span<std::byte> out) {
    std::size_t done = 0;
    while (done < out.size()) {
      const ssize_t count = ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
      if (count <= 0) {
        return false;
      }
      done += static_cast<std::size_t>(count);
    }
    return true;
  };
}

Result<ElfFile> ElfFile::open(const std::filesystem::path& path) {
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    const int number = errno;
    return make_error(number == ENOENT ? ErrorCode::kGone : ErrorCode::kIo,
                      path.string() + " cannot be opened (" + std::generic_category().message(number) +
                          "), expected a plugin library; check the path");
  }
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return make_error(ErrorCode::kIo, path.string() + " is not a regular file, expected a plugin library");
  }
  return ElfFile(std::move(fd), static_cast<std::uint64_t>(status.st_size));
}

Result<std::string> read_elf_note(const ByteSource& source, std::string_view owner, std::uint32_t type) {
  const Result<Elf64_Ehdr> header = read_header(source);
  if (!header) {
    return header.error();
  }
  std::optional<std::string> found = find_in_segments(source, *header, owner, type);
  if (!found) {
    found = find_in_sections(source, *header, owner, type);
  }
  if (!found) {
    const bool cut_off = header->e_shoff > source.size || header->e_phoff > source.size;
    return cut_off ? damaged("its tables lie behind its end")
                   : make_error(ErrorCode::kInvalid, "it has no note of " + std::string(owner));
  }
  found->resize(found->find_last_not_of('\0') + 1);
  return std::move(*found);
}

Result<std::vector<std::string>> read_exported_symbols(const ByteSource& source) {
  const Result<Elf64_Ehdr> header = read_header(source);
  if (!header) {
    return header.error();
  }
  const auto sections = read_sections(source, *header);
  if (!sections) {
    return damaged("there is no readable table of sections");
  }
  const auto table = std::find_if(sections->begin(), sections->end(),
                                  [](const Elf64_Shdr& section) { return section.sh_type == SHT_DYNSYM; });
  if (table == sections->end()) {
    return std::vector<std::string>();
  }
  if (table->sh_link >= sections->size()) {
    return damaged("the symbols have no names");
  }
  const Elf64_Shdr& names_section = (*sections)[table->sh_link];
  const auto symbols = read_block(source, table->sh_offset, table->sh_size, kElfTableBytesMax);
  const auto names = read_block(source, names_section.sh_offset, names_section.sh_size, kElfTableBytesMax);
  if (!symbols || !names) {
    return damaged("the symbols lie behind its end");
  }
  std::vector<std::string> exported;
  for (std::size_t at = 0; at + sizeof(Elf64_Sym) <= symbols->size(); at += sizeof(Elf64_Sym)) {
    Elf64_Sym symbol{};
    std::memcpy(&symbol, symbols->data() + at, sizeof(symbol));
    if (is_exported(symbol) && symbol.st_name < names->size()) {
      exported.emplace_back(names->c_str() + symbol.st_name);
    }
  }
  std::sort(exported.begin(), exported.end());
  exported.erase(std::unique(exported.begin(), exported.end()), exported.end());
  return exported;
}

Result<std::vector<std::string>> exported_symbols(const std::filesystem::path& library) {
  const Result<ElfFile> file = ElfFile::open(library);
  return file ? read_exported_symbols(file->source()) : Result<std::vector<std::string>>(file.error());
}

}  // namespace cm::loader
