#include "host/net/detail/linger.hpp"

namespace cm::net::detail {

struct Lingerer::Entry final : FdListener {
  Entry(Lingerer& of, std::unique_ptr<StreamSocket> taken) : owner(of), socket(std::move(taken)) {}
  ~Entry() { watch.stop(); }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  void on_fd_ready(bool, bool) override {
    const auto buffer = owner.loop_.core().read_buffer();
    for (;;) {
      const IoResult result = socket->read(buffer);
      if (result.status == IoStatus::kWantRead) {
        return;
      }
      discarded += result.bytes;
      if (result.status != IoStatus::kOk || discarded > kDiscardBytesMax) {
        owner.finish(this);
        return;
      }
    }
  }

  Lingerer& owner;
  std::unique_ptr<StreamSocket> socket;
  FdWatch watch;
  TimerId timer = TimerId::kNone;
  std::size_t discarded = 0;
};

Lingerer::Lingerer(Loop& loop) : loop_(loop) {}

Lingerer::~Lingerer() {
  for (const auto& entry : entries_) {
    loop_.cancel_timer(entry->timer);
  }
}

void Lingerer::take(std::unique_ptr<StreamSocket> socket) {
  socket->shutdown_write();
  if (entries_.size() >= kSocketsMax) {
    return;
  }
  auto entry = std::make_unique<Entry>(*this, std::move(socket));
  if (!entry->watch.start(loop_, entry->socket->fd(), *entry)) {
    return;
  }
  entry->watch.want(true, false);
  entry->timer = loop_.start_timer_after_ms(kLingerMs, [this, raw = entry.get()] { finish(raw); });
  entries_.push_back(std::move(entry));
}

void Lingerer::finish(Entry* entry) {
  loop_.cancel_timer(entry->timer);
  std::erase_if(entries_, [entry](const auto& candidate) { return candidate.get() == entry; });
}

}  // namespace cm::net::detail
