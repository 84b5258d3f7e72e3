// The events of the daemon: to the streams of GET /v1/events and to subscribers of cm.peer/1.
#pragma once

#include <claudemesh/ext/peer.h>
#include <claudemesh/cpp/http.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace cm::daemon {

inline constexpr std::size_t kStreamsMax = 256;
inline constexpr std::size_t kStreamBacklogBytesMax = 4 * 1024 * 1024;  // beyond what the host buffers
inline constexpr std::uint64_t kKeepaliveMs = 15'000;
inline constexpr std::uint64_t kDroppedLingerMs = 30'000;  // how long a dropped reader may take its last event
inline constexpr std::size_t kStreamMemoryMax = 512;       // messages that a stream remembers having shown

// `json` is an object; `fields` of the publisher without the time stamp.
struct Event {
  std::string kind;    // "message", "peer_join", "peer_leave", "system", "broker_status"
  std::string fields;  // members of the data object, without braces
  std::string mesh;
  std::string recipient_kind;  // "", "member", "session"
  std::string recipient_pubkey;
  std::string message_key;  // equal for copies of one message that reached several identities of ours; may be empty
};

// What a stream may see (wire/06 section 8).
struct EventScope {
  bool session = false;  // false: everything of this user
  std::string mesh;
  std::string session_pubkey;
  std::string member_pubkey;
};
bool is_visible(const Event& event, const EventScope& scope);

// Lives on the daemon's loop.
class EventHub {
 public:
  void bind(const HostApi& host, Metric dropped);
  // Ends all streams.
  void close();

  void publish(const Event& event);
  // Answers the request with a stream. False when kStreamsMax streams are open: nothing was answered.
  bool open_stream(const HttpRequest& request, EventScope scope);
  std::size_t stream_count() const noexcept { return streams_.size(); }

  cm_handle subscribe(cm_peer_event callback, void* user);
  void unsubscribe(cm_handle subscription);

 private:
  struct Stream {
    EventHub* hub = nullptr;
    cm_handle key = CM_NO_HANDLE;
    HttpRequest request;
    EventScope scope;
    std::uint64_t next_id = 1;
    bool blocked = false;  // the host took nothing; wait for DRAINED
    bool dropped = false;  // too slow: one last event, then the end
    std::deque<std::string> backlog;
    std::size_t backlog_bytes = 0;
    std::uint64_t lost = 0;
    std::deque<std::string> shown;  // message keys, oldest first
    std::set<std::string> shown_index;
    std::unique_ptr<Timer> linger;
  };
  struct Subscriber {
    cm_peer_event callback;
    void* user;
  };

  static void stream_changed(void* user, cm_handle request, std::uint32_t what) noexcept;
  void keepalive();
  void offer(Stream& stream, const Event& event, const std::string& data);
  void write(Stream& stream, std::string text);
  void flush(Stream& stream);
  void drop(Stream& stream);
  void end(cm_handle key);
  bool first_showing(Stream& stream, const std::string& message_key);

  const HostApi* host_ = nullptr;
  Metric dropped_;
  cm_handle next_ = 1;
  std::map<cm_handle, std::unique_ptr<Stream>> streams_;
  std::map<cm_handle, Subscriber> subscribers_;
  Timer keepalive_;
};

}  // namespace cm::daemon
