// The listening sockets of one host, apart from the listeners that accept from them: so that a socket can outlive the
// instance that opened it, through a reload and into the process that takes over.
#pragma once

#include <claudemesh/cpp/descriptor.hpp>
#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "host/net/listening_socket.hpp"

namespace cm::host {

inline constexpr std::size_t kListeningSocketsMax = 1024;  // of one process

// "127.0.0.1:7900", "[::1]:0", "unix:/path". Pure.
struct ListenAddress {
  std::string host;
  std::uint16_t port = 0;
  std::string unix_path;  // when not empty, the others do not count
};
Result<ListenAddress> parse_listen_address(std::string_view text);
// The same notation for a bound listener, with the real port.
std::string listener_address(const net::ListenerInfo& info);

// One socket on its way into another process.
struct HandedSocket {
  Descriptor fd;
  std::string owner;    // name of the instance, "[ops]", or empty when it is not known (socket activation)
  std::string address;  // as it was configured; port 0 stays 0
};

// Any thread.
class ListeningSockets {
 public:
  // What a listener holds: a descriptor of its own, and the number to give back at its end.
  struct Lease {
    int fd = -1;
    std::uint64_t number = 0;
  };

  ListeningSockets() = default;
  ~ListeningSockets();
  ListeningSockets(const ListeningSockets&) = delete;
  ListeningSockets& operator=(const ListeningSockets&) = delete;

  // The kept or inherited socket of this address, or a new one. A socket that another listener uses is given only when
  // its owner ends in the change that is under way. Errors as HttpServer::listen_tcp and listen_unix.
  Result<Lease> acquire(const std::string& owner, const std::string& text, const ListenAddress& address,
                        std::uint32_t unix_mode);
  // The listener has closed. Outside a change the socket closes with it.
  void release(std::uint64_t number);

  // Between these two no socket is closed: connections wait in the kernel's queue for the next listener. `ending` are
  // the instances whose addresses may be taken over while they still listen. [control]
  void begin_change(std::set<std::string> ending);
  void end_change();

  // A socket from the process before this one, or from the service manager. Begins a change, whose end closes what
  // nobody asked for. [control]
  Status adopt(HandedSocket socket);
  // Duplicates of all sockets, for the next process. [control]
  Result<std::vector<HandedSocket>> duplicate_all() const;
  // The next process listens on: socket files are not removed any more. [control]
  void leave_files();
  std::size_t size() const;
  // "127.0.0.1:40123", the real ones.
  std::vector<std::string> addresses() const;

 private:
  struct User {
    std::uint64_t number = 0;  // of the lease
    std::string owner;
    std::string address;
  };
  struct Entry {
    std::vector<User> users;  // one; two while the one that ends still listens
    User last;                // the user, or who was it last
    net::ListeningSocket socket;
  };
  Entry* find_usable(const std::string& owner, const std::string& text, const ListenAddress& address);
  void erase_unused();
  static Result<net::ListeningSocket> open(const ListenAddress& address, std::uint32_t unix_mode);

  mutable std::mutex mutex_;
  std::vector<Entry> entries_;    // guarded by mutex_
  std::set<std::string> ending_;  // guarded by mutex_
  bool changing_ = false;         // guarded by mutex_
  std::uint64_t numbers_ = 0;     // guarded by mutex_
};

}  // namespace cm::host
