#include <arpa/inet.h>
#include <netinet/in.h>

#include <boost/asio/ip/tcp.hpp>
#include <cstring>

#include "host/net/detail/reactor.hpp"

namespace cm::net::detail {

namespace {

using Addresses = std::vector<ResolvedAddress>;
using Done = UniqueFunction<void(Result<Addresses>)>;

// The part that outlives a dropped handle until Asio has let go of it.
struct ResolveState {
  explicit ResolveState(asio::io_context& context) : resolver(context) {}

  asio::ip::tcp::resolver resolver;
  Done done;
  bool cancelled = false;
};

class AsioResolve final : public ResolveHandle {
 public:
  explicit AsioResolve(std::shared_ptr<ResolveState> state) : state_(std::move(state)) {}
  ~AsioResolve() override {
    state_->cancelled = true;
    state_->done = nullptr;
    state_->resolver.cancel();
  }

 private:
  std::shared_ptr<ResolveState> state_;
};

std::optional<ResolvedAddress> parse_literal(const std::string& host, std::uint16_t port) {
  ResolvedAddress address;
  sockaddr_in v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&address.storage, &v4, sizeof v4);
    address.size = sizeof v4;
    return address;
  }
  sockaddr_in6 v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&address.storage, &v6, sizeof v6);
    address.size = sizeof v6;
    return address;
  }
  return std::nullopt;
}

void finish(ResolveState& state, Result<Addresses> result) {
  if (!state.cancelled && state.done) {
    Done done = std::move(state.done);
    done(std::move(result));
  }
}

}  // namespace

std::unique_ptr<ResolveHandle> LoopCore::resolve(const std::string& host, std::uint16_t port, Done done) {
  auto state = std::make_shared<ResolveState>(reactor_->context);
  state->done = std::move(done);
  if (const auto literal = parse_literal(host, port)) {
    owner_.post([state, address = *literal] { finish(*state, Addresses{address}); });
    return std::make_unique<AsioResolve>(state);
  }
  state->resolver.async_resolve(
      host, std::to_string(port), asio::ip::tcp::resolver::numeric_service,
      [state, host](const boost::system::error_code& error, const asio::ip::tcp::resolver::results_type& results) {
        if (error || results.empty()) {
          finish(*state,
                 make_error(ErrorCode::kIo, "the name '" + host + "' could not be resolved: " + error.message() +
                                                "; expected an address; check the name and the DNS settings"));
          return;
        }
        Addresses addresses;
        for (const auto& entry : results) {
          ResolvedAddress address;
          std::memcpy(&address.storage, entry.endpoint().data(), entry.endpoint().size());
          address.size = static_cast<socklen_t>(entry.endpoint().size());
          addresses.push_back(address);
        }
        finish(*state, std::move(addresses));
      });
  return std::make_unique<AsioResolve>(state);
}

}  // namespace cm::net::detail
