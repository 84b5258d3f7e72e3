// Who needs whom among the instances.
#pragma once

#include <string>
#include <vector>

#include "host/config/problems.hpp"

namespace cm::config {

// A reference as an option wrote it.
struct Reference {
  std::size_t from = 0;  // index of the instance
  std::size_t to = 0;
  bool same_loop = false;
  std::string option;
  SourceLocation where;
};

// Indices in start order: dependencies first, otherwise as given. A circle is a problem and gives an empty result.
std::vector<std::size_t> start_order(const std::vector<InstanceConfig>& instances,
                                     const std::vector<Reference>& references, Problems& problems);

// Sets loop_group and the common explicit loop of each group; returns the number of groups.
std::size_t assign_loop_groups(std::vector<InstanceConfig>& instances, const std::vector<Reference>& references,
                               Problems& problems);

}  // namespace cm::config
