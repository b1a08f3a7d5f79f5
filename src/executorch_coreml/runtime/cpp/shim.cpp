#include "shim.h"

#include <executorch/runtime/platform/log.h>
#include <executorch/runtime/platform/runtime.h>

#include <atomic>
#include <cstdlib>
#include <iostream>  // its streams are used when this file is initialised

#include "python_host.h"
#include "runtime_version.h"

namespace executorch_coreml {
namespace {

using executorch::runtime::ArrayRef;
using executorch::runtime::Backend;
using executorch::runtime::BackendExecutionContext;
using executorch::runtime::BackendInitContext;
using executorch::runtime::BackendInterface;
using executorch::runtime::BackendOption;
using executorch::runtime::BackendOptionContext;
using executorch::runtime::CompileSpec;
using executorch::runtime::DelegateHandle;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::FreeableBuffer;
using executorch::runtime::get_backend_class;
using executorch::runtime::register_backend;
using executorch::runtime::Result;
using executorch::runtime::Span;

std::atomic<Engine*> attached{nullptr};
std::atomic<bool> detached{false};

Engine* engine() {
  return attached.load(std::memory_order_acquire);
}

// The attached engine; in a program without one, after starting it. nullptr after saying in the log
// what is wrong.
Engine* engine_or_start() {
  if (engine() == nullptr && !detached && start_engine(executorch_coreml_runtime_access())) {
    return engine();
  }
  if (detached) {
    ET_LOG(Error, "%s: no engine is attached any more, the program is ending", kBackendName);
  }
  return engine();
}

// Must be called when the libraries of the engine are loaded: what is registered last runs first, and
// no call may reach the engine while their static objects are destroyed.
void detach_at_exit() {
  [[maybe_unused]] static const int registered = std::atexit([] { attach(nullptr); });
}

class Shim final : public BackendInterface {
 public:
  bool is_available() const override {
    return true;
  }

  Result<DelegateHandle*> init(
      BackendInitContext& context,
      FreeableBuffer* processed,
      ArrayRef<CompileSpec> specs) const override {
    Engine* engine = engine_or_start();
    if (engine == nullptr) {
      return Error::NotFound;
    }
    auto handle = engine->init(context, processed, specs);
    detach_at_exit();
    return handle;
  }

  Error execute(
      BackendExecutionContext& context,
      DelegateHandle* handle,
      Span<EValue*> args) const override {
    Engine* engine = executorch_coreml::engine();
    if (engine == nullptr) {
      ET_LOG(Error, "%s: no engine is attached any more, the program is ending", kBackendName);
      return Error::InvalidState;
    }
    return engine->execute(context, handle, args);
  }

  void destroy(DelegateHandle* handle) const override {
    if (Engine* engine = executorch_coreml::engine()) {
      engine->destroy(handle);
    }
  }

  Error set_option(BackendOptionContext&, const Span<BackendOption>& options) override {
    Engine* engine = engine_or_start();
    return engine == nullptr ? Error::NotFound : engine->set_option(options);
  }
};

// The registry keeps the pointer for ever and cannot unregister, so the shim is never destroyed.
Shim& shim() {
  static Shim& instance = *new Shim();
  return instance;
}

// Registers when the library is loaded, so that a C++ program only has to link or dlopen it. A
// "CoreMLBackend" that is already there stays: the registry has one slot per name.
[[maybe_unused]] const Error registered = [] {
#ifdef __APPLE__
  return Error::NotSupported;
#else
  executorch_coreml_runtime_access();   // outside of any call, for the streams
  executorch::runtime::runtime_init();  // or nothing can be logged yet
  if (get_backend_class(kBackendName) != nullptr) {
    ET_LOG(Info, "%s is registered already; this plugin stays unused", kBackendName);
    return Error::InvalidArgument;
  }
  if (!is_built_for_the_loaded_runtime()) {
    return Error::NotSupported;
  }
  return register_backend(Backend{kBackendName, &shim()});
#endif
}();

}  // namespace

void attach(Engine* engine) {
  detached.store(engine == nullptr, std::memory_order_relaxed);
  attached.store(engine, std::memory_order_release);
}

bool is_active() {
  return get_backend_class(kBackendName) == &shim();
}

}  // namespace executorch_coreml
