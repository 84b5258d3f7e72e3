#include <dirent.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "host/net/detail/http_server_core.hpp"

namespace cm::net::detail {

namespace {

constexpr std::string_view kListenState = "0A";  // TCP_LISTEN in /proc/net/tcp

// The inode of the socket that listens on `port`, or an empty text.
std::string listening_inode(const char* table, std::uint16_t port) {
  std::ifstream in(table);
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    std::istringstream fields(line);
    std::string slot, local, remote, state, queues, timer, retransmits, user, timeout, inode;
    fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> user >> timeout >> inode;
    const std::size_t colon = local.rfind(':');
    if (state == kListenState && colon != std::string::npos &&
        std::strtoul(local.c_str() + colon + 1, nullptr, 16) == port) {
      return inode;
    }
  }
  return {};
}

bool process_has_socket(const std::string& process, const std::string& link_text) {
  const std::string folder = "/proc/" + process + "/fd";
  DIR* directory = opendir(folder.c_str());
  if (directory == nullptr) {
    return false;
  }
  bool found = false;
  while (const dirent* entry = found ? nullptr : readdir(directory)) {
    std::array<char, 64> target{};
    const ssize_t size = readlink((folder + "/" + entry->d_name).c_str(), target.data(), target.size());
    found = size > 0 && std::string_view(target.data(), static_cast<std::size_t>(size)) == link_text;
  }
  closedir(directory);
  return found;
}

}  // namespace

// Only at start-up, after a bind failed: reading /proc takes milliseconds.
std::string describe_port_owner(std::uint16_t port) {
  const std::string unknown = " by another process";
  std::string inode = listening_inode("/proc/net/tcp", port);
  if (inode.empty()) {
    inode = listening_inode("/proc/net/tcp6", port);
  }
  DIR* processes = inode.empty() ? nullptr : opendir("/proc");
  if (processes == nullptr) {
    return unknown;
  }
  std::string owner;
  while (const dirent* entry = owner.empty() ? readdir(processes) : nullptr) {
    const std::string process = entry->d_name;
    if (process.find_first_not_of("0123456789") == std::string::npos &&
        process_has_socket(process, "socket:[" + inode + "]")) {
      std::ifstream name_file("/proc/" + process + "/comm");
      std::string name;
      std::getline(name_file, name);
      owner = " by process " + process + " (" + name + ")";
    }
  }
  closedir(processes);
  return owner.empty() ? unknown : owner;
}

}  // namespace cm::net::detail
