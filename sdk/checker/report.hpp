// What a run found, for people, for programs and for build servers.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "sdk/checker/runner.hpp"

namespace cm::checker {

struct Totals {
  std::size_t ok = 0;
  std::size_t failed = 0;
  std::size_t skipped = 0;
};
Totals count(const std::vector<CheckResult>& results);

// "strict life cycle" for 14.
std::string_view rule_title(std::uint32_t rule) noexcept;

void print_header(std::ostream& out, const Subject& subject);
// `same_as`: the check that has told the same reason before, or empty.
void print_result(std::ostream& out, const CheckResult& result, std::string_view same_as = {});
// What failures with one reason have in common: the text without the circumstances of each check.
std::string reason_of(const Outcome& outcome);
void print_totals(std::ostream& out, const std::vector<CheckResult>& results, std::uint64_t took_ms);
void print_fuzz(std::ostream& out, const FuzzReport& report, const Subject& subject);
std::string to_json(const Subject& subject, const std::vector<CheckResult>& results, const FuzzReport* fuzz);
// JUnit XML: one test suite, one test case per check.
std::string to_junit(const Subject& subject, const std::vector<CheckResult>& results);
void print_list(std::ostream& out);  // name, rule, sentence
std::string list_as_markdown();      // docs/plugin-check.md

}  // namespace cm::checker
