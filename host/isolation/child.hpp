// What the host holds for one running child of an isolated plugin. [loop]
#pragma once

#include "host/isolation/isolated_plugin.hpp"

namespace cm::isolation {

struct IsolatedPlugin::Child {
  Child(IsolatedPlugin& owner, std::uint64_t number, std::unique_ptr<Channel> channel, Session::Handlers handlers)
      : generation(number),
        session(*owner.host_side_, std::move(channel), std::move(handlers)),
        context{session, *owner.host_side_, owner.host_, owner.counters_, owner.metrics_, owner.streams_},
        basic(context),
        http(context),
        sockets(context),
        registry(context) {}

  const std::uint64_t generation;
  ProcessId process = ProcessId::kNone;
  pid_t pid = 0;
  Session session;
  ForwardContext context;
  ForwardBasic basic;
  ForwardHttp http;
  ForwardSockets sockets;
  ForwardRegistry registry;

  bool answers_pings = false;  // the library is loaded
  std::string ended_because;   // why the host ended it; empty: it ended by itself
  std::int64_t last_pong_ns = 0;
  std::int64_t ready_by_ns = 0;  // 0: it is ready
  std::int64_t last_second_ns = 0;
  std::int64_t cpu_window_ns = 0;
  std::int64_t cpu_used_ns = 0;  // at the beginning of the window
};

}  // namespace cm::isolation
