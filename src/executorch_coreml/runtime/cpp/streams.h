// std::cout and std::cerr, against ExecuTorch's Python bindings.
//
// During each call the bindings (executorch 1.5.1) point both streams to a buffer on the caller's
// stack, and at the end put back what they found. That nests only while no other thread enters a
// call, which holds for backends that keep the GIL. Ours runs Python code, so threads interleave:
// one puts back the buffer of another that is gone, and the next write, or the flush at exit,
// crashes. Hence the streams get their own buffers back before Python code runs, so that every
// thread finds and puts back these. Drop this when the bindings stop swapping process-wide streams.
#pragma once

namespace executorch_coreml {

// Takes the buffers for the streams' own that they had when the shim was loaded, which happens outside
// of ExecuTorch's calls. To be called in a process that may have the bindings.
void remember_streams();

// Gives the streams their own buffers back, if they are remembered: a program of C++ may redirect
// them as it likes, and has no such bindings. The GIL must be held.
void restore_streams();

}  // namespace executorch_coreml
