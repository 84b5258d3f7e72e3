#include "plugins/ws_broker/src/write_behind.hpp"

#include <algorithm>

namespace cm::broker {

WriteBehind::WriteBehind(const HostApi& host, StorageClient& storage, const Metrics& metrics, StoreHealth& health)
    : host_(host), storage_(storage), metrics_(metrics), health_(health), timer_(host) {}

bool WriteBehind::add(SqlWork write, std::function<void()> settled) {
  if (stopped_ || pending_.size() >= kPendingMax) {
    metrics_.drops.add("write_behind");
    return false;
  }
  pending_.push_back(Write{std::move(write), std::move(settled)});
  ++added_;
  plan();
  return true;
}

void WriteBehind::wake() {
  if (!stopped_ && !awake_) {
    awake_ = true;
    plan();
  }
}

void WriteBehind::plan() {
  if (running_) {
    return;
  }
  if (pending_.size() >= kBatchMax) {
    run_next();
  } else if (!timer_.active()) {
    start_timer(kDelayMs);
  }
}

void WriteBehind::collect() {
  if (!awake_) {
    return;
  }
  awake_ = false;
  if (SqlWork write = collector_()) {
    pending_.push_back(Write{std::move(write), {}});
    ++added_;
  }
}

void WriteBehind::flush(std::function<void()> done) {
  if (idle()) {
    done();
    return;
  }
  collect();
  waiters_.push_back(Waiter{added_, std::move(done)});
  if (!running_) {
    run_next();
  }
}

void WriteBehind::stop() {
  stopped_ = true;
  timer_.cancel();
  waiters_.clear();
}

void WriteBehind::start_timer(std::uint64_t delay_ms) {
  timer_.start_ms(delay_ms, [this] { run_next(); });
}

void WriteBehind::run_next() {
  timer_.cancel();
  if (running_ || stopped_) {
    return;
  }
  collect();
  if (pending_.empty()) {
    return;
  }
  running_ = true;
  auto batch = std::make_shared<std::vector<Write>>();
  const std::size_t count = std::min(pending_.size(), kBatchMax);
  for (std::size_t i = 0; i < count; ++i) {
    batch->push_back(std::move(pending_.front()));
    pending_.pop_front();
  }
  storage_.submit(
      [batch](SqlTransaction& tx) {
        for (const Write& write : *batch) {
          Status status = write.work(tx);
          if (!status.ok()) {
            return status;
          }
        }
        return Status();
      },
      [this, batch](Status status) { finished(batch, status); });
}

void WriteBehind::finished(const Batch& batch, const Status& status) {
  running_ = false;
  const bool retry = !status.ok() && (status.error().code == ErrorCode::kBusy || status.error().code == ErrorCode::kIo);
  if (retry || status.ok()) {
    health_.write_ended(status);
  }
  if (retry) {
    pending_.insert(pending_.begin(), std::make_move_iterator(batch->begin()), std::make_move_iterator(batch->end()));
    start_timer(kRetryMs);
    return;
  }
  if (!status.ok()) {
    host_.log(LogLevel::kError, "background writes were refused by the store",
              {{"error", status.error().message}, {"writes", batch->size()}});
    metrics_.drops.add("write_behind", static_cast<std::int64_t>(batch->size()));
  }
  durable_ += batch->size();
  for (const Write& write : *batch) {
    if (write.settled && !stopped_) {
      write.settled();
    }
  }
  answer_waiters();
  if (!running_ && (!pending_.empty() || awake_)) {
    if (waiters_.empty() && pending_.size() < kBatchMax) {
      start_timer(kDelayMs);
    } else {
      run_next();
    }
  }
}

void WriteBehind::answer_waiters() {
  while (!waiters_.empty() && waiters_.front().after <= durable_) {
    auto done = std::move(waiters_.front().done);
    waiters_.pop_front();
    done();
  }
}

}  // namespace cm::broker
