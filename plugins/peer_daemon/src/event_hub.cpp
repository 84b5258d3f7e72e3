#include "plugins/peer_daemon/src/event_hub.hpp"

#include <utility>

#include "plugins/peer_daemon/src/iso_time.hpp"

namespace cm::daemon {

bool is_visible(const Event& event, const EventScope& scope) {
  if (!scope.session) {
    return true;
  }
  if (!event.mesh.empty() && event.mesh != scope.mesh) {
    return false;
  }
  if (event.recipient_kind == "session") {
    return event.recipient_pubkey == scope.session_pubkey;
  }
  if (event.recipient_kind == "member") {
    return event.recipient_pubkey == scope.member_pubkey;
  }
  return event.kind != "message";  // a message that names no recipient is nobody's: closed, not open
}

void EventHub::bind(const HostApi& host, Metric dropped) {
  host_ = &host;
  dropped_ = dropped;
  keepalive_.bind(host);
}

void EventHub::close() {
  keepalive_.cancel();
  for (auto& [key, stream] : std::exchange(streams_, {})) {
    stream->request.stream_end();
  }
  subscribers_.clear();
}

cm_handle EventHub::subscribe(cm_peer_event callback, void* user) {
  const cm_handle handle = next_++;
  subscribers_.emplace(handle, Subscriber{callback, user});
  return handle;
}

void EventHub::unsubscribe(cm_handle subscription) {
  subscribers_.erase(subscription);
}

void EventHub::publish(const Event& event) {
  std::string data = "{\"ts\":\"" + format_iso_ms(host_->unix_ms()) + "\"";
  if (!event.fields.empty()) {
    data += ',';
    data += event.fields;
  }
  data += '}';
  std::vector<cm_handle> keys;
  for (const auto& [key, stream] : streams_) {
    keys.push_back(key);  // writing may end a stream
  }
  for (const cm_handle key : keys) {
    const auto place = streams_.find(key);
    if (place != streams_.end() && is_visible(event, place->second->scope)) {
      offer(*place->second, event, data);
    }
  }
  const auto subscribers = subscribers_;  // a callback may subscribe or leave
  for (const auto& [handle, subscriber] : subscribers) {
    if (subscribers_.contains(handle)) {
      subscriber.callback(subscriber.user, to_hview(event.kind), to_hview(data));
    }
  }
}

bool EventHub::open_stream(const HttpRequest& request, EventScope scope) {
  if (streams_.size() >= kStreamsMax) {
    return false;
  }
  const cm_handle key = next_++;
  auto owned =
      std::make_unique<Stream>(Stream{this, key, request, std::move(scope), 1, false, false, {}, 0, 0, {}, {}, {}});
  Stream* stream = owned.get();
  streams_.emplace(key, std::move(owned));
  const HttpHeader type{"Content-Type", "text/event-stream"};
  const HttpHeader cache{"Cache-Control", "no-cache, no-transform"};
  const HttpHeader buffering{"X-Accel-Buffering", "no"};
  if (request.stream_begin(200, {type, cache, buffering}, &EventHub::stream_changed, stream) != CM_OK) {
    streams_.erase(key);
    return true;  // the peer is gone already; there is nobody to answer
  }
  write(*stream, ": connected\n\n");
  if (!keepalive_.active()) {
    keepalive_.every_ms(kKeepaliveMs, [this] { keepalive(); });
  }
  return true;
}

void EventHub::keepalive() {
  for (auto& [key, stream] : streams_) {
    if (!stream->blocked && !stream->dropped) {
      stream->blocked = stream->request.stream_write(": keepalive\n\n") == CM_BUSY;
    }
  }
  if (streams_.empty()) {
    keepalive_.cancel();
  }
}

// A broadcast reaches every identity of ours; a reader that sees several of them wants it once.
bool EventHub::first_showing(Stream& stream, const std::string& message_key) {
  if (message_key.empty()) {
    return true;
  }
  if (!stream.shown_index.insert(message_key).second) {
    return false;
  }
  stream.shown.push_back(message_key);
  if (stream.shown.size() > kStreamMemoryMax) {
    stream.shown_index.erase(stream.shown.front());
    stream.shown.pop_front();
  }
  return true;
}

void EventHub::offer(Stream& stream, const Event& event, const std::string& data) {
  if (stream.dropped || !first_showing(stream, event.message_key)) {
    stream.lost += stream.dropped ? 1 : 0;
    return;
  }
  write(stream, "id: " + std::to_string(stream.next_id++) + "\nevent: " + event.kind + "\ndata: " + data + "\n\n");
}

void EventHub::write(Stream& stream, std::string text) {
  stream.backlog_bytes += text.size();
  stream.backlog.push_back(std::move(text));
  flush(stream);
  if (stream.backlog_bytes > kStreamBacklogBytesMax) {
    drop(stream);
  }
}

void EventHub::flush(Stream& stream) {
  while (!stream.blocked && !stream.backlog.empty()) {
    const cm_status status = stream.request.stream_write(stream.backlog.front());
    if (status == CM_BUSY) {
      stream.blocked = true;
      return;
    }
    stream.backlog_bytes -= stream.backlog.front().size();
    stream.backlog.pop_front();
  }
}

// A slow reader is told that it lost events, and how many, instead of finding a gap by itself.
void EventHub::drop(Stream& stream) {
  dropped_.add();
  stream.dropped = true;
  stream.lost += stream.backlog.size();
  stream.backlog.clear();
  const std::string last =
      "id: " + std::to_string(stream.next_id++) +
      "\nevent: dropped\ndata: {\"reason\":\"slow_reader\",\"lost\":" + std::to_string(stream.lost) + "}\n\n";
  stream.backlog_bytes = last.size();
  stream.backlog.push_back(last);
  host_->log(LogLevel::kWarn, "an event stream reads too slowly and is ended", {{"lost", stream.lost}});
  stream.linger = std::make_unique<Timer>(*host_);
  const cm_handle key = stream.key;
  stream.linger->start_ms(kDroppedLingerMs, [this, key] { end(key); });
}

void EventHub::end(cm_handle key) {
  const auto place = streams_.find(key);
  if (place == streams_.end()) {
    return;
  }
  const std::unique_ptr<Stream> stream = std::move(place->second);
  streams_.erase(place);
  stream->request.stream_end();
}

void EventHub::stream_changed(void* user, cm_handle request, std::uint32_t what) noexcept {
  static_cast<void>(request);
  auto* stream = static_cast<Stream*>(user);
  EventHub* hub = stream->hub;
  const cm_handle key = stream->key;
  if (what == CM_HTTP_STREAM_CLOSED) {
    hub->streams_.erase(key);
    return;
  }
  stream->blocked = false;
  hub->flush(*stream);
  if (stream->dropped && stream->backlog.empty()) {
    hub->end(key);
  }
}

}  // namespace cm::daemon
