#include "host/services/metrics.hpp"

#include <cmath>
#include <cstdio>

namespace cm::host {

namespace {

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || c == '_' || c == ':';
}
bool is_name_char(char c) {
  return is_name_start(c) || (c >= '0' && c <= '9');
}
bool is_label_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_label_char(char c) {
  return is_label_start(c) || (c >= '0' && c <= '9');
}

Error labels_error(std::string_view labels, const char* what) {
  return make_error(ErrorCode::kInvalid, "the metric labels {" + std::string(labels) + "} are wrong: " + what +
                                             "; expected name=\"value\",name=\"value\"");
}

// Reads one quoted value from `at` (just behind '='); npos when it does not end or holds a bad escape.
std::size_t skip_quoted(std::string_view text, std::size_t at) {
  if (at >= text.size() || text[at] != '"') {
    return std::string_view::npos;
  }
  for (++at; at < text.size(); ++at) {
    if (text[at] == '"') {
      return at + 1;
    }
    if (text[at] == '\n') {
      return std::string_view::npos;
    }
    if (text[at] == '\\') {
      ++at;
      if (at >= text.size() || (text[at] != '\\' && text[at] != '"' && text[at] != 'n')) {
        return std::string_view::npos;
      }
    }
  }
  return std::string_view::npos;
}

std::string escape_help(std::string_view help) {
  std::string result;
  for (const char c : help) {
    if (c == '\\') {
      result += "\\\\";
    } else if (c == '\n') {
      result += "\\n";
    } else {
      result += c;
    }
  }
  return result;
}

std::string number_text(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

void append_sample(std::string& out, std::string_view name, std::string_view labels, const std::string& value) {
  out += name;
  if (!labels.empty()) {
    out += '{';
    out += labels;
    out += '}';
  }
  out += ' ';
  out += value;
  out += '\n';
}

}  // namespace

std::string escape_label_value(std::string_view value) {
  std::string result;
  for (const char c : value) {
    if (c == '\\' || c == '"') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else {
      result += c;
    }
  }
  return result;
}

Status check_metric_name(std::string_view name) {
  bool good = !name.empty() && name.size() <= kMetricTextBytesMax && is_name_start(name.front());
  for (const char c : name) {
    good = good && is_name_char(c);
  }
  if (!good) {
    return make_error(ErrorCode::kInvalid, "the metric name \"" + std::string(name.substr(0, 80)) +
                                               "\" is wrong; expected [a-z_:][a-z0-9_:]* of at most " +
                                               std::to_string(kMetricTextBytesMax) + " bytes");
  }
  return {};
}

Status check_metric_labels(std::string_view labels) {
  if (labels.size() > kMetricTextBytesMax) {
    return labels_error(labels.substr(0, 80), "too long");
  }
  std::size_t at = 0;
  while (at < labels.size()) {
    const std::size_t name_at = at;
    while (at < labels.size() && is_label_char(labels[at])) {
      ++at;
    }
    const std::string_view name = labels.substr(name_at, at - name_at);
    if (name.empty() || !is_label_start(name.front()) || at >= labels.size() || labels[at] != '=') {
      return labels_error(labels, "a label has no valid name");
    }
    if (name == "plugin" || name == "le") {
      return labels_error(labels, "\"plugin\" and \"le\" are set by the host");
    }
    at = skip_quoted(labels, at + 1);
    if (at == std::string_view::npos) {
      return labels_error(labels, "a value is not quoted or has an unknown escape");
    }
    if (at == labels.size()) {
      return {};
    }
    if (labels[at] != ',' || at + 1 == labels.size()) {
      return labels_error(labels, "a comma is missing or left over");
    }
    ++at;
  }
  return {};
}

Status MetricFamilies::declare(const std::string& name, MetricKind kind) {
  const std::lock_guard lock(mutex_);
  const auto [entry, added] = kinds_.emplace(name, kind);
  if (!added && entry->second != kind) {
    return make_error(ErrorCode::kInvalid,
                      "the metric " + name + " exists already with another kind; use another name or the same kind");
  }
  return {};
}

Result<std::uint32_t> InstanceMetrics::define(MetricFamilies& families, std::uint32_t kind, std::string_view name,
                                              std::string_view labels, std::string_view help) {
  const std::uint32_t id = count_.load(std::memory_order_relaxed);
  if (id >= kMetricsPerInstanceMax) {
    return make_error(ErrorCode::kBusy, "an instance may define at most " + std::to_string(kMetricsPerInstanceMax) +
                                            " metrics; use labels with fewer values");
  }
  if (kind < 1 || kind > 3) {
    return make_error(ErrorCode::kInvalid, "metric kind " + std::to_string(kind) + " is unknown; expected 1, 2 or 3");
  }
  const auto metric_kind = static_cast<MetricKind>(kind);
  if (Status good = check_metric_name(name); !good) {
    return std::move(good).error();
  }
  if (Status good = check_metric_labels(labels); !good) {
    return std::move(good).error();
  }
  auto series = std::make_unique<MetricSeries>();
  series->name = std::string(name);
  series->labels = "plugin=\"" + escape_label_value(instance_name_) + "\"";
  if (!labels.empty()) {
    series->labels += ',';
    series->labels += labels;
  }
  for (std::uint32_t other = 0; other < id; ++other) {
    if (series_[other]->name == series->name && series_[other]->labels == series->labels) {
      return make_error(ErrorCode::kInvalid, "the metric " + series->name + "{" + series->labels + "} exists already");
    }
  }
  if (Status good = families.declare(series->name, metric_kind); !good) {
    return std::move(good).error();
  }
  series->help = std::string(help.substr(0, kMetricTextBytesMax));
  series->kind = metric_kind;
  if (metric_kind == MetricKind::kHistogram) {
    series->histogram = std::make_unique<Histogram>();
  }
  MetricSeries* former = series_[id].get();
  if (former != nullptr && former->name == series->name && former->labels == series->labels &&
      former->help == series->help && former->kind == series->kind) {
    former->value.store(0, std::memory_order_relaxed);
    if (former->histogram != nullptr) {
      former->histogram->reset();
    }
  } else {
    if (former != nullptr) {
      replaced_.push_back(std::move(series_[id]));
    }
    series_[id] = std::move(series);
  }
  count_.store(id + 1, std::memory_order_release);
  return id;
}

MetricsPage::Family& MetricsPage::family(std::string_view name, std::string_view help, std::string_view type) {
  const auto found = families_.find(name);
  if (found != families_.end()) {
    return found->second;
  }
  return families_.emplace(std::string(name), Family{std::string(help), type, {}}).first->second;
}

void MetricsPage::counter(std::string_view name, std::string_view help, std::string_view labels, std::uint64_t value) {
  append_sample(family(name, help, "counter").samples, name, labels, std::to_string(value));
}

void MetricsPage::gauge(std::string_view name, std::string_view help, std::string_view labels, std::int64_t value) {
  append_sample(family(name, help, "gauge").samples, name, labels, std::to_string(value));
}

void MetricsPage::histogram(std::string_view name, std::string_view help, std::string_view labels,
                            const Histogram& values, double scale) {
  std::string& out = family(name, help, "histogram").samples;
  const std::string bucket_name = std::string(name) + "_bucket";
  const std::string prefix = labels.empty() ? std::string() : std::string(labels) + ",";
  std::uint64_t total = 0;
  for (std::size_t index = 0; index + 1 < Histogram::kBuckets; ++index) {
    total += values.bucket(index);
    const double bound = std::ldexp(1.0, static_cast<int>(index)) / scale;
    append_sample(out, bucket_name, prefix + "le=\"" + number_text(bound) + "\"", std::to_string(total));
  }
  total += values.bucket(Histogram::kBuckets - 1);
  append_sample(out, bucket_name, prefix + "le=\"+Inf\"", std::to_string(total));
  const auto sum = static_cast<double>(values.sum());
  append_sample(out, std::string(name) + "_sum", labels, number_text(sum / scale));
  append_sample(out, std::string(name) + "_count", labels, std::to_string(total));
}

void MetricsPage::add(const MetricSeries& series) {
  if (series.histogram != nullptr) {
    histogram(series.name, series.help, series.labels, *series.histogram);
    return;
  }
  const std::string_view type = series.kind == MetricKind::kCounter ? "counter" : "gauge";
  append_sample(family(series.name, series.help, type).samples, series.name, series.labels,
                std::to_string(series.value.load(std::memory_order_relaxed)));
}

std::string MetricsPage::text() const {
  std::string page;
  for (const auto& [name, one] : families_) {
    page += "# HELP " + name + " " + escape_help(one.help) + "\n";
    page += "# TYPE " + name + " " + std::string(one.type) + "\n";
    page += one.samples;
  }
  return page;
}

}  // namespace cm::host
