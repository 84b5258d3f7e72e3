#include "sdk/simhost/disk.hpp"

#include <algorithm>

namespace cm::sim {

void SimFile::write(std::uint64_t offset, const std::uint8_t* data, std::size_t size) {
  const std::uint64_t end = offset + size;
  Change change{offset, {}, Bytes(data, data + size), false, content_.size()};
  const std::uint64_t overlap_end = std::min<std::uint64_t>(end, content_.size());
  if (offset < overlap_end) {
    change.before.assign(content_.begin() + static_cast<std::ptrdiff_t>(offset),
                         content_.begin() + static_cast<std::ptrdiff_t>(overlap_end));
  }
  if (end > content_.size()) {
    content_.resize(end);
  }
  std::copy(data, data + size, content_.begin() + static_cast<std::ptrdiff_t>(offset));
  pending_.push_back(std::move(change));
}

void SimFile::truncate(std::uint64_t size) {
  if (size >= content_.size()) {
    return;
  }
  Change change{
      size, Bytes(content_.begin() + static_cast<std::ptrdiff_t>(size), content_.end()), {}, true, content_.size()};
  content_.resize(size);
  pending_.push_back(std::move(change));
}

Bytes SimFile::crash_image(Random& random, double keep_unsynced) const {
  Bytes image = content_;
  for (auto change = pending_.rbegin(); change != pending_.rend(); ++change) {
    image.resize(std::max<std::uint64_t>(image.size(), change->offset + change->before.size()));
    std::copy(change->before.begin(), change->before.end(),
              image.begin() + static_cast<std::ptrdiff_t>(change->offset));
    image.resize(change->size_before);
  }
  for (const Change& change : pending_) {
    if (!random.chance(keep_unsynced)) {
      continue;
    }
    if (change.is_truncate) {
      image.resize(std::min<std::uint64_t>(image.size(), change.offset));
      continue;
    }
    image.resize(std::max<std::uint64_t>(image.size(), change.offset + change.after.size()));
    std::copy(change.after.begin(), change.after.end(), image.begin() + static_cast<std::ptrdiff_t>(change.offset));
  }
  return image;
}

std::shared_ptr<SimFile> SimDisk::open(std::string_view path, bool create) {
  const auto found = files_.find(path);
  if (found != files_.end()) {
    return found->second;
  }
  if (!create) {
    return nullptr;
  }
  return files_.emplace(std::string(path), std::make_shared<SimFile>()).first->second;
}

void SimDisk::remove(std::string_view path) {
  const auto found = files_.find(path);
  if (found != files_.end()) {
    files_.erase(found);
  }
}

std::vector<const Bytes*> SimDisk::contents() const {
  std::vector<const Bytes*> result;
  for (const auto& [path, file] : files_) {
    result.push_back(&file->content());
  }
  return result;
}

void SimDisk::freeze(Random& random) {
  if (frozen_) {
    return;
  }
  frozen_.emplace();
  for (const auto& [path, file] : files_) {
    frozen_->emplace(path, file->crash_image(random, faults.keep_unsynced));
  }
}

void SimDisk::crash(Random& random) {
  freeze(random);
  files_.clear();
  for (auto& [path, content] : *frozen_) {
    auto file = std::make_shared<SimFile>();
    file->restore(std::move(content));
    files_.emplace(path, std::move(file));
  }
  frozen_.reset();
}

}  // namespace cm::sim
