// Defines what the extension uses of the ExecuTorch runtime as calls through the table of the shim;
// see runtime_access.h. A function of the runtime that is used anew and missing here is an undefined
// symbol when the extension is imported.
#include "runtime_symbols.h"

#include <dlfcn.h>

#include <cstring>
#include <stdexcept>
#include <string>

namespace executorch_coreml {
namespace {

const RuntimeAccess* current = nullptr;

}  // namespace

const RuntimeAccess& runtime_access() {
  return *current;
}

bool connected() {
  return current != nullptr;
}

bool connect(const RuntimeAccess* access) {
  current = access;
  const bool fits =
      std::strcmp(access->executorch_version, EXECUTORCH_COREML_EXECUTORCH_VERSION) == 0 &&
      std::strcmp(access->package_version, EXECUTORCH_COREML_VERSION) == 0;
  if (!fits) {
    ET_LOG(
        Error,
        "%s: the program has executorch-coreml %s for executorch %s, but installed is %s for %s. "
        "Build the program anew.",
        kBackendName,
        access->package_version,
        access->executorch_version,
        EXECUTORCH_COREML_VERSION,
        EXECUTORCH_COREML_EXECUTORCH_VERSION);
  }
  return fits;
}

void connect_beside() {
  Dl_info self{};
  dladdr(reinterpret_cast<const void*>(&connect_beside), &self);
  const std::string path(self.dli_fname);
  const std::string shim = path.substr(0, path.rfind('/') + 1) + EXECUTORCH_COREML_SHIM;
  void* library = dlopen(shim.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw std::runtime_error(dlerror());
  }
  using Function = decltype(&executorch_coreml_runtime_access);
  const auto access =
      reinterpret_cast<Function>(dlsym(library, "executorch_coreml_runtime_access"));
  if (access == nullptr || !connect(access())) {
    throw std::runtime_error(shim + " belongs to another release of executorch-coreml");
  }
}

}  // namespace executorch_coreml

namespace executorch::runtime {

using executorch_coreml::runtime_access;

size_t get_num_registered_backends() {
  return runtime_access().get_num_registered_backends();
}

Result<const char*> get_backend_name(size_t index) {
  return runtime_access().get_backend_name(index);
}

const PalImpl* get_pal_impl() {
  return runtime_access().get_pal_impl();
}

void runtime_abort() {
  runtime_access().runtime_abort();
  __builtin_unreachable();
}

namespace internal {

et_timestamp_t get_log_timestamp() {
  return runtime_access().get_log_timestamp();
}

void vlogf(
    LogLevel level,
    et_timestamp_t timestamp,
    const char* filename,
    const char* function,
    size_t line,
    const char* format,
    va_list args) {
  runtime_access().vlogf(level, timestamp, filename, function, line, format, args);
}

Error resize_tensor_impl(aten::TensorImpl* impl, aten::ArrayRef<aten::SizesType> new_sizes) {
  return runtime_access().resize_tensor_impl(impl, new_sizes);
}

}  // namespace internal
}  // namespace executorch::runtime
