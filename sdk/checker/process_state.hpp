// What a plugin may change in the process around it without being asked: threads, descriptors, memory, signals, folder.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cm::checker {

std::size_t thread_count();
// Waits in real time until at most `count` threads run or `enough` answers true. False: `limit` has passed. The kernel
// lists a thread for a moment after it was joined.
bool wait_for_threads(std::size_t count, std::chrono::milliseconds limit, const std::function<bool()>& enough = {});
// Descriptors that are open now, with what they refer to ("7 -> /tmp/x"), without those that the listing itself needs.
std::vector<std::string> open_descriptors();
// Bytes that are allocated from malloc now; exact, also under the address sanitizer.
std::uint64_t allocated_bytes();
// Signal handlers, signal mask, umask, working folder and locale as one text per item; equal texts: nothing changed.
std::vector<std::string> process_settings();
// What `after` has and `before` has not.
std::vector<std::string> added(const std::vector<std::string>& before, const std::vector<std::string>& after);

}  // namespace cm::checker
