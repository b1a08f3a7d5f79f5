#include "python_host.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string>

namespace executorch_coreml {
namespace {

constexpr const char* kRemedy = "python -m executorch_coreml.cmake_prefix";

// Two lines, since ExecuTorch cuts one at 256 bytes.
void log_failure(const std::string& what, const std::string& remedy) {
  ET_LOG(Error, "%s: the engine does not start: %s", kBackendName, what.c_str());
  ET_LOG(Error, "%s: %s", kBackendName, remedy.c_str());
}

bool exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

std::string parent(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

// Where the extension and python.cfg are: <site>/executorch_coreml/runtime. A shim that is linked
// into a program was told when it was compiled; the shared one lies there itself.
std::string runtime_directory() {
#ifdef EXECUTORCH_COREML_RUNTIME_DIRECTORY
  return EXECUTORCH_COREML_RUNTIME_DIRECTORY;
#else
  Dl_info self{};
  dladdr(reinterpret_cast<const void*>(&runtime_directory), &self);
  return parent(self.dli_fname);
#endif
}

// The "name = value" lines of a file.
std::map<std::string, std::string> read_settings(const std::string& path) {
  std::map<std::string, std::string> settings;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t equals = line.find(" = ");
    if (line[0] != '#' && equals != std::string::npos) {
      settings[line.substr(0, equals)] = line.substr(equals + 3);
    }
  }
  return settings;
}

// Maps the shared library of the interpreter, unless the program has one. Its symbols become global:
// extension modules are not linked with it.
bool load_python(std::map<std::string, std::string>& settings, const std::string& path) {
  const bool present = dlsym(RTLD_DEFAULT, "Py_GetVersion") != nullptr;
  const std::string& library = settings["library"];
  if (!present && library.empty()) {
    log_failure(
        settings["executable"] + " has no shared library, without which no program can host it.",
        "Install it (Debian: apt-get install libpython" + settings["version"] +
            "; pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared), then run: " + kRemedy);
    return false;
  }
  if (!present && dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    log_failure(
        std::string(dlerror()),
        path + " names that library. If it has moved, run: " + kRemedy);
    return false;
  }
  using GetVersion = const char* (*)();
  const auto get_version = reinterpret_cast<GetVersion>(dlsym(RTLD_DEFAULT, "Py_GetVersion"));
  const std::string wanted = settings["version"] + ".";
  if (get_version == nullptr || std::strncmp(get_version(), wanted.c_str(), wanted.size()) != 0) {
    const std::string found = get_version == nullptr ? "none" : get_version();
    log_failure(
        "the program has Python " + found.substr(0, found.find(' ')) + ", the plugin is for " +
            settings["version"] + ".",
        "Install executorch-coreml into that Python, and build the program with its package.");
    return false;
  }
  return true;
}

bool start(const RuntimeAccess* access) {
  const std::string directory = runtime_directory();
  const std::string path = directory + "/python.cfg";
  auto settings = read_settings(path);
  for (const char* name : {"version", "executable", "extension"}) {
    if (settings[name].empty()) {
      log_failure(
          path + (exists(path) ? std::string(" lacks '") + name + "'." : " is missing."),
          std::string("It says which Python runs the engine. To write it, run: ") + kRemedy);
      return false;
    }
  }
  if (!load_python(settings, path)) {
    return false;
  }
  const std::string extension = directory + "/" + settings["extension"];
  void* library = dlopen(extension.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    log_failure(std::string(dlerror()), "Install executorch-coreml again, with --force-reinstall.");
    return false;
  }
  using Function = decltype(&executorch_coreml_start_python);
  const auto run =
      reinterpret_cast<Function>(dlsym(library, "executorch_coreml_start_python"));
  if (run == nullptr) {
    log_failure(
        extension + " is of another release than the program.",
        "Build the program anew, with the installed executorch-coreml.");
    return false;
  }
  const std::string site = parent(parent(directory));
  return run(access, settings["executable"].c_str(), site.c_str());
}

}  // namespace

bool start_engine(const RuntimeAccess* access) {
  static std::atomic<bool> hosting{false};
  static std::mutex mutex;
  static bool started = false;
  // In a program that runs Python itself, a thread with the GIL must not wait for one that waits for
  // the GIL. Python lets only one of them import.
  using IsInitialized = int (*)();
  const auto initialized =
      reinterpret_cast<IsInitialized>(dlsym(RTLD_DEFAULT, "Py_IsInitialized"));
  if (!hosting && initialized != nullptr && initialized() != 0) {
    return start(access);
  }
  const std::lock_guard<std::mutex> lock(mutex);
  if (!hosting) {
    hosting = true;
    started = start(access);
  } else if (!started) {
    ET_LOG(Error, "%s: the engine did not start, see the first error in the log", kBackendName);
  }
  return started;
}

}  // namespace executorch_coreml
