// How the layer keeps an author's exceptions from crossing the C ABI, and what it keeps for callbacks that may not
// come. Nothing in here is for authors: see HostApi::guarded in host.hpp.
#pragma once

#include <claudemesh/ext/host.h>

#include <exception>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <claudemesh/cpp/task.hpp>
#include <claudemesh/cpp/text.hpp>

namespace cm::detail {

// Carries what a function throws over a C function that calls it back before it returns (the rows of a query): the C
// function is left in its own way, and the exception goes on behind it.
class Carried {
 public:
  // Calls `call` and keeps what it throws; false when it threw, now or before. [any]
  template <typename Call>
  bool run(Call&& call) noexcept {
    if (thrown_ != nullptr) {
      return false;
    }
    try {
      call();
      return true;
    } catch (...) {
      thrown_ = std::current_exception();
      return false;
    }
  }
  // After the C function: throws what was kept, if something was. [any]
  void rethrow() const {
    if (thrown_ != nullptr) {
      std::rethrow_exception(thrown_);
    }
  }

 private:
  std::exception_ptr thrown_;
};

// What is needed to stop an exception at the boundary, without the instance: works of a storage run on its thread, and
// may do so when the instance that submitted them has gone. Tables live as long as the process, and a handle of an
// instance that is gone is refused.
class Boundary {
 public:
  Boundary(const cm_log_v1* log, cm_handle self) noexcept : log_(log), self_(self) {}

  // As HostApi::guarded; `on_thrown` gets the text. [any]
  template <typename Call, typename Thrown>
  bool guarded(std::string_view callback, Call&& call, Thrown&& on_thrown) const noexcept {
    Escaped escaped;
    if (log_ == nullptr) {
      call();
      escaped.rethrow();
      return true;
    }
    try {
      call();
      escaped.rethrow();
      return true;
    } catch (const std::exception& exception) {
      on_thrown(report(callback, exception.what()));
    } catch (...) {
      on_thrown(report(callback, "not a std::exception"));
    }
    return false;
  }
  template <typename Call>
  bool guarded(std::string_view callback, Call&& call) const noexcept {
    return guarded(callback, std::forward<Call>(call), [](const std::string&) {});
  }

 private:
  std::string report(std::string_view callback, std::string_view what) const {
    std::string text =
        "an exception left the callback " + std::string(callback) + ": " + std::string(what.substr(0, 1000));
    log_->write(self_, CM_LOG_PLUGIN_MISBEHAVING, to_pview(text), nullptr, 0);
    return text;
  }

  const cm_log_v1* log_;
  cm_handle self_;
};

// What waits for callbacks that the host does not make any more once the instance has stopped; freed with it. [loop]
class Kept {
 public:
  void add(std::shared_ptr<void> object) {
    const void* const address = object.get();
    objects_.emplace(address, std::move(object));
  }
  void remove(const void* address) noexcept { objects_.erase(address); }

 private:
  std::map<const void*, std::shared_ptr<void>> objects_;
};

}  // namespace cm::detail
