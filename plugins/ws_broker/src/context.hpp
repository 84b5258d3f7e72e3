// What every part of the broker needs: the host, the options, the series, the store.
#pragma once

#include <claudemesh/cpp/host.hpp>
#include <claudemesh/cpp/storage.hpp>
#include <cstdint>
#include <span>
#include <string>

#include "plugins/ws_broker/src/metrics.hpp"
#include "plugins/ws_broker/src/options.hpp"
#include "plugins/ws_broker/src/store.hpp"
#include "plugins/ws_broker/src/store_health.hpp"
#include "plugins/ws_broker/src/text.hpp"
#include "protocol/random.hpp"

namespace cm::broker {

struct Context {
  explicit Context(const HostApi& host_api)
      : host(host_api),
        random([&host_api](std::span<std::uint8_t> bytes) { host_api.fill_random(bytes.data(), bytes.size()); }) {}

  const HostApi& host;
  Options options;
  Metrics metrics;
  StoreHealth health{host, metrics};
  StorageClient storage;
  StoreSqlPtr sql;
  protocol::RandomSource random;
  SortableIds ids;

  // Durations and leases are measured with the first, stamps and expiry dates with the second.
  std::int64_t now_ms() const noexcept { return static_cast<std::int64_t>(host.monotonic_us() / 1000); }
  std::int64_t wall_ms() const noexcept { return host.unix_ms(); }
};

}  // namespace cm::broker
