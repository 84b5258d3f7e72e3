// A connected non-blocking socket, plain or TLS, with one set of calls for both. No Asio, no OpenSSL types.
#pragma once

#include <sys/uio.h>

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "host/net/tls.hpp"

namespace cm::net::detail {

enum class IoStatus : std::uint8_t {
  kOk,         // `bytes` were moved, at least one
  kWantRead,   // wait until the descriptor is readable, then repeat
  kWantWrite,  // wait until it is writable, then repeat
  kEof,        // the peer ended its direction
  kError,      // broken; error_text() has more
};

struct IoResult {
  IoStatus status = IoStatus::kOk;
  std::size_t bytes = 0;
};

// A TLS session on a descriptor that it does not own. Defined in tls.cpp.
class TlsSession {
 public:
  virtual ~TlsSession() = default;
  virtual IoResult handshake() = 0;
  virtual IoResult read(std::span<std::uint8_t> into) = 0;
  // A call that gave kWantWrite or kWantRead must be repeated with the same bytes in front, and at least as many.
  virtual IoResult write(std::span<const std::uint8_t> from) = 0;
  virtual bool has_pending_input() const = 0;
  virtual void send_close_notify() = 0;
  virtual std::string error_text() const = 0;

  static Result<std::unique_ptr<TlsSession>> server(TlsServerContext& context, int fd);
  // `host` is checked against the certificate and sent as SNI (unless it is an address).
  static Result<std::unique_ptr<TlsSession>> client(TlsClientContext& context, int fd, const std::string& host);
};

// Something that is released when the socket closes, such as a place under a listener's connection limit.
class SocketSlot {
 public:
  virtual ~SocketSlot() = default;
};

// Owns the descriptor. [loop]
class StreamSocket {
 public:
  explicit StreamSocket(int fd) : fd_(fd) {}
  StreamSocket(const StreamSocket&) = delete;
  StreamSocket& operator=(const StreamSocket&) = delete;

  void set_tls(std::unique_ptr<TlsSession> tls) { tls_ = std::move(tls); }
  void set_slot(std::unique_ptr<SocketSlot> slot) { slot_ = std::move(slot); }

  int fd() const noexcept { return fd_.get(); }
  bool tls() const noexcept { return tls_ != nullptr; }
  IoResult handshake();
  // Reads what is there, up to the span. For TLS until the record layer is empty or the span is full.
  IoResult read(std::span<std::uint8_t> into);
  // One gather write. For TLS the pieces are staged into records.
  IoResult write(std::span<const iovec> pieces);
  // Decrypted bytes wait inside TLS although the descriptor may not be readable.
  bool has_pending_input() const { return tls_ != nullptr && tls_->has_pending_input(); }
  // Ends our direction: close_notify for TLS, then FIN.
  void shutdown_write();
  std::string error_text() const;

 private:
  IoResult write_tls(std::span<const iovec> pieces);

  int last_errno_ = 0;
  std::unique_ptr<TlsSession> tls_;
  std::unique_ptr<SocketSlot> slot_;
  Descriptor fd_;  // last, so that it is closed before the slot is given back
};

}  // namespace cm::net::detail
