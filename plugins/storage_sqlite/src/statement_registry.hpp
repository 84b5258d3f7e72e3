// SQL texts with small numbers, shared by all connections of one database. Any thread.
#pragma once

#include <claudemesh/ext/storage.h>

#include <deque>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include <claudemesh/cpp/result.hpp>

namespace cm::storage {

// A program has a fixed set of statements; a number that grows without end means SQL that is built from values.
inline constexpr std::size_t kStatementsMax = 4'096;
inline constexpr std::size_t kStatementBytesMax = 64 * 1'024;

class StatementRegistry {
 public:
  // The id (1, 2, 3, ...) of the text; the same text has the same id. kBusy beyond kStatementsMax, kInvalid for an
  // empty or too long text.
  Result<cm_statement> intern(std::string_view sql);
  // Empty for an unknown id. Valid as long as the registry.
  std::string_view text(cm_statement id) const;
  std::size_t size() const;

 private:
  mutable std::shared_mutex mutex_;
  std::deque<std::string> texts_;  // a deque never moves its elements
  std::unordered_map<std::string_view, cm_statement> ids_;
};

}  // namespace cm::storage
