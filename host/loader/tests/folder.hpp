// A temporary folder with copies of test plugins.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace cm::loader {

class PluginFolder {
 public:
  PluginFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cm_loader_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~PluginFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  // Copies test plugin `name` to "folder/as" and makes it safe.
  std::filesystem::path add(const std::string& name, const std::string& as) const {
    const std::filesystem::path target = path_ / as;
    std::filesystem::create_directories(target.parent_path());
    std::filesystem::copy_file(std::filesystem::path(CM_TEST_PLUGIN_DIR) / (name + ".so"), target,
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::permissions(target, std::filesystem::perms(0755));
    std::filesystem::permissions(target.parent_path(), std::filesystem::perms(0755));
    return target;
  }
  std::filesystem::path write(const std::string& name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace cm::loader
