// Whether `done` of a store comes after the commit is on the disk, tried with the real host, its threads and files.
#pragma once

#include "sdk/checker/check.hpp"

namespace cm::checker {

Outcome is_durable_when_done(const Subject& subject);

}  // namespace cm::checker
