// JSON and its canonical forms: both are fixed points, and agree on which texts are JSON at all.
#include <cstdint>
#include <cstdlib>

#include "protocol/canonical_json.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cm::protocol;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto jcs = canonical_json(text);
  const auto js = canonical_json_js(text);
  if (jcs.ok() && (!js.ok() || *canonical_json(*jcs) != *jcs)) {
    std::abort();
  }
  if (js.ok()) {
    const auto again = canonical_json_js(*js);
    if (!again.ok() || *again != *js) {
      std::abort();
    }
  }
  const auto tree = parse_json(text);
  if (tree.ok() != js.ok()) {
    std::abort();
  }
  if (tree.ok()) {
    const std::string written = to_json(*tree);
    const auto back = parse_json(written);
    if (!back.ok() || to_json(*back) != written) {
      std::abort();
    }
  }
  return 0;
}
