// cm.transport/1: states, order, back-pressure, reconnect, and what close promises.
#include <claudemesh/ext/transport.h>

#include <algorithm>
#include <set>

#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"

namespace cm::checker {
namespace {

constexpr std::uint64_t kSendsMax = 100'000;
constexpr std::uint64_t kReconnectLimitMs = 180'000;
constexpr const char* kBody = "Y2lwaGVy";

template <typename Function>
Outcome with_link(const Subject& subject, bool open, Function&& function) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  const auto link = std::make_shared<LinkDriver>(bench);
  bench.keep(link);
  if (!link->usable()) {
    return skipped("it has no cm.transport/1 table (lifecycle.offers_its_extensions says why)");
  }
  if (open && !link->open_and_wait()) {
    return skipped("no link opens to " + subject.config.url +
                   "; name a place that it can reach with `url` in [check] of --config FILE");
  }
  return function(bench, *link);
}

std::string state_name(std::uint32_t state) {
  constexpr const char* kNames[] = {"none", "CONNECTING", "OPEN", "RECONNECTING", "CLOSED", "REFUSED"};
  return state < std::size(kNames) ? kNames[state] : "state " + std::to_string(state);
}

Outcome opens(const Subject& subject) {
  return with_link(subject, false, [&subject](Bench&, LinkDriver& link) {
    if (const cm_status status = link.open(subject.config.url); status != CM_OK) {
      return failed("open answered " + status_name(status), "CM_OK: whether it can connect shows later",
                    "take the identity, answer, and connect afterwards");
    }
    if (!link.wait_state(CM_LINK_OPEN, 60'000)) {
      return link.state() == 0 ? failed("no state was told within 60 s", "CONNECTING, then OPEN or RECONNECTING",
                                        "call `state` whenever it changes")
                               : skipped("the link does not open here; it is " + state_name(link.state()) +
                                         " after 60 s; name a place with `url` in [check] of --config FILE");
    }
    const std::uint32_t first = link.states.front().state;
    return first == CM_LINK_CONNECTING || first == CM_LINK_OPEN
               ? ok()
               : failed("the first state is " + state_name(first), "CONNECTING or OPEN",
                        "tell the states as they come");
  });
}

Outcome names_itself(const Subject& subject) {
  return with_link(subject, false, [](Bench&, LinkDriver& link) {
    const cm_text_hview name = link.table().name(link.instance());
    return name.size > 0 && name.size <= 64 && name.data != nullptr
               ? ok()
               : failed("a name of " + std::to_string(name.size) + " bytes", "1 to 64 bytes, such as \"broker\"",
                        "answer a name that people can read in a list");
  });
}

Outcome answers_each_send(const Subject& subject) {
  return with_link(subject, true, [](Bench& bench, LinkDriver& link) {
    std::size_t taken_count = 0;
    for (int i = 0; i < 40; ++i) {
      std::uint64_t taken = 0;
      if (link.send("c" + std::to_string(i), kBody, &taken) == CM_OK) {
        ++taken_count;
        if (taken != 1) {
          return failed("send of one message answered CM_OK and took " + std::to_string(taken), "out_taken is 1",
                        "count what was taken");
        }
      }
      bench.run(20);
    }
    bench.run(60'000, [&] { return link.sent.size() >= taken_count; });
    bench.run(60'000);
    std::multiset<std::string> ids;
    for (const LinkSent& sent : link.sent) {
      ids.insert(sent.id);
    }
    for (const std::string& id : ids) {
      if (ids.count(id) != 1) {
        return failed("`sent` came " + std::to_string(ids.count(id)) + " times for one message", "once",
                      "forget a message when its result is told");
      }
    }
    return ids.size() == taken_count
               ? ok()
               : failed(std::to_string(taken_count) + " messages were taken, and `sent` came for " +
                            std::to_string(ids.size()),
                        "one `sent` for each, also when nobody answers", "start a timer for every message that waits");
  });
}

Outcome keeps_the_order(const Subject& subject) {
  return with_link(subject, true, [](Bench& bench, LinkDriver& link) {
    std::vector<std::string> taken;
    for (int i = 0; i < 60; ++i) {
      if (link.send("o" + std::to_string(i), kBody) == CM_OK) {
        taken.push_back("o" + std::to_string(i));
      } else {
        bench.run(500);
      }
    }
    bench.run(60'000, [&] { return link.sent.size() >= taken.size(); });
    std::vector<std::string> told;
    for (const LinkSent& sent : link.sent) {
      if (sent.outcome == CM_SEND_ACCEPTED) {
        told.push_back(sent.id);
      }
    }
    std::vector<std::string> arrived = bench.peer().received.empty() ? told : bench.peer().received;
    std::vector<std::string> expected(
        taken.begin(), taken.begin() + static_cast<std::ptrdiff_t>(std::min(taken.size(), arrived.size())));
    return arrived == expected ? ok()
                               : failed("messages arrive in another order than they were sent",
                                        "the order of the calls, for one link and one priority",
                                        "keep a queue; do not send what comes later first");
  });
}

Outcome delivers_in_order(const Subject& subject) {
  return with_link(subject, true, [](Bench& bench, LinkDriver& link) {
    std::vector<std::string> expected;
    for (int i = 0; i < 30; ++i) {
      expected.push_back("m" + std::to_string(i));
      bench.peer().push_message(expected.back());
    }
    bench.run(10'000, [&] { return link.inbound.size() >= expected.size(); });
    if (link.inbound.empty()) {
      return skipped("it takes no messages from the checker's peer");
    }
    return link.inbound == expected
               ? ok()
               : failed(std::to_string(link.inbound.size()) +
                            " of 30 pushed messages arrived, or in "
                            "another order",
                        "all of them, in the order of the other side", "hand over at once what one read has brought");
  });
}

Outcome pushes_back(const Subject& subject) {
  return with_link(subject, true, [](Bench& bench, LinkDriver& link) {
    bench.peer().mute = true;  // nothing is acknowledged, so what is taken must wait
    std::uint64_t count = 0;
    cm_status status = CM_OK;
    while (count < kSendsMax && status == CM_OK) {
      status = link.send("b" + std::to_string(count++), kBody);
      if (count % 64 == 0) {
        bench.run(1);
      }
    }
    bench.run(1);  // what was sent last has its answer, too, when answers do not wait for the peer
    bench.peer().mute = false;
    const bool answers_at_once = link.sent.size() + 1 >= count && bench.peer().received.empty();
    if (status == CM_OK && !answers_at_once) {
      return failed(std::to_string(kSendsMax) + " messages were taken without one acknowledgement",
                    "CM_BUSY when the window is full: the caller's outbox keeps the rest",
                    "bound what may wait, and make the bound an option");
    }
    if (status != CM_OK && status != CM_BUSY) {
      return failed("a full window answered " + status_name(status), "CM_BUSY",
                    "CM_GONE means that the link is not open");
    }
    bench.run(120'000);
    return answers_at_once || link.send("after", kBody) != CM_BUSY
               ? ok()
               : failed("two minutes later it is still CM_BUSY", "room again once messages are answered or timed out",
                        "free the place of every message that has its result");
  });
}

Outcome reconnects(const Subject& subject) {
  return with_link(subject, true, [](Bench& bench, LinkDriver& link) {
    if (bench.peer().connections == 0) {
      return skipped("it keeps no connection to the checker's peer");
    }
    for (int i = 0; i < 3; ++i) {
      progress("the connection breaks, time " + std::to_string(i + 1));
      bench.peer().drop_connections();
      if (!bench.run(30'000, [&link] { return link.state() != CM_LINK_OPEN; })) {
        return failed("30 s after the connection broke the link says OPEN", "RECONNECTING",
                      "tell the new state as soon as the socket is closed");
      }
      if (!link.wait_state(CM_LINK_OPEN, kReconnectLimitMs)) {
        return failed("three minutes after the connection broke the link is " + state_name(link.state()),
                      "OPEN again: it connects until close", "try again with a growing wait");
      }
      if (link.send("r" + std::to_string(i), kBody) != CM_OK) {
        return failed("after a reconnect nothing can be sent", "CM_OK",
                      "begin the new connection with an empty window");
      }
      bench.run(2'000);
    }
    return ok();
  });
}

Outcome refuses_before_open(const Subject& subject) {
  Bench bench(subject);
  bench.peer().stop_listening();
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  const auto link = std::make_shared<LinkDriver>(bench);
  bench.keep(link);
  if (!link->usable() || link->open("ws://peer:1/nobody") != CM_OK) {
    return skipped("open refuses a place where nobody listens");
  }
  bench.run(5'000);
  if (link->state() == CM_LINK_OPEN) {
    return skipped("it opens without a connection");
  }
  std::uint64_t taken = 77;
  const cm_status status = link->send("early", kBody, &taken);
  return (status == CM_GONE || status == CM_BUSY) && taken == 77
             ? ok()
             : failed("send on a link that is not open answered " + status_name(status) +
                          (taken == 77 ? "" : " and wrote out_taken"),
                      "CM_GONE, and out_taken left alone", "look at the state first");
}

Outcome knows_stale_links(const Subject& subject) {
  return with_link(subject, false, [](Bench& bench, LinkDriver& link) {
    cm_outbound message = {};
    message.size = sizeof(message);
    std::uint64_t taken = 77;
    const cm_text_pview id = {"x", 1};
    for (const cm_handle handle : {cm_handle(0), cm_handle(0x1234567800000001ULL), ~cm_handle(0)}) {
      progress("send, acknowledge, request and close with the handle " + std::to_string(handle));
      const cm_status sent = link.table().send(link.instance(), handle, &message, 1, &taken);
      const cm_status acknowledged = link.table().acknowledge(link.instance(), handle, id, id);
      link.table().close(link.instance(), handle);
      if (sent != CM_GONE || acknowledged != CM_GONE || taken != 77) {
        return failed("with a handle that was never given send answered " + status_name(sent) + ", acknowledge " +
                          status_name(acknowledged),
                      "CM_GONE from both, and nothing written", "look handles up in a table that checks generations");
      }
    }
    if (link.open(bench.about().config.url) != CM_OK) {
      return ok();
    }
    bench.run(100);
    const cm_handle stale = link.link();
    link.close();
    progress("send on a closed link");
    const cm_status after = link.table().send(link.instance(), stale, &message, 1, &taken);
    return after == CM_GONE ? ok()
                            : failed("send on a closed link answered " + status_name(after), "CM_GONE",
                                     "make the handle stale in close");
  });
}

Outcome is_silent_after_close(const Subject& subject) {
  return with_link(subject, false, [](Bench& bench, LinkDriver& link) {
    if (link.open(bench.about().config.url) != CM_OK) {
      return skipped("open refuses");
    }
    link.wait_state(CM_LINK_OPEN, 30'000);
    for (int i = 0; i < 5; ++i) {
      link.send("s" + std::to_string(i), kBody);
    }
    bench.peer().push_message("late");
    link.close();
    bench.run(120'000);
    return link.late_calls == 0 ? ok()
                                : failed(std::to_string(link.late_calls) + " callbacks came after close had returned",
                                         "none: the owner may be gone", "forget the callbacks in close");
  });
}

constexpr Check kChecks[] = {
    {"transport.names_itself", 5, "It has a name.", names_itself, CM_TRANSPORT_ID},
    {"transport.opens", 8, "A link tells its states, from CONNECTING to OPEN.", opens, CM_TRANSPORT_ID},
    {"transport.answers_each_send", 12, "Each message that it takes gets one result.", answers_each_send,
     CM_TRANSPORT_ID},
    {"transport.keeps_the_order", 8, "Messages leave in the order of the calls.", keeps_the_order, CM_TRANSPORT_ID},
    {"transport.delivers_in_order", 8, "Messages arrive in the order of the other side.", delivers_in_order,
     CM_TRANSPORT_ID},
    {"transport.pushes_back", 9, "It answers CM_BUSY instead of keeping more and more.", pushes_back, CM_TRANSPORT_ID,
     30'000},
    {"transport.reconnects", 9, "It connects again after a break.", reconnects, CM_TRANSPORT_ID},
    {"transport.refuses_before_open", 12, "It takes nothing before it is open.", refuses_before_open, CM_TRANSPORT_ID},
    {"transport.knows_stale_links", 10, "Stale and unknown links are CM_GONE.", knows_stale_links, CM_TRANSPORT_ID},
    {"transport.is_silent_after_close", 10, "No callback comes after close.", is_silent_after_close, CM_TRANSPORT_ID},
};

}  // namespace

std::span<const Check> transport_checks() {
  return kChecks;
}

}  // namespace cm::checker
