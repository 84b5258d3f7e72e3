#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "host/net/detail/stream_socket.hpp"

namespace cm::net::detail {

namespace {

// One TLS record's worth, RFC 8446 section 5.1.
constexpr std::size_t kTlsRecordBytes = 16 * 1024;

}  // namespace

IoResult StreamSocket::handshake() {
  return tls_ != nullptr ? tls_->handshake() : IoResult{};
}

IoResult StreamSocket::read(std::span<std::uint8_t> into) {
  if (tls_ != nullptr) {
    std::size_t total = 0;
    for (;;) {
      const IoResult result = tls_->read(into.subspan(total));
      if (result.status != IoStatus::kOk) {
        // What came before the end or error is delivered first; the next read reports it again.
        return total != 0 ? IoResult{IoStatus::kOk, total} : result;
      }
      total += result.bytes;
      if (total == into.size()) {
        return {IoStatus::kOk, total};
      }
    }
  }
  for (;;) {
    const ssize_t got = ::recv(fd(), into.data(), into.size(), 0);
    if (got > 0) {
      return {IoStatus::kOk, static_cast<std::size_t>(got)};
    }
    if (got == 0) {
      return {IoStatus::kEof, 0};
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return {IoStatus::kWantRead, 0};
    }
    if (errno != EINTR) {
      last_errno_ = errno;
      return {IoStatus::kError, 0};
    }
  }
}

IoResult StreamSocket::write(std::span<const iovec> pieces) {
  if (tls_ != nullptr) {
    return write_tls(pieces);
  }
  msghdr message{};
  // sendmsg() only reads the pieces; the field is not const for historical reasons.
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  for (;;) {
    const ssize_t sent = ::sendmsg(fd(), &message, MSG_NOSIGNAL);
    if (sent >= 0) {
      return {IoStatus::kOk, static_cast<std::size_t>(sent)};
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return {IoStatus::kWantWrite, 0};
    }
    if (errno != EINTR) {
      last_errno_ = errno;
      return {IoStatus::kError, 0};
    }
  }
}

IoResult StreamSocket::write_tls(std::span<const iovec> pieces) {
  // Small frames are packed into whole records: one record per frame would cost 22 bytes and one system call each.
  // Made by the first write of a thread, as most threads never write.
  thread_local const auto owned = std::make_unique<std::array<std::uint8_t, kTlsRecordBytes>>();
  std::array<std::uint8_t, kTlsRecordBytes>& stage = *owned;
  std::size_t total = 0;
  std::size_t piece = 0;
  std::size_t offset = 0;
  while (piece < pieces.size()) {
    std::size_t staged = 0;
    while (piece < pieces.size() && staged < stage.size()) {
      const std::size_t size = std::min(stage.size() - staged, pieces[piece].iov_len - offset);
      std::memcpy(stage.data() + staged, static_cast<const std::uint8_t*>(pieces[piece].iov_base) + offset, size);
      staged += size;
      offset += size;
      if (offset == pieces[piece].iov_len) {
        ++piece;
        offset = 0;
      }
    }
    std::size_t sent = 0;
    while (sent < staged) {
      const IoResult result = tls_->write(std::span(stage).subspan(sent, staged - sent));
      if (result.status != IoStatus::kOk) {
        total += sent;
        return total != 0 && result.status != IoStatus::kError ? IoResult{IoStatus::kOk, total} : result;
      }
      sent += result.bytes;
    }
    total += staged;
  }
  return {IoStatus::kOk, total};
}

void StreamSocket::shutdown_write() {
  if (tls_ != nullptr) {
    tls_->send_close_notify();
  }
  ::shutdown(fd(), SHUT_WR);
}

std::string StreamSocket::error_text() const {
  if (last_errno_ != 0) {
    return std::generic_category().message(last_errno_);
  }
  return tls_ != nullptr ? tls_->error_text() : "connection closed";
}

}  // namespace cm::net::detail
