// The OpenSSL side of TLS contexts. Included by tls.cpp only.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <mutex>
#include <string>

#include "host/net/tls.hpp"

namespace cm::net::detail {

struct TlsContextState {
  std::string certificate_file;
  std::string key_file;
  bool verify_peer = true;
  std::mutex mutex;  // guards `context`: sessions take a reference, reload() replaces it
  std::shared_ptr<SSL_CTX> context;
};

struct TlsAccess {
  template <typename Context>
  static std::shared_ptr<SSL_CTX> context(Context& of) {
    const std::lock_guard lock(of.state_->mutex);
    return of.state_->context;
  }
  template <typename Context>
  static TlsContextState& state(Context& of) {
    return *of.state_;
  }
};

}  // namespace cm::net::detail
