#include "host/net/sse.hpp"

namespace cm::net {

namespace {

std::string_view first_line(std::string_view text) {
  return text.substr(0, text.find_first_of("\r\n"));
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\n");
}

}  // namespace

std::string format_sse(std::string_view event, std::string_view id, std::string_view data) {
  std::string out;
  out.reserve(event.size() + id.size() + data.size() + 32);
  if (!id.empty()) {
    append_field(out, "id", first_line(id));
  }
  if (!event.empty()) {
    append_field(out, "event", first_line(event));
  }
  for (;;) {
    const std::string_view line = first_line(data);
    append_field(out, "data", line);
    if (line.size() == data.size()) {
      break;
    }
    const bool crlf = data[line.size()] == '\r' && line.size() + 1 < data.size() && data[line.size() + 1] == '\n';
    data.remove_prefix(line.size() + (crlf ? 2 : 1));
  }
  out.push_back('\n');
  return out;
}

std::string format_sse_comment(std::string_view text) {
  return ": " + std::string(first_line(text)) + "\n\n";
}

bool SseParser::feed(std::string_view bytes, UniqueFunction<bool(const SseEvent&)>& on_event) {
  while (!bytes.empty()) {
    if (skip_line_feed_) {
      skip_line_feed_ = false;
      if (bytes.front() == '\n') {
        bytes.remove_prefix(1);
        continue;
      }
    }
    const std::size_t end = bytes.find_first_of("\r\n");
    const std::string_view part = bytes.substr(0, end);
    if (line_.size() + data_.size() + part.size() > event_bytes_max_) {
      overflowed_ = true;
      return false;
    }
    line_.append(part);
    if (end == std::string_view::npos) {
      return true;
    }
    skip_line_feed_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    std::string line;
    line.swap(line_);
    if (!on_line(line, on_event)) {
      return false;
    }
  }
  return true;
}

bool SseParser::on_line(std::string_view line, UniqueFunction<bool(const SseEvent&)>& on_event) {
  if (first_line_) {
    first_line_ = false;
    if (line.substr(0, 3) == "\xEF\xBB\xBF") {
      line.remove_prefix(3);
    }
  }
  if (line.empty()) {
    return dispatch(on_event);
  }
  const std::size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
  if (!value.empty() && value.front() == ' ') {
    value.remove_prefix(1);
  }
  if (name == "event") {
    event_ = std::string(value);
  } else if (name == "data") {
    if (has_data_) {
      data_.push_back('\n');
    }
    data_.append(value);
    has_data_ = true;
  } else if (name == "id" && value.find('\0') == std::string_view::npos) {
    id_ = std::string(value);
  } else if (name == "retry" && !value.empty() && value.size() <= 9 &&
             value.find_first_not_of("0123456789") == std::string_view::npos) {
    retry_ms_ = std::stoull(std::string(value));
  }
  return true;
}

bool SseParser::dispatch(UniqueFunction<bool(const SseEvent&)>& on_event) {
  SseEvent event;
  event.event = event_.empty() ? "message" : std::move(event_);
  event.data = std::move(data_);
  event.id = id_;
  const bool has_data = has_data_;
  event_.clear();
  data_.clear();
  has_data_ = false;
  return has_data ? on_event(event) : true;
}

}  // namespace cm::net
