// TLS settings of servers and clients. OpenSSL stays behind these classes. TLS 1.2 is the oldest version spoken.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <memory>
#include <string>

namespace cm::net {

namespace detail {
struct TlsAccess;
struct TlsContextState;
}  // namespace detail

// A server's certificate and key. Any thread.
class TlsServerContext {
 public:
  // PEM files: the certificate chain (leaf first) and the private key. Errors: kIo or kInvalid, naming the file.
  static Result<std::shared_ptr<TlsServerContext>> load(std::string certificate_file, std::string key_file);
  ~TlsServerContext();

  // Reads the files again; on success connections accepted from now on use the new certificate, on failure nothing
  // changes. Existing connections keep theirs.
  Status reload();

 private:
  friend struct detail::TlsAccess;
  TlsServerContext(std::string certificate_file, std::string key_file);
  std::unique_ptr<detail::TlsContextState> state_;
};

struct TlsClientOptions {
  bool verify_peer = true;     // false only for tests: the connection can then be read by anyone in between
  bool use_system_cas = true;  // the distribution's CA bundle
  std::string extra_ca_file;   // PEM bundle trusted in addition; empty: none
};

// A client's trust. One is enough for a process. Any thread.
class TlsClientContext {
 public:
  // Errors: kInvalid, naming the CA file.
  static Result<std::shared_ptr<TlsClientContext>> create(const TlsClientOptions& options);
  ~TlsClientContext();

 private:
  friend struct detail::TlsAccess;
  TlsClientContext();
  std::unique_ptr<detail::TlsContextState> state_;
};

}  // namespace cm::net
