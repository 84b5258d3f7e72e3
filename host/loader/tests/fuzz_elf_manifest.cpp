// Arbitrary bytes as a plugin file: the reader of ELF notes, the reader of symbols, and the manifest inside.
#include <cstdlib>

#include "host/loader/elf_reader.hpp"
#include "host/loader/manifest.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cm::loader;
  const std::span<const std::uint8_t> bytes(data, size);
  const ByteSource source = ByteSource::of_memory(std::as_bytes(bytes));
  if (const auto note = read_elf_note(source, "claudemesh", 1)) {
    if (note->ends_with('\0')) {
      std::abort();
    }
    if (const auto manifest = parse_manifest(*note, "fuzz")) {
      static_cast<void>(check_compatible(*manifest));
    }
  }
  static_cast<void>(read_exported_symbols(source));
  // The input as manifest JSON, too: mutations inside an ELF file rarely stay JSON.
  if (const auto manifest = parse_manifest(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz")) {
    if (manifest->id.empty() || manifest->name.empty()) {
      std::abort();
    }
  }
  return 0;
}
