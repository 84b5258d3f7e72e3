// A simulated mesh: one broker and a few members, each with a daemon, running the real plugins. Creating the mesh,
// inviting and joining go through the same HTTP calls as in real life.
#pragma once

#include <claudemesh/cpp/result.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "protocol/keys.hpp"
#include "sdk/simhost/world.hpp"
#include "sim/checker.hpp"

namespace cm::sim {

struct MeshWorldOptions {
  std::uint64_t seed = 1;
  std::uint32_t members = 3;
  std::string broker_plugin = "ws_broker";  // tests put a deliberately broken build here
  std::string daemon_plugin = "peer_daemon";
  std::function<void(std::string_view)> trace;
};

struct Member {
  std::string name;
  Node* node = nullptr;
  std::filesystem::path home;
  std::string socket;  // network address of its local API
  std::string pubkey;
};

class MeshWorld {
 public:
  explicit MeshWorld(MeshWorldOptions options);
  ~MeshWorld();
  MeshWorld(const MeshWorld&) = delete;
  MeshWorld& operator=(const MeshWorld&) = delete;

  // Boots the broker, creates the mesh, lets everybody join, boots the daemons and waits until all are connected.
  Status set_up();

  World& world() noexcept { return *world_; }
  Node& broker() noexcept { return *broker_; }
  std::vector<Member>& members() noexcept { return members_; }
  const std::string& mesh_slug() const noexcept { return slug_; }

  // Runs the world until the answer is there (or the connection failed); for calls between the faults.
  HttpAnswer call(const std::string& address, const std::string& method, const std::string& target,
                  const std::string& body = {}, std::uint64_t timeout_ms = 60'000);
  // The inbox of a member, oldest first; empty result when the daemon does not answer.
  Result<std::vector<ReceivedMessage>> inbox(Member& member);
  bool all_linked();

 private:
  Status join(Member& member, const std::string& token);
  std::string broker_toml() const;
  std::string daemon_toml(const Member& member) const;

  MeshWorldOptions options_;
  std::filesystem::path root_;  // real folder for the members' homes; removed at the end
  std::unique_ptr<World> world_;
  Node* broker_ = nullptr;
  std::vector<Member> members_;
  std::string slug_;
};

}  // namespace cm::sim
