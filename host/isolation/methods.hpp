// What a frame means. Numbers are private to one build: host and runner are the same executable.
#pragma once

#include <cstdint>

namespace cm::isolation {

enum class Method : std::uint16_t {
  kNone,
  // An answer to a frame with the same call number, in either direction: status, then what the method defines.
  kReply,

  // --- host to child: life cycle ---
  kCreate,         // instance name, self, granted tables, log level, active options, provided ids
  kStart,          // -
  kDrain,          // deadline_ms
  kStop,           // -; the child ends
  kReloadPrepare,  // candidate options
  kReloadFinish,   // commit
  kPing,           // -
  // --- host to child: callbacks ---
  kEvent,
  kGoingAway,
  kHttpRequest,
  kHttpStream,
  kHttpResult,
  kSocketOpened,
  kSocketMessages,
  kSocketPong,
  kSocketDrained,
  kSocketBusy,
  kSocketClosed,
  kHookInvoke,
  kHookResult,  // of a hook that the child asked
  kLinkOpen,
  kLinkClose,
  kLinkSend,
  kLinkAcknowledge,
  kLinkRequest,
  kPeerSent,
  kPeerEvent,
  kBridgeMap,
  kBridgeUnmap,
  kBridgeDeliver,

  // --- child to host: life cycle ---
  kReady,     // library loaded: ABI version
  kCreated,   // status, text, facts
  kStepDone,  // which, status, text; its call is that of kReloadPrepare
  kPong,
  // --- child to host, one way ---
  kLog,
  kMetrics,
  kPublish,
  kHookDone,
  kLinkState,
  kLinkInbound,
  kLinkSent,
  kLinkReply,
  kBridgeState,
  kBridgeCrossing,
  kMisbehaved,
  kHttpRespond,
  kSocketSend,
  kSocketControl,
  // --- child to host, answered ---
  kMetricDefine,
  kSubscribe,
  kUnsubscribe,
  kAcquire,
  kRelease,
  kHttpListen,
  kHttpRoute,
  kHttpClose,
  kHttpLookup,
  kHttpStreamBegin,
  kHttpStreamWrite,
  kHttpStreamEnd,
  kHttpSend,
  kHttpCancel,
  kSocketAccept,
  kSocketConnect,
  kSocketBuffered,
  kLinkSign,
  kHookAsk,
  kPeerSend,
  kPeerSubscribe,
  kPeerUnsubscribe,
  kCount,
};

// The callback that the child is in, kept in the shared memory so that a crash can be named.
enum class Callback : std::uint32_t {
  kNone,
  kLoad,
  kCreate,
  kConfigure,
  kGetExtension,
  kStart,
  kDrain,
  kStop,
  kDestroy,
  kReloadPrepare,
  kReloadFinish,
  kPost,
  kTimer,
  kEvent,
  kGoingAway,
  kHttpRequest,
  kHttpStream,
  kHttpResult,
  kWebSocket,
  kHook,
  kTransport,
  kPeer,
  kBridge,
  kCount,
};

// "timer"; never null.
const char* callback_name(Callback callback) noexcept;

// Which life-cycle step a kStepDone ends.
enum class Step : std::uint32_t { kStart = 1, kDrain = 2, kReloadPrepare = 3 };
inline constexpr std::uint64_t kStepsMax = 16;

// What a plugin in a child gets as the ticket of a step: the step, and the call that asked for it (0 where there can be
// only one). Never CM_NO_HANDLE, because no step is 0.
constexpr std::uint64_t step_ticket(Step step, std::uint64_t call) noexcept {
  return call * kStepsMax + static_cast<std::uint64_t>(step);
}

}  // namespace cm::isolation
