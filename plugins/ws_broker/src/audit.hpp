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
  static constexpr std::size_t kWaitingMax = 200'000;  // entries; beyond it they are dropped and counted

  AuditLog(const HostApi& host, WriteBehind& writes, const Metrics& metrics)
      : host_(host), writes_(writes), metrics_(metrics) {
    writes_.set_collector([this] { return collect(); });
  }
  void open(StoreSqlPtr sql) { sql_ = std::move(sql); }

  // `actor` may be null. `payload` is made canonical; never put content or a secret into it. [loop]
  void append(const Mesh& mesh, std::string_view event, const Member* actor, const protocol::JsonValue& payload);

 private:
  SqlWork collect();

  const HostApi& host_;
  WriteBehind& writes_;
  const Metrics& metrics_;
  std::vector<AuditEntry> waiting_;
  StoreSqlPtr sql_;
};

}  // namespace cm::broker
