// A socket that listens: bound once, and then used by one listener after the other, also across processes.
#pragma once

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <string>

#include "host/net/http_server.hpp"

namespace cm::net {

// Owns the descriptor and, for a Unix socket that it bound, the file. As long as one descriptor of the socket is open
// anywhere, connections queue up in the kernel and nobody is refused; that is what handing over rests on.
// [any, one thread at a time]
class ListeningSocket {
 public:
  // Errors as HttpServer::listen_tcp and listen_unix.
  static Result<ListeningSocket> open(const TcpListenerOptions& options);
  static Result<ListeningSocket> open(const UnixListenerOptions& options);
  // Takes over a socket that is bound and listens already; owns the descriptor, closes it on error (kInvalid).
  // `owns_file`: remove the file of a Unix socket at the end.
  static Result<ListeningSocket> adopt(int fd, bool owns_file);

  ListeningSocket() = default;
  ~ListeningSocket();
  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket& operator=(ListeningSocket&& other) noexcept;

  int fd() const noexcept { return fd_.get(); }
  // Host and port, or path; without id and tls.
  const ListenerInfo& info() const noexcept { return info_; }
  // False for a Unix socket whose file is gone or belongs to another socket: nobody can connect any more.
  bool reachable() const noexcept;
  // Another descriptor of the same socket, close-on-exec. kBusy when the process has none left.
  Result<int> duplicate() const;
  // Somebody else listens on: the file stays when this object goes.
  void leave_file() noexcept { file_inode_ = 0; }

 private:
  ListeningSocket(Descriptor fd, ListenerInfo info) : fd_(std::move(fd)), info_(std::move(info)) {}
  void remember_file();
  void remove_file() noexcept;

  Descriptor fd_;
  ListenerInfo info_;
  // Which file to remove: only while it is still the one that was bound. Inode 0: none.
  std::uint64_t file_device_ = 0;
  std::uint64_t file_inode_ = 0;
};

}  // namespace cm::net
