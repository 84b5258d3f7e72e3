#include "host/config/graph.hpp"

#include <algorithm>
#include <numeric>

namespace cm::config {
namespace {

// Follows references among what could not be ordered until a node repeats; every such node has an unordered provider.
void report_circle(const std::vector<InstanceConfig>& instances, const std::vector<Reference>& references,
                   const std::vector<bool>& placed, Problems& problems) {
  const auto start = std::find(placed.begin(), placed.end(), false);
  std::size_t at = static_cast<std::size_t>(start - placed.begin());
  std::vector<std::size_t> path;
  SourceLocation where = instances[at].where;
  while (std::find(path.begin(), path.end(), at) == path.end()) {
    path.push_back(at);
    const auto next = std::find_if(references.begin(), references.end(), [&](const Reference& reference) {
      return reference.from == at && !placed[reference.to];
    });
    where = next->where;
    at = next->to;
  }
  std::string circle;
  for (auto step = std::find(path.begin(), path.end(), at); step != path.end(); ++step) {
    circle += instances[*step].name + " -> ";
  }
  problems.add(where, "instances need each other in a circle: " + circle + instances[at].name +
                          "; expected an order in which they can start; remove one of the references");
}

}  // namespace

std::vector<std::size_t> start_order(const std::vector<InstanceConfig>& instances,
                                     const std::vector<Reference>& references, Problems& problems) {
  std::vector<bool> placed(instances.size(), false);
  std::vector<std::size_t> order;
  const auto ready = [&](std::size_t index) {
    return !placed[index] && std::none_of(references.begin(), references.end(), [&](const Reference& reference) {
      return reference.from == index && !placed[reference.to];
    });
  };
  while (order.size() < instances.size()) {
    std::size_t next = 0;
    while (next < instances.size() && !ready(next)) {
      ++next;
    }
    if (next == instances.size()) {
      report_circle(instances, references, placed, problems);
      return {};
    }
    placed[next] = true;
    order.push_back(next);
  }
  return order;
}

std::size_t assign_loop_groups(std::vector<InstanceConfig>& instances, const std::vector<Reference>& references,
                               Problems& problems) {
  std::vector<std::size_t> parent(instances.size());
  std::iota(parent.begin(), parent.end(), std::size_t{0});
  const auto root = [&parent](std::size_t index) {
    while (parent[index] != index) {
      index = parent[index];
    }
    return index;
  };
  for (const Reference& reference : references) {
    if (reference.same_loop) {
      const std::size_t a = root(reference.from);
      const std::size_t b = root(reference.to);
      parent[std::max(a, b)] = std::min(a, b);  // the first instance of the file names the group
    }
  }
  std::vector<std::size_t> number_of_root(instances.size(), instances.size());
  std::vector<const InstanceConfig*> chose(instances.size(), nullptr);  // by root: who named a loop
  std::size_t count = 0;
  for (std::size_t index = 0; index < instances.size(); ++index) {
    InstanceConfig& instance = instances[index];
    const std::size_t group_root = root(index);
    std::size_t& number = number_of_root[group_root];
    if (number == instances.size()) {
      number = count++;
    }
    instance.loop_group = number;
    if (!instance.loop) {
      continue;
    }
    const InstanceConfig*& first = chose[group_root];
    if (first != nullptr && first->loop != instance.loop) {
      problems.add(instance.where, "[plugins." + instance.name + "] asks for loop " + std::to_string(*instance.loop) +
                                       ", but it shares its loop with " + first->name + ", which asks for loop " +
                                       std::to_string(*first->loop) + "; use one number or remove one");
    }
    first = first == nullptr ? &instance : first;
  }
  for (std::size_t index = 0; index < instances.size(); ++index) {
    if (const InstanceConfig* first = chose[root(index)]) {
      instances[index].loop = first->loop;
    }
  }
  return count;
}

}  // namespace cm::config
