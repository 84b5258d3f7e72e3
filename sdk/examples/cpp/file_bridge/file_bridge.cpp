// A bridge whose other side is a folder: each line that somebody appends to CHANNEL.in goes to the mesh, each message
// of the mesh is appended to CHANNEL.out. Scripts and cron jobs take part in a conversation without knowing what a mesh
// is.
//
// Only the two sides are here. What may cross, the table of cm.bridge/1, counters and observers are in
// claudemesh/cpp/bridge.hpp. Files are read and written on a worker, because a disk may block.
//
// The id of a line is its place in the file. So after a restart the files are simply read again: the bridge makes the
// same client message ids of the same lines, and the daemon knows them.
//
//   [plugins.files]
//   use = "file_bridge"
//   peer = "daemon"
//   folder = "/srv/mesh"
//   mappings = ["alerts=bob"]
#include <claudemesh/cpp/bridge.hpp>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "json_text.hpp"

namespace {

constexpr std::size_t kLinesAtOnceMax = 256;  // of one look at one file
constexpr std::size_t kLineBytesMax = 16 * 1024;

struct Line {
  std::string channel;
  std::uint64_t offset;
  std::string text;
};

// Whole lines of a file from `offset` on; `offset` moves behind them. A line without an end is not there yet.
std::vector<Line> read_lines(const std::string& path, const std::string& channel, std::uint64_t& offset) {
  std::vector<Line> lines;
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  std::string text;
  while (lines.size() < kLinesAtOnceMax && std::getline(file, text) && !file.eof()) {
    if (text.size() <= kLineBytesMax) {
      lines.push_back({channel, offset, text});
    }
    offset += text.size() + 1;
  }
  return lines;
}

class FileBridge final : public cm::BridgeInstance {
 public:
  explicit FileBridge(const cm_host* host) : BridgeInstance(host), timer_(this->host()) {}

  std::vector<cm::TableNeed> required_tables() const override {
    return {cm::need<cm_config_v1>(CM_CONFIG_ID), cm::need<cm_loop_v1>(CM_LOOP_ID), cm::need<cm_timer_v1>(CM_TIMER_ID),
            cm::need<cm_worker_v1>(CM_WORKER_ID), cm::need<cm_registry_v1>(CM_REGISTRY_ID)};
  }

  cm::Status configure() override {
    folder_ = host().option_text("folder");
    every_ms_ = static_cast<std::uint64_t>(host().option_int("every"));
    cm::Status opened = open_bridge("file", host().option_text("account"));
    if (!opened) {
      return opened;
    }
    for (const std::string& entry : host().option_list("mappings")) {
      const std::size_t equals = entry.find('=');
      cm::BridgeMapping mapping;
      mapping.id = entry.substr(0, equals);
      mapping.remote = mapping.id;
      mapping.target = equals == std::string::npos ? std::string() : entry.substr(equals + 1);
      if (!is_word(mapping.remote) || map(mapping) != CM_OK) {
        return cm::make_error(cm::ErrorCode::kInvalid,
                              "found \"" + entry + "\" in mappings, expected CHANNEL=TARGET, each channel once");
      }
    }
    const std::string peer = host().option_text("peer");
    has_mesh_ = !peer.empty();
    return has_mesh_ ? mesh_.open(host(), peer) : cm::Status();
  }

  void start(Done started) override {
    const cm::Status hearing =
        has_mesh_ ? mesh_.hear([this](std::string_view kind, std::string_view json) { from_event(kind, json); })
                  : cm::Status();
    if (hearing) {
      set_state(has_mesh_ ? CM_BRIDGE_UP : CM_BRIDGE_MESH_DOWN, has_mesh_ ? "" : "the option peer has no value");
      timer_.every_ms(every_ms_, [this] { look(); });
    }
    started(hearing);
  }

  void stop() override {
    timer_.cancel();
    mesh_.close();
    close_bridge();
  }

  void to_mesh(const cm::BridgeCrossing& crossing, cm::HandedOver done) override {
    mesh_.send(crossing, std::move(done));
  }

