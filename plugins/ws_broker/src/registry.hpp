// The presences of all meshes: who is there, under which keys, bound to which connection. Decides replacement and
// reattachment (wire/02 section 1.3); sends nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "plugins/ws_broker/src/model.hpp"

namespace cm::broker {

class Registry {
 public:
  // Takes a filled presence (mesh, member, keys set) and indexes it.
  Presence& add(std::unique_ptr<Presence> presence);
  // Forgets it everywhere. The presence dies with the return value, so that callers can still announce it.
  std::unique_ptr<Presence> remove(Presence& presence);
  void set_session_id(Presence& presence, std::string session_id);

  // `hello` (case a and b of the description): only presences in their grace time, only of the same member.
  static Presence* reattachable(Mesh& mesh, const Member& member, std::string_view session_key,
                                std::string_view session_id);
  // `session_hello`: same session key and member, online or in grace.
  static Presence* session_presence(Mesh& mesh, const Member& member, std::string_view session_key);
  // Presences of the member that claim the same session id. The original closes those of other members too, which lets
  // anybody throw out anybody.
  static std::vector<Presence*> with_session_id(Mesh& mesh, const Member& member, std::string_view session_id);
  // The presence that a key addresses: one that proved the session key before one that only claimed it.
  static Presence* by_session_key(Mesh& mesh, std::string_view session_key);
  // Every presence of the mesh in the order of the hellos. The function must not add or remove presences.
  static void for_each(Mesh& mesh, const std::function<void(Presence&)>& function);

  // By its number, or null when it was removed.
  Presence* find(std::uint64_t number) const noexcept;

  std::size_t size() const noexcept { return by_number_.size(); }

 private:
  std::uint64_t next_number_ = 1;
  std::unordered_map<std::uint64_t, Presence*> by_number_;
};

}  // namespace cm::broker
