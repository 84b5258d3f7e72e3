#include "plugins/storage_sqlite/src/statement_registry.hpp"

#include <mutex>

namespace cm::storage {

Result<cm_statement> StatementRegistry::intern(std::string_view sql) {
  if (sql.empty() || sql.size() > kStatementBytesMax) {
    return make_error(ErrorCode::kInvalid, "a statement has " + std::to_string(sql.size()) + " bytes; 1 to " +
                                               std::to_string(kStatementBytesMax) +
                                               " were expected; pass values as parameters, not in the text");
  }
  {
    const std::shared_lock lock(mutex_);
    const auto known = ids_.find(sql);
    if (known != ids_.end()) {
      return known->second;
    }
  }
  const std::unique_lock lock(mutex_);
  const auto known = ids_.find(sql);
  if (known != ids_.end()) {
    return known->second;
  }
  if (texts_.size() >= kStatementsMax) {
    return make_error(ErrorCode::kBusy, "there are already " + std::to_string(kStatementsMax) +
                                            " different statements; a fixed set was expected; pass values as "
                                            "parameters, not in the text");
  }
  texts_.emplace_back(sql);
  const auto id = static_cast<cm_statement>(texts_.size());
  ids_.emplace(texts_.back(), id);
  return id;
}

std::string_view StatementRegistry::text(cm_statement id) const {
  const std::shared_lock lock(mutex_);
  return id == 0 || id > texts_.size() ? std::string_view() : std::string_view(texts_[id - 1]);
}

std::size_t StatementRegistry::size() const {
  const std::shared_lock lock(mutex_);
  return texts_.size();
}

}  // namespace cm::storage
