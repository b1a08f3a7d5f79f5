// Hosting CPython in a C++ program.
#pragma once

namespace executorch_coreml {

// Whether Python was started for the engine, and runs nothing else.
bool hosts_python();

// Keeps Python's state of this thread until the thread ends, if Python is hosted: to make one for each
// call, as threads that Python did not start do, costs as much as running a small model. The GIL must
// not be held.
void keep_thread_state();

}  // namespace executorch_coreml
