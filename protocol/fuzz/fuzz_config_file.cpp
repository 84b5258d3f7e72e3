// The configuration of meshes: parsing never crashes, and whoever is listed is found by the name that the list gives.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "protocol/config_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cm::protocol;
  const auto config = parse_config(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!config.ok()) {
    return 0;
  }
  for (const MeshRecord& mesh : config->meshes) {
    const MeshRecord* found = config->find(mesh.slug);
    if (found == nullptr || found->slug != mesh.slug) {
      std::abort();
    }
  }
  static_cast<void>(config->slugs());
  return 0;
}
