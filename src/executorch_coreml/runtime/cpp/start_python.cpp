// Hosts CPython in a C++ program. Reached through python_host.cpp, which has mapped libpython.
#include "start_python.h"

#include <Python.h>
#include <dlfcn.h>

#include <string>

#include "errors.h"
#include "runtime_symbols.h"

namespace executorch_coreml {
namespace {

bool hosting = false;

class ThreadState {
 public:
  ThreadState() : state_(PyGILState_Ensure()), thread_(PyEval_SaveThread()) {}
  ~ThreadState() {
    PyEval_RestoreThread(thread_);
    PyGILState_Release(state_);
  }
  ThreadState(const ThreadState&) = delete;
  ThreadState& operator=(const ThreadState&) = delete;

 private:
  PyGILState_STATE state_;
  PyThreadState* thread_;
};

// Whether `status` is good; logs it if not.
bool succeeded(const PyStatus& status) {
  if (PyStatus_Exception(status) != 0) {
    ET_LOG(
        Error,
        "%s: Python does not start: %s",
        kBackendName,
        status.err_msg == nullptr ? "" : status.err_msg);
    return false;
  }
  return true;
}

// Isolated: neither environment variables nor the working directory choose what is imported, the
// program keeps its signal handlers, and Python takes no notice of its arguments. The executable
// leads to its packages, also in a virtual environment.
bool initialize(const char* executable) {
  PyPreConfig preconfig;
  PyPreConfig_InitIsolatedConfig(&preconfig);
  preconfig.utf8_mode = 1;
  if (!succeeded(Py_PreInitialize(&preconfig))) {
    return false;
  }
  PyConfig config;
  PyConfig_InitIsolatedConfig(&config);
  const bool started =
      succeeded(PyConfig_SetBytesString(&config, &config.executable, executable)) &&
      succeeded(PyConfig_SetBytesString(&config, &config.program_name, executable)) &&
      succeeded(Py_InitializeFromConfig(&config));
  PyConfig_Clear(&config);
  if (started) {
    hosting = true;
    PyEval_SaveThread();
  }
  return started;
}

// Defines start(site_directory, extension, hosted): makes the package in that directory, with what
// its .pth files name, the one that is imported, and this library its extension, whichever other ones
// there are. Returns "", or what went wrong. Python code, because nanobind works after its import
// only. In a Python of our own, OpenVINO does not get its converter of other formats, whose import
// (with a telemetry client) takes longer than all the rest of OpenVINO's, and which it can do without.
constexpr const char* kStart = R"python(
def start(site_directory, extension, hosted):
    try:
        import importlib.util
        import site
        import sys

        if site_directory not in sys.path:
            site.addsitedir(site_directory)
            sys.path.insert(0, site_directory)
        if hosted:
            sys.modules["openvino.tools.ovc"] = None
        name = "executorch_coreml.runtime._native"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, extension)
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        import executorch_coreml.runtime
    except Exception as error:
        if isinstance(error, ImportError):
            return f"{type(error).__name__}: {error}\nin {sys.executable} with {sys.path}"
        import traceback

        return traceback.format_exc()
    return ""
)python";

// Calls start() and returns what it does. The GIL must be held.
std::string import_package(const char* site_directory) {
  Dl_info self{};
  dladdr(reinterpret_cast<const void*>(&import_package), &self);
  std::string failure = "Python code of the plugin does not run";
  PyObject* names = PyDict_New();
  PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins());
  PyObject* defined = PyRun_String(kStart, Py_file_input, names, names);
  PyObject* result = defined == nullptr
      ? nullptr
      : PyObject_CallFunction(
            PyDict_GetItemString(names, "start"),
            "ssO",
            site_directory,
            self.dli_fname,
            hosting ? Py_True : Py_False);
  const char* text = result == nullptr ? nullptr : PyUnicode_AsUTF8(result);
  if (text != nullptr) {
    failure = text;
  }
  PyErr_Clear();
  Py_XDECREF(result);
  Py_XDECREF(defined);
  Py_DECREF(names);
  return failure;
}

}  // namespace

bool hosts_python() {
  return hosting;
}

void keep_thread_state() {
  if (hosting) {
    [[maybe_unused]] static thread_local const ThreadState kept;
  }
}

}  // namespace executorch_coreml

bool executorch_coreml_start_python(
    const executorch_coreml::RuntimeAccess* access,
    const char* executable,
    const char* site_directory) {
  using namespace executorch_coreml;
  if (!connect(access) || (Py_IsInitialized() == 0 && !initialize(executable))) {
    return false;
  }
  const PyGILState_STATE state = PyGILState_Ensure();
  const std::string failure = import_package(site_directory);
  PyGILState_Release(state);
  if (!failure.empty()) {
    log_lines("starting the engine failed:", failure);
  }
  return failure.empty();
}
