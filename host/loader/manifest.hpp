// Reading a plugin's manifest without loading it.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/config/manifest.hpp"

namespace cm::loader {

using config::AbiVersion;
using config::Manifest;

// ABI versions that this host serves, newest first; what `init` of a plugin is offered.
std::span<const std::uint32_t> offered_abi_versions() noexcept;
// Versions for a person: "2.1, 2.0 and 1.9".
std::string abi_versions_text(std::span<const std::uint32_t> versions);
// "linux-x86_64"
std::string_view host_platform() noexcept;

// Parses and checks manifest JSON. `origin` (a path, or "built-in NAME") begins each error text. Does not judge the
// ABI: see check_compatible. kInvalid: "X is not a claudemesh plugin: ...".
Result<Manifest> parse_manifest(std::string_view json, std::string_view origin);

// Finds the manifest in an ELF file and parses it. Never loads the library. kInvalid, kIo.
Result<Manifest> read_manifest(const std::filesystem::path& file);

// Could this host run the plugin? kUnsupported names both sides: "plugin org.x.y 1.4 needs plugin ABI 2.3; this host
// offers 1.0".
Status check_compatible(const Manifest& manifest);

}  // namespace cm::loader