  // A file of lines carries no trail beside the text; whoever reads it is no bridge, so it ends here.
  void to_remote(const cm::BridgeCrossing& crossing, cm::HandedOver done) override {
    const std::string path = folder_ + "/" + crossing.channel + ".out";
    std::string line = crossing.author_name + ": " + crossing.text + "\n";
    auto written = std::make_shared<bool>(false);
    const cm::Status accepted = cm::run_on_worker(
        host(), CM_WORKER_POOL,
        [path, line = std::move(line), written] {
          std::ofstream file(path, std::ios::binary | std::ios::app);
          *written = static_cast<bool>(file.write(line.data(), static_cast<std::streamsize>(line.size())).flush());
        },
        [path, written, done] { done({*written, *written ? "" : "cannot write " + path}); });
    if (!accepted) {
      done({false, accepted.error().message});
    }
  }

 private:
  // A channel is a file name, so nothing that leads out of the folder.
  static bool is_word(const std::string& text) {
    return !text.empty() && text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string::npos;
  }

  bool is_target(const std::string& name) const {
    const auto& mappings = rules().mappings();
    return std::any_of(mappings.begin(), mappings.end(),
                       [&](const auto& entry) { return entry.second.target == name; });
  }

  // A message of the mesh belongs to its topic or, without one, to who sent it: by the key, if that is mapped, else by
  // the name. The key is always known; a name only after its owner has been seen.
  void from_event(std::string_view kind, std::string_view event) {
    if (kind != "message") {
      return;
    }
    const std::string topic = json::text(event, "topic");
    cm::BridgeMessage message;
    message.mesh = json::text(event, "mesh");
    message.author_id = json::text(event, "sender_pubkey");
    message.author_name = json::text(event, "sender_name");
    message.channel = !topic.empty()                 ? (topic.front() == '#' ? "" : "#") + topic
                      : is_target(message.author_id) ? message.author_id
                                                     : message.author_name;
    message.message_id = json::text(event, "client_message_id");
    message.text = json::text(event, "body");
    from_mesh(std::move(message));
  }

  // One look at a time: the next waits until the worker has come back.
  void look() {
    if (std::exchange(looking_, true)) {
      return;
    }
    auto offsets = std::make_shared<std::map<std::string, std::uint64_t>>();
    for (const auto& [id, mapping] : rules().mappings()) {
      if (is_word(mapping.remote)) {
        (*offsets)[mapping.remote] = offsets_[mapping.remote];
      }
    }
    auto lines = std::make_shared<std::vector<Line>>();
    const cm::Status accepted = cm::run_on_worker(
        host(), CM_WORKER_POOL,
        [folder = folder_, offsets, lines] {
          for (auto& [channel, offset] : *offsets) {
            for (Line& line : read_lines(folder + "/" + channel + ".in", channel, offset)) {
              lines->push_back(std::move(line));
            }
          }
        },
        [this, offsets, lines] { take(*lines, *offsets); });
    looking_ = accepted.ok();
  }

  void take(const std::vector<Line>& lines, const std::map<std::string, std::uint64_t>& offsets) {
    looking_ = false;
    std::map<std::string, std::uint64_t> next = offsets;
    for (const Line& line : lines) {
      cm::BridgeMessage message;
      message.channel = line.channel;
      message.message_id = line.channel + ":" + std::to_string(line.offset);
      message.author_name = line.channel;
      message.text = line.text;
      if (from_remote(std::move(message)) == CM_BUSY) {
        next[line.channel] = std::min(next[line.channel], line.offset);  // it comes again with the next look
      }
    }
    for (const auto& [channel, offset] : next) {
      offsets_[channel] = offset;
    }
  }

  std::string folder_;
  std::uint64_t every_ms_ = 0;
  bool has_mesh_ = false;
  bool looking_ = false;
  std::map<std::string, std::uint64_t> offsets_;  // by channel: what has been read
  cm::MeshSide mesh_;
  cm::Timer timer_;
};

}  // namespace

CM_DEFINE_PLUGIN(FileBridge);
