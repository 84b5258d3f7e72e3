#include "host/config/problems.hpp"

#include <algorithm>
#include <tuple>

namespace cm::config {
namespace {

auto position(const Problem& problem) {
  const std::string_view file = problem.where.file == nullptr ? std::string_view() : *problem.where.file;
  return std::make_tuple(file, problem.where.line, problem.where.column, std::string_view(problem.text));
}

std::vector<Problem> sorted(std::vector<Problem> problems) {
  std::sort(problems.begin(), problems.end(),
            [](const Problem& a, const Problem& b) { return position(a) < position(b); });
  const auto last = std::unique(problems.begin(), problems.end(),
                                [](const Problem& a, const Problem& b) { return position(a) == position(b); });
  problems.erase(last, problems.end());
  return problems;
}

}  // namespace

std::string Problem::line() const {
  const std::string place = where.text();
  return place.empty() ? text : place + ": " + text;
}

std::vector<Problem> Problems::take_errors() {
  return sorted(std::move(errors_));
}
std::vector<Problem> Problems::take_warnings() {
  return sorted(std::move(warnings_));
}

std::string suggestion(std::string_view name, const std::vector<std::string>& candidates, std::string otherwise) {
  const std::string near = options::nearest_name(name, candidates);
  return near.empty() ? "; " + std::move(otherwise) : "; did you mean " + options::json_quote(near) + "?";
}

}  // namespace cm::config
