// The audit log: collected in memory, chained and written with the other background writes (wire/04 section 6).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plugins/ws_broker/src/store.hpp"
#include "plugins/ws_broker/src/write_behind.hpp"

namespace cm::broker {

class AuditLog {
 public:
  AuditLog(const HostApi& host, WriteBehind& writes) : host_(host), writes_(writes) {}
  void open(StoreSqlPtr sql) { sql_ = std::move(sql); }

  // `actor` may be null. `payload` is made canonical; never put content or a secret into it. [loop]
  void append(const Mesh& mesh, std::string_view event, const Member* actor, const protocol::JsonValue& payload);

 private:
  const HostApi& host_;
  WriteBehind& writes_;
  StoreSqlPtr sql_;
};

}  // namespace cm::broker
