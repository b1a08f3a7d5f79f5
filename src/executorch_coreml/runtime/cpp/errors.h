// Errors at the border between Python and the ExecuTorch runtime.
#pragma once

#include <executorch/runtime/core/error.h>
#include <nanobind/nanobind.h>

#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "start_python.h"
#include "streams.h"

namespace executorch_coreml {

// Logs `what`, then `text` in lines that ExecuTorch, which cuts at 256 bytes, shows in full.
void log_lines(const std::string& what, std::string_view text);

// Throws executorch_coreml.errors.InputError(message).
[[noreturn]] void throw_input_error(const std::string& message);

// Says what failed, as "method 'forward' of model.pte did not load".
using Describe = std::function<std::string()>;

// Hands `error` to whoever can use it and returns `code`. A Python caller finds the Python error
// indicator set, and ExecuTorch's bindings chain it as the cause of their RuntimeError; for a caller
// without Python the message goes to ExecuTorch's log, and for errors that nobody raises on purpose
// the traceback.
executorch::runtime::Error report(
    const Describe& what,
    executorch::runtime::Error code,
    bool caller_is_python,
    nanobind::python_error& error) noexcept;

// Runs `body` with the GIL held. Anything it throws is reported, and `code` returned: an exception
// must never unwind through the runtime, which would then leave the Method in the middle of a step.
// `what` is called after a failure only.
template <typename What, typename Body>
executorch::runtime::Error at_border(
    What&& what,
    executorch::runtime::Error code,
    Body&& body) noexcept {
  const bool caller_is_python = PyGILState_Check() == 1;
  keep_thread_state();
  const nanobind::gil_scoped_acquire gil;
  restore_streams();
  try {
    std::forward<Body>(body)();
    return executorch::runtime::Error::Ok;
  } catch (nanobind::python_error& error) {
    return report(what, code, caller_is_python, error);
  } catch (const std::exception& failure) {
    PyErr_SetString(PyExc_RuntimeError, failure.what());
    nanobind::python_error error;
    return report(what, code, caller_is_python, error);
  }
}

}  // namespace executorch_coreml
