#include "host/services/listening_sockets.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>

namespace cm::host {

namespace {

Error bad_address(std::string_view text, const char* what) {
  return make_error(ErrorCode::kInvalid, "the listen address \"" + std::string(text) + "\" is wrong: " + what +
                                             "; expected \"127.0.0.1:7900\", \"[::1]:7900\" or \"unix:/path/to.sock\"");
}

}  // namespace

std::string listener_address(const net::ListenerInfo& info) {
  if (!info.path.empty()) {
    return "unix:" + info.path;
  }
  const bool is_v6 = info.host.find(':') != std::string::npos;
  return (is_v6 ? "[" + info.host + "]" : info.host) + ":" + std::to_string(info.port);
}

Result<ListenAddress> parse_listen_address(std::string_view text) {
  ListenAddress address;
  if (text.starts_with("unix:")) {
    address.unix_path = std::string(text.substr(5));
    if (address.unix_path.empty() || address.unix_path.front() != '/') {
      return bad_address(text, "the socket path is not absolute");
    }
    return address;
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) {
    return bad_address(text, "host or port is missing");
  }
  std::string_view host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad_address(text, "an IPv6 address needs brackets");
  }
  const std::string_view port = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size() || host.empty()) {
    return bad_address(text, "the port is not a number from 0 to 65535");
  }
  address.host = std::string(host);
  return address;
}

ListeningSockets::~ListeningSockets() = default;

Result<net::ListeningSocket> ListeningSockets::open(const ListenAddress& address, std::uint32_t unix_mode) {
  if (!address.unix_path.empty()) {
    net::UnixListenerOptions options;
    options.path = address.unix_path;
    options.mode = static_cast<mode_t>(unix_mode);
    return net::ListeningSocket::open(options);
  }
  net::TcpListenerOptions options;
  options.host = address.host;
  options.port = address.port;
  return net::ListeningSocket::open(options);
}

// Unused ones first: two listeners of one instance may both have asked for port 0.
ListeningSockets::Entry* ListeningSockets::find_usable(const std::string& owner, const std::string& text,
                                                       const ListenAddress& address) {
  std::erase_if(entries_, [](const Entry& entry) { return entry.users.empty() && !entry.socket.reachable(); });
  const bool any_port = address.unix_path.empty() && address.port == 0;
  Entry* shared = nullptr;
  for (Entry& entry : entries_) {
    const bool same = entry.last.address == text || listener_address(entry.socket.info()) == text;
    if (!same || (any_port && entry.last.owner != owner)) {
      continue;
    }
    if (entry.users.empty()) {
      return &entry;
    }
    if (shared == nullptr && entry.users.size() == 1 && ending_.contains(entry.last.owner)) {
      shared = &entry;
    }
  }
  return shared;
}

Result<ListeningSockets::Lease> ListeningSockets::acquire(const std::string& owner, const std::string& text,
                                                          const ListenAddress& address, std::uint32_t unix_mode) {
  const std::lock_guard lock(mutex_);
  Entry* entry = find_usable(owner, text, address);
  if (entry == nullptr) {
    if (entries_.size() >= kListeningSocketsMax) {
      return make_error(ErrorCode::kBusy, "this process listens on " + std::to_string(kListeningSocketsMax) +
                                              " addresses, which is the limit; configure fewer");
    }
    Result<net::ListeningSocket> socket = open(address, unix_mode);
    if (!socket) {
      return std::move(socket).error();
    }
    entries_.push_back(Entry{{}, {}, std::move(socket).value()});
    entry = &entries_.back();
  } else if (!address.unix_path.empty() && ::chmod(address.unix_path.c_str(), static_cast<mode_t>(unix_mode)) != 0) {
    return make_error(ErrorCode::kDenied, "the mode of the socket " + address.unix_path +
                                              " cannot be set; expected a file of this user; remove it and try again");
  }
  const Result<int> fd = entry->socket.duplicate();
  if (!fd) {
    erase_unused();
    return fd.error();
  }
  entry->users.push_back(User{++numbers_, owner, text});
  if (entry->users.size() == 1) {
    entry->last = entry->users.front();
  }
  return Lease{*fd, numbers_};
}

void ListeningSockets::release(std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  for (Entry& entry : entries_) {
    if (std::erase_if(entry.users, [number](const User& user) { return user.number == number; }) != 0 &&
        !entry.users.empty()) {
      entry.last = entry.users.front();
    }
  }
  erase_unused();
}

void ListeningSockets::erase_unused() {
  if (!changing_) {
    std::erase_if(entries_, [](const Entry& entry) { return entry.users.empty(); });
  }
}

void ListeningSockets::begin_change(std::set<std::string> ending) {
  const std::lock_guard lock(mutex_);
  changing_ = true;
  ending_ = std::move(ending);
}

void ListeningSockets::end_change() {
  const std::lock_guard lock(mutex_);
  changing_ = false;
  ending_.clear();
  erase_unused();
}

Status ListeningSockets::adopt(HandedSocket socket) {
  Result<net::ListeningSocket> adopted = net::ListeningSocket::adopt(socket.fd.release(), !socket.owner.empty());
  if (!adopted) {
    return std::move(adopted).error();
  }
  const std::lock_guard lock(mutex_);
  changing_ = true;
  const std::string address = socket.address.empty() ? listener_address(adopted->info()) : socket.address;
  entries_.push_back(Entry{{}, User{0, socket.owner, address}, std::move(adopted).value()});
  return {};
}

Result<std::vector<HandedSocket>> ListeningSockets::duplicate_all() const {
  std::vector<HandedSocket> result;
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : entries_) {
    const Result<int> fd = entry.socket.duplicate();
    if (!fd) {
      return fd.error();
    }
    result.push_back(HandedSocket{Descriptor(*fd), entry.last.owner, entry.last.address});
  }
  return result;
}

void ListeningSockets::leave_files() {
  const std::lock_guard lock(mutex_);
  for (Entry& entry : entries_) {
    entry.socket.leave_file();
  }
}

std::vector<std::string> ListeningSockets::addresses() const {
  std::vector<std::string> result;
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : entries_) {
    result.push_back(listener_address(entry.socket.info()));
  }
  return result;
}

std::size_t ListeningSockets::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace cm::host
