// Errors at the border between Python and the ExecuTorch runtime.
#pragma once

#include <executorch/runtime/core/error.h>
#include <nanobind/nanobind.h>

#include <exception>
#include <string>
#include <utility>

#include "streams.h"

namespace executorch_coreml {

// Throws executorch_coreml.errors.InputError(message).
[[noreturn]] void throw_input_error(const std::string& message);

// Hands `error` to whoever can use it and returns `code`. A Python caller finds the Python error
// indicator set, and ExecuTorch's bindings chain it as the cause of their RuntimeError; for a caller
// without Python the traceback goes to ExecuTorch's log.
executorch::runtime::Error report(
    const char* where,
    executorch::runtime::Error code,
    bool caller_is_python,
    nanobind::python_error& error) noexcept;

// Runs `body` with the GIL held. Anything it throws is reported, and `code` returned: an exception
// must never unwind through the runtime, which would then leave the Method in the middle of a step.
template <typename Body>
executorch::runtime::Error at_border(
    const char* where,
    executorch::runtime::Error code,
    Body&& body) noexcept {
  const bool caller_is_python = PyGILState_Check() == 1;
  const nanobind::gil_scoped_acquire gil;
  restore_streams();
  try {
    std::forward<Body>(body)();
    return executorch::runtime::Error::Ok;
  } catch (nanobind::python_error& error) {
    return report(where, code, caller_is_python, error);
  } catch (const std::exception& failure) {
    PyErr_SetString(PyExc_RuntimeError, failure.what());
    nanobind::python_error error;
    return report(where, code, caller_is_python, error);
  }
}

}  // namespace executorch_coreml
