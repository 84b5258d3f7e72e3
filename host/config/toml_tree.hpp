// TOML files as one tree whose nodes remember where they stood, includes merged. The only user of toml++ in the host.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "host/config/environment.hpp"
#include "host/config/problems.hpp"
#include "host/config/values.hpp"

namespace cm::config {

struct TomlEntry;
using TomlTable = std::vector<TomlEntry>;  // in the order of the files

struct TomlNode {
  SourceLocation where;
  // monostate: a date or time, which no option accepts.
  std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<TomlNode>, TomlTable> value;

  const TomlTable* table() const noexcept { return std::get_if<TomlTable>(&value); }
  const TomlEntry* find(std::string_view key) const noexcept;  // null when this is no table
  std::string kind() const;                                    // "a table", "the integer 5"
};

struct TomlEntry {
  std::string key;
  SourceLocation key_where;
  TomlNode node;
};

// Replaces ${NAME} and ${NAME:-default}; "$${" stands for "${". kInvalid: an unset variable, a missing brace.
Result<std::string> substitute(std::string_view text, const Environment& environment);

// Expands a leading "~" and makes the path absolute against `folder`. kInvalid: "~user", a zero byte.
Result<std::filesystem::path> absolute_path(std::string_view text, const std::filesystem::path& folder,
                                            const Environment& environment);

// Folder of the file that `where` names; relative paths in it start there.
std::filesystem::path folder_of(const SourceLocation& where);

// Reads the request's file and what it includes. Overridden keys become warnings. Nothing usable: nullopt and problems.
std::optional<TomlNode> read_toml(const LoadRequest& request, const Environment& environment, Problems& problems);

}  // namespace cm::config
