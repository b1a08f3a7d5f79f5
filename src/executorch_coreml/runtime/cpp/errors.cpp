#include "errors.h"

#include <executorch/runtime/platform/log.h>
#include <executorch/runtime/platform/platform.h>

#include <string_view>

#include "shim.h"

namespace nb = nanobind;

namespace executorch_coreml {
namespace {

using executorch::runtime::Error;
using executorch::runtime::get_pal_impl;
using executorch::runtime::PalImpl;

pal_emit_log_message_method original_sink = nullptr;

// Logs as ExecuTorch's Python bindings do, but with a Python error pending, too: PySys_FormatStderr
// sets it aside.
void python_sink(
    et_timestamp_t timestamp,
    et_pal_log_level_t level,
    const char* filename,
    const char* function,
    size_t line,
    const char* message,
    size_t length) {
  if (Py_IsInitialized() && PyGILState_Check()) {
    PySys_FormatStderr("[%s:%zu] %s\n", filename, line, message);
  } else {
    original_sink(timestamp, level, filename, function, line, message, length);
  }
}

// ExecuTorch's Python bindings log through sys.stderr, that is, they run Python code. The runtime
// logs a failing delegate while our error is pending, and Python code that runs with an error
// pending ends the process (terminate called after throwing pybind11::error_already_set; seen with
// executorch 1.5.1). The bindings install their sink when they are imported, maybe after us: hence
// it is replaced when the first error is reported. register_pal() would do the same and log an
// error of its own.
void replace_log_sink() {
  auto* pal = const_cast<PalImpl*>(get_pal_impl());
  if (pal->emit_log_message != python_sink) {
    original_sink = pal->emit_log_message;
    pal->emit_log_message = python_sink;
  }
}

// Empties the local variables of the frames that `error` and its causes went through: they refer to
// tensors of the runtime, whose memory a caller who keeps the error would outlive.
void clear_frames(const nb::python_error& error) {
  const nb::object clear = nb::module_::import_("traceback").attr("clear_frames");
  nb::object exception = nb::borrow(error.value());
  while (!exception.is_none()) {
    clear(exception.attr("__traceback__"));
    exception = exception.attr("__cause__");
  }
}

// For an error of ours its type and message, with the hint on a line of its own; else the traceback.
std::string message_of(const nb::python_error& error) {
  const nb::object ours = nb::module_::import_("executorch_coreml.errors").attr("CoreMLError");
  if (!nb::isinstance(error.value(), ours)) {
    return error.what();
  }
  const nb::str name(error.type().attr("__name__"));
  const nb::str message(error.value());
  std::string text = std::string(name.c_str()) + ": " + message.c_str();
  const size_t hint = text.rfind(" Hint: ");
  if (hint != std::string::npos) {
    text[hint] = '\n';
  }
  return text;
}

}  // namespace

void log_lines(const std::string& what, std::string_view text) {
  constexpr size_t kLongest = 200;
  ET_LOG(Error, "%s: %s", kBackendName, what.c_str());
  while (!text.empty()) {
    const size_t end = text.substr(0, kLongest).find('\n');
    const std::string_view line = text.substr(0, end == std::string_view::npos ? kLongest : end);
    ET_LOG(Error, "  %.*s", static_cast<int>(line.size()), line.data());
    text.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
  }
}

void throw_input_error(const std::string& message) {
  const nb::object type = nb::module_::import_("executorch_coreml.errors").attr("InputError");
  PyErr_SetObject(type.ptr(), type(message).ptr());
  throw nb::python_error();
}

Error report(
    const Describe& what,
    Error code,
    bool caller_is_python,
    nb::python_error& error) noexcept {
  try {
    clear_frames(error);
    if (!caller_is_python) {
      log_lines(what() + ":", message_of(error));
    }
  } catch (nb::python_error& failure) {
    failure.discard_as_unraisable("reporting an error");
  } catch (const std::exception& failure) {
    ET_LOG(Error, "%s: %s", kBackendName, failure.what());
  }
  if (caller_is_python) {
    replace_log_sink();
    error.restore();
  }
  return code;
}

}  // namespace executorch_coreml
