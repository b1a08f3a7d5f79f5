#include "runtime_version.h"

#include <dlfcn.h>
#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/platform/log.h>

#include <cstring>
#include <fstream>
#include <string>

#include "shim.h"

namespace executorch_coreml {
namespace {

// What the package around `library` says about itself: <root>/version.py beside <root>/lib.
std::string package_version(const std::string& library) {
  const std::string folder = library.substr(0, library.rfind('/'));
  std::ifstream file(folder.substr(0, folder.rfind('/')) + "/version.py");
  const std::string head = "__version__ = \"";
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(head, 0) == 0) {
      return line.substr(head.size(), line.rfind('"') - head.size());
    }
  }
  return "";
}

// "1.5.1" of "1.5.1+cpu".
std::string release(const std::string& version) {
  return version.substr(0, version.find('+'));
}

}  // namespace

bool is_built_for_the_loaded_runtime() {
  Dl_info runtime{};
  if (dladdr(reinterpret_cast<const void*>(&executorch::runtime::register_backend), &runtime) == 0) {
    return true;
  }
  const std::string found = package_version(runtime.dli_fname);
  const std::string wanted = release(EXECUTORCH_COREML_EXECUTORCH_VERSION);
  if (found.empty() || release(found) == wanted) {
    return true;
  }
  ET_LOG(Error, "%s: %s is of executorch %s.", kBackendName, runtime.dli_fname, found.c_str());
  ET_LOG(
      Error,
      "%s is not registered: its plugin was built for executorch %s. Run: pip install "
      "executorch==%s",
      kBackendName,
      EXECUTORCH_COREML_EXECUTORCH_VERSION,
      wanted.c_str());
  return false;
}

}  // namespace executorch_coreml
