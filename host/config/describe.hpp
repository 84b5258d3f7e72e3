// Documents generated from option schemas. Pure; any thread.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "host/config/host_config.hpp"

namespace cm::config {

// A plugin's options for a terminal.
std::string describe_text(const Manifest& manifest);
// A chapter of the configuration reference.
std::string describe_markdown(const Manifest& manifest);
// JSON Schema (2020-12) of [plugins.NAME] for this plugin.
std::string describe_json_schema(const Manifest& manifest);
// The whole reference: the host's tables, then a chapter per plugin in the given order.
std::string config_reference_markdown(std::span<const std::shared_ptr<const Manifest>> manifests);
// JSON Schema of a whole configuration file that may use the given plugins.
std::string config_json_schema(std::span<const std::shared_ptr<const Manifest>> manifests);

}  // namespace cm::config
