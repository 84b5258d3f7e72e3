// cm.bridge/1: mapping, echo, once, loops. Everything is a rehearsal, so no network is needed.
#include <claudemesh/ext/bridge.h>

#include <algorithm>

#include "sdk/checker/bench.hpp"
#include "sdk/checker/drivers.hpp"

namespace cm::checker {
namespace {

constexpr std::uint32_t kBoth = CM_BRIDGE_TO_MESH | CM_BRIDGE_TO_REMOTE;

std::string outcome_name(std::uint32_t outcome) {
  constexpr const char* kNames[] = {"nothing",   "FORWARDED", "REHEARSED", "UNMAPPED", "ECHO",
                                    "DUPLICATE", "LOOP",      "FILTERED",  "FAILED"};
  return outcome < std::size(kNames) ? kNames[outcome] : "outcome " + std::to_string(outcome);
}

template <typename Function>
Outcome with_bridge(const Subject& subject, Function&& function) {
  Bench bench(subject);
  if (!bench.bring_up()) {
    return bench.could_not("start");
  }
  BridgeDriver bridge(bench);
  if (!bridge.usable()) {
    return skipped("it has no cm.bridge/1 table (lifecycle.offers_its_extensions says why)");
  }
  const cm_status mapped = bridge.map("check", "check-room", "@check", kBoth);
  if (mapped == CM_UNSUPPORTED) {
    return skipped("only its options decide what is mapped");
  }
  if (mapped != CM_OK) {
    return failed("map answered " + status_name(mapped), "CM_OK for a new id, channel and target", "take the mapping");
  }
  return function(bench, bridge);
}

// Delivers and compares the single outcome.
Outcome expect(BridgeDriver& bridge, bool from_remote, const BridgeDriver::Message& message, std::uint32_t wanted,
               const std::string& what, const std::string& remedy) {
  progress(what);
  cm_status accepted = CM_INTERNAL;
  const auto crossings = bridge.deliver(from_remote, message, &accepted);
  if (accepted != CM_OK || crossings.size() != 1) {
    return failed(what + ": the call answered " + status_name(accepted) + " and " + std::to_string(crossings.size()) +
                      " crossings were told",
                  "CM_OK and one crossing", "call `crossed` once per accepted call and mapping");
  }
  return crossings[0].outcome == wanted
             ? ok()
             : failed(what + ": " + outcome_name(crossings[0].outcome), outcome_name(wanted), remedy);
}

Outcome tells_its_state(const Subject& subject) {
  return with_bridge(subject, [](Bench&, BridgeDriver& bridge) {
    const auto status = bridge.status();
    const std::string mark = bridge.mark();
    const bool plausible = !mark.empty() && mark.size() <= CM_BRIDGE_MARK_BYTES_MAX &&
                           mark.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._:-") == std::string::npos &&
                           mark.find(':') != std::string::npos;
    if (!status || status->state < CM_BRIDGE_CONNECTING || status->state > CM_BRIDGE_STOPPED) {
      return failed("status answers no state of the header", "CM_BRIDGE_CONNECTING to CM_BRIDGE_STOPPED",
                    "fill the struct that the caller gives, as far as its size goes");
    }
    return plausible ? ok()
                     : failed("the mark " + toml_text(mark), "NETWORK:NAME of [a-z0-9._:-], at most 64 bytes",
                              "make it of the network and of a name that stays the same over restarts");
  });
}

Outcome lists_its_mappings(const Subject& subject) {
  return with_bridge(subject, [](Bench&, BridgeDriver& bridge) {
    bridge.map("check-a", "room-a", "@a", kBoth);
    const auto listed = [&bridge] {
      std::vector<std::string> ids;
      bridge.table().mappings(
          bridge.instance(),
          [](void* user, const cm_bridge_mapping* mapping) noexcept {
            static_cast<std::vector<std::string>*>(user)->emplace_back(mapping->id.data, mapping->id.size);
          },
          &ids);
      return ids;
    };
    std::vector<std::string> ids = listed();
    const auto has = [&ids](const char* id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); };
    if (!has("check") || !has("check-a") || !std::is_sorted(ids.begin(), ids.end())) {
      return failed("mappings does not tell what was mapped, or not in the order of the ids",
                    "each mapping once, sorted by id", "keep mappings in a sorted map");
    }
    const cm_text_pview id = {"check-a", 7};
    const cm_status removed = bridge.table().unmap(bridge.instance(), id);
    const cm_status again = bridge.table().unmap(bridge.instance(), id);
    ids = listed();
    return removed == CM_OK && again == CM_GONE && !has("check-a")
               ? ok()
               : failed("unmap answered " + status_name(removed) + ", and " + status_name(again) + " the second time",
                        "CM_OK, then CM_GONE, and the mapping is gone", "remove it");
  });
}

Outcome carries_mapped(const Subject& subject) {
  return with_bridge(subject, [](Bench&, BridgeDriver& bridge) {
    for (const bool from_remote : {true, false}) {
      const std::string what = from_remote ? "a message of a mapped channel" : "a message to a mapped target";
      progress(what);
      const std::string channel = from_remote ? "check-room" : "@check";
      const auto crossings = bridge.deliver(from_remote, {.channel = channel, .id = "m1", .text = "good morning"});
      if (crossings.size() != 1 || crossings[0].outcome != CM_BRIDGE_REHEARSED) {
        return failed(what + ": " + (crossings.empty() ? "nothing" : outcome_name(crossings[0].outcome)), "REHEARSED",
                      "carry what a mapping covers");
      }
      const Crossing& crossing = crossings[0];
      const std::string wanted_channel = from_remote ? "@check" : "check-room";
      if (crossing.mapping_id != "check" || crossing.channel != wanted_channel || crossing.message_id != "m1" ||
          crossing.text.find("good morning") == std::string::npos) {
        return failed(what + " goes by the mapping \"" + crossing.mapping_id + "\" to \"" + crossing.channel + "\"",
                      "by \"check\" to \"" + wanted_channel + "\", with its text and id",
                      "fill every member of the crossing");
      }
      if (from_remote && !crossing.new_id.starts_with(CM_BRIDGE_CLIENT_ID_PREFIX)) {
        return failed("its client message id on the mesh is " + toml_text(crossing.new_id),
                      std::string("one that begins with ") + CM_BRIDGE_CLIENT_ID_PREFIX,
                      "make it of the remote id, so that a repetition is recognised");
      }
    }
    return ok();
  });
}

Outcome drops_unmapped(const Subject& subject) {
  return with_bridge(subject, [](Bench&, BridgeDriver& bridge) {
    const std::string remedy = "let cross only what a mapping covers";
    Outcome outcome = expect(bridge, true, {.channel = "another-room", .id = "u1"}, CM_BRIDGE_UNMAPPED,
                             "a message of a channel without a mapping", remedy);
    if (outcome.verdict != Verdict::kOk) {
      return outcome;
    }
    return expect(bridge, false, {.channel = "@others", .id = "u2"}, CM_BRIDGE_UNMAPPED,
                  "a message to a target without a mapping", remedy);
  });
}

Outcome keeps_directions(const Subject& subject) {
  return with_bridge(subject, [](Bench&, BridgeDriver& bridge) {
    if (bridge.map("check-in", "in-room", "@in", CM_BRIDGE_TO_MESH) != CM_OK) {
      return failed("a mapping of one direction is refused", "CM_OK", "take it");
    }
    progress("against the direction of a mapping");
    const auto crossings = bridge.deliver(false, {.channel = "@in", .id = "d1"});
    const bool dropped = crossings.size() == 1 &&
                         (crossings[0].outcome == CM_BRIDGE_FILTERED || crossings[0].outcome == CM_BRIDGE_UNMAPPED);
    return dropped ? ok()
                   : failed("a message against the direction of its mapping: " +
                                (crossings.empty() ? "nothing" : outcome_name(crossings[0].outcome)),
                            "FILTERED or UNMAPPED", "look at the directions of the mapping");
  });
}

Outcome drops_echoes(const Subject& subject) {
  return with_bridge(subject, [](Bench&, BridgeDriver& bridge) {
    const std::string remedy = "drop what the bridge itself has written";
    Outcome outcome =
        expect(bridge, true, {.channel = "check-room", .id = "e1", .flags = CM_BRIDGE_REHEARSAL | CM_BRIDGE_FROM_SELF},
               CM_BRIDGE_ECHO, "a message of its own account", remedy);
    if (outcome.verdict != Verdict::kOk) {
      return outcome;
    }
    return expect(bridge, false, {.channel = "@check", .id = "e2", .flags = CM_BRIDGE_REHEARSAL | CM_BRIDGE_FROM_SELF},
                  CM_BRIDGE_ECHO, "a message of its own key", remedy);
  });
}

Outcome carries_once(const Subject& subject) {
  return with_bridge(subject, [](Bench&, BridgeDriver& bridge) {
    for (const bool from_remote : {true, false}) {
      const std::string channel = from_remote ? "check-room" : "@check";
      for (std::uint32_t i = 0; i < CM_BRIDGE_REMEMBERED / 4; ++i) {
        bridge.deliver(from_remote, {.channel = channel, .id = "n" + std::to_string(i)});
      }
      Outcome outcome = expect(bridge, from_remote, {.channel = channel, .id = "n0"}, CM_BRIDGE_DUPLICATE,
                               "a message that crossed 256 messages ago",
                               "remember at least CM_BRIDGE_REMEMBERED ids of each direction");
      if (outcome.verdict != Verdict::kOk) {
        return outcome;
      }
    }
    return ok();
  });
}

Outcome ends_loops(const Subject& subject) {
  return with_bridge(subject, [](Bench&, BridgeDriver& bridge) {
    const std::string mark = bridge.mark();
    const std::string remedy = "find your own mark, and count marks, in `trail` and in the last line of the text";
    Outcome outcome = expect(bridge, true, {.channel = "check-room", .id = "l1", .trail = "other:x " + mark},
                             CM_BRIDGE_LOOP, "a message with its own mark beside the text", remedy);
    if (outcome.verdict != Verdict::kOk) {
      return outcome;
    }
    outcome =
        expect(bridge, false, {.channel = "@check", .id = "l2", .text = "hello" CM_BRIDGE_TRAIL_LINE "other:x " + mark},
               CM_BRIDGE_LOOP, "a message with its own mark in the text", remedy);
    if (outcome.verdict != Verdict::kOk) {
      return outcome;
    }
    return expect(bridge, true, {.channel = "check-room", .id = "l3", .trail = "a:1 b:2 c:3 d:4"}, CM_BRIDGE_LOOP,
                  "a message with CM_BRIDGE_HOPS_MAX marks", remedy);
  });
}

Outcome leaves_its_mark(const Subject& subject) {
  return with_bridge(subject, [](Bench&, BridgeDriver& bridge) {
    const std::string mark = bridge.mark();
    progress("marks of a message that crosses");
    const auto crossings = bridge.deliver(true, {.channel = "check-room", .id = "t1", .trail = "other:x"});
    if (crossings.size() != 1) {
      return failed("no crossing was told", "one", "call `crossed`");
    }
    const Crossing& crossing = crossings[0];
    const std::string wanted = "other:x " + mark;
    return crossing.trail == wanted && crossing.text.ends_with(CM_BRIDGE_TRAIL_LINE + wanted)
               ? ok()
               : failed("a message that came with the trail \"other:x\" goes on with \"" + crossing.trail + "\"",
                        "\"" + wanted + "\", and that as the last line of the text for the mesh",
                        "append your mark and write CM_BRIDGE_TRAIL_LINE");
  });
}

Outcome counts_crossings(const Subject& subject) {
  return with_bridge(subject, [](Bench&, BridgeDriver& bridge) {
    const auto before = bridge.status();
    bridge.deliver(true, {.channel = "nowhere", .id = "c1"});
    bridge.deliver(true, {.channel = "check-room", .id = "c2"});
    bridge.deliver(true, {.channel = "check-room", .id = "c2"});
    const auto after = bridge.status();
    return before && after && after->dropped_unmapped == before->dropped_unmapped + 1 &&
                   after->dropped_duplicate == before->dropped_duplicate + 1
               ? ok()
               : failed("one unmapped and one doubled message are not in the counters", "each drop is counted once",
                        "count where you decide");
  });
}

Outcome refuses_wrong_mappings(const Subject& subject) {
  return with_bridge(subject, [](Bench&, BridgeDriver& bridge) {
    for (const auto& [id, remote, target] :
         {std::tuple("", "r", "@t"), std::tuple("bad id!", "r", "@t"), std::tuple("ok1", "", "@t"),
          std::tuple("ok2", "r", ""), std::tuple("ok3", "check-room", "@check")}) {
      progress(std::string("map ") + id + " " + remote + " " + target);
      const cm_status status = bridge.map(id, remote, target, kBoth);
      if (status != CM_INVALID) {
        return failed("a mapping with the id \"" + std::string(id) + "\", the channel \"" + remote +
                          "\" and the target \"" + target + "\" answered " + status_name(status),
                      "CM_INVALID: ids of [A-Za-z0-9_-], no empty side, no joint twice",
                      "check the mapping before it is taken");
      }
    }
    return ok();
  });
}

constexpr Check kChecks[] = {
    {"bridge.tells_its_state", 5, "It has a state and a mark.", tells_its_state, CM_BRIDGE_ID},
    {"bridge.lists_its_mappings", 5, "Its mappings can be listed and removed.", lists_its_mappings, CM_BRIDGE_ID},
    {"bridge.refuses_wrong_mappings", 12, "It refuses mappings that cannot be.", refuses_wrong_mappings, CM_BRIDGE_ID},
    {"bridge.carries_mapped", 5, "It carries what is mapped, with text, ids and channel.", carries_mapped,
     CM_BRIDGE_ID},
    {"bridge.drops_unmapped", 5, "It carries nothing that is not mapped.", drops_unmapped, CM_BRIDGE_ID},
    {"bridge.keeps_directions", 5, "It carries only in the directions of a mapping.", keeps_directions, CM_BRIDGE_ID},
    {"bridge.drops_echoes", 5, "Its own messages do not come back.", drops_echoes, CM_BRIDGE_ID},
    {"bridge.carries_once", 5, "A message crosses once.", carries_once, CM_BRIDGE_ID},
    {"bridge.ends_loops", 5, "A message with its mark, or with too many marks, goes no further.", ends_loops,
     CM_BRIDGE_ID},
    {"bridge.leaves_its_mark", 5, "It appends its mark to the trail.", leaves_its_mark, CM_BRIDGE_ID},
    {"bridge.counts_crossings", 18, "It counts what it drops.", counts_crossings, CM_BRIDGE_ID},
};

}  // namespace

std::span<const Check> bridge_checks() {
  return kChecks;
}

}  // namespace cm::checker
