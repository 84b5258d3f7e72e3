// Latencies of one run: exact percentiles from all samples.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace cm::bench {

class Histogram {
 public:
  void add(std::uint64_t microseconds) { samples_.push_back(microseconds); }
  std::size_t count() const { return samples_.size(); }
  // `share` 0.5 is the median. 0 without samples.
  double percentile_us(double share) {
    if (samples_.empty()) {
      return 0;
    }
    const auto index = static_cast<std::size_t>(share * static_cast<double>(samples_.size() - 1));
    std::nth_element(samples_.begin(), samples_.begin() + static_cast<std::ptrdiff_t>(index), samples_.end());
    return static_cast<double>(samples_[index]);
  }

 private:
  std::vector<std::uint64_t> samples_;
};

}  // namespace cm::bench
