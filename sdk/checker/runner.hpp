// Runs checks, each in a process of its own: this program again, with a hidden argument. A child that crashes or hangs
// costs its own check and nothing else.
#pragma once

#include <claudemesh/cpp/result.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sdk/checker/check.hpp"

namespace cm::checker {

inline constexpr std::uint32_t kTimeLimitMs = 20'000;  // of one check, unless it says otherwise
inline constexpr std::size_t kTimeoutsMax = 3;         // then the checks that have not begun are left out
inline constexpr std::size_t kFindingsMax = 10;        // of one fuzzing

struct RunOptions {
  std::filesystem::path file;
  std::filesystem::path config_file;  // may be empty
  std::string only;                   // part of a check's name, with '*'; empty: all
  std::uint32_t jobs = 0;             // 0: one per processor
  std::uint32_t slowness = 1;         // multiplies time limits: sanitizers, slow machines
};

struct CheckResult {
  const Check* check = nullptr;
  Outcome outcome;
  std::uint64_t took_ms = 0;
};

struct FuzzFinding {
  std::uint64_t seed = 0;
  Outcome outcome;
};

struct FuzzReport {
  std::uint64_t seeds = 0;  // that were run to the end
  std::vector<FuzzFinding> findings;
};

// The plugin with the values of the configuration. Never loads the library. kIo, kInvalid, kGone.
Result<Subject> load_subject(const std::filesystem::path& file, const std::filesystem::path& config_file);

// Calls `done` for each check in the order of the registry, as soon as it and all before it are finished.
std::vector<CheckResult> run_checks(const Subject& subject, const RunOptions& options,
                                    const std::function<void(const CheckResult&)>& done);

// One check in this process, without a time limit, so that a debugger is where the plugin is. Empty when `options.only`
// names no check, or several. What the plugin breaks, it breaks here.
std::vector<CheckResult> run_here(const Subject& subject, const RunOptions& options,
                                  const std::function<void(const CheckResult&)>& done);

// Runs seeds from `first_seed` on for a time, or exactly one when `seconds` is 0.
FuzzReport run_fuzz(const Subject& subject, const RunOptions& options, std::uint64_t first_seed, std::uint32_t seconds);

// "network.*" and the like.
bool matches(std::string_view pattern, std::string_view name);

// To be called first in main: runs one check and ends the process when the arguments ask for it; otherwise returns.
void become_child_if_asked(int argc, char** argv);

// One seed of the fuzzer: a random life in a random world.
Outcome fuzz_one(const Subject& subject, std::uint64_t seed);

}  // namespace cm::checker
