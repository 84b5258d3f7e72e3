// A temporary folder for copies of test plugins.
#pragma once

#include <filesystem>
#include <string>

#include "tests/support/temporary_folder.hpp"

namespace cm::loader {

class PluginFolder : public test::TemporaryFolder {
 public:
  // Copies test plugin `name` to "folder/as" and makes it safe.
  std::filesystem::path add(const std::string& name, const std::string& as) const {
    const std::filesystem::path target = path() / as;
    std::filesystem::create_directories(target.parent_path());
    std::filesystem::copy_file(std::filesystem::path(CM_TEST_PLUGIN_DIR) / (name + ".so"), target,
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::permissions(target, std::filesystem::perms(0755));
    std::filesystem::permissions(target.parent_path(), std::filesystem::perms(0755));
    return target;
  }
};

}  // namespace cm::loader
