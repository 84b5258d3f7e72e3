// `claudemesh plugin-runner NAME`: the process of one isolated plugin. Started by the host only.
#pragma once

namespace cm::isolation {

// Whether these arguments ask for it. Look before anything else of the program is set up.
bool is_runner(int argc, char** argv) noexcept;

// Descriptor 3 is the socket to the host, 4 the shared memory. Returns the exit code; when the host goes away the
// process ends by itself.
int runner_main();

}  // namespace cm::isolation
