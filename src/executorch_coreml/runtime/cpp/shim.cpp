#include "shim.h"

#include <executorch/runtime/platform/log.h>

#include <atomic>

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

// The attached engine, or nullptr after saying in the log what to do about it.
Engine* engine_or_log(const char* what) {
  Engine* engine = attached.load(std::memory_order_acquire);
  if (engine == nullptr) {
    ET_LOG(
        Error,
        "%s: cannot %s, no engine is attached. In Python, import executorch_coreml.runtime first.",
        kBackendName,
        what);
  }
  return engine;
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
    Engine* engine = engine_or_log("load a model");
    if (engine == nullptr) {
      return Error::NotFound;
    }
    return engine->init(context, processed, specs);
  }

  Error execute(
      BackendExecutionContext& context,
      DelegateHandle* handle,
      Span<EValue*> args) const override {
    Engine* engine = engine_or_log("run a model");
    return engine == nullptr ? Error::InvalidState : engine->execute(context, handle, args);
  }

  void destroy(DelegateHandle* handle) const override {
    if (Engine* engine = attached.load(std::memory_order_acquire)) {
      engine->destroy(handle);
    }
  }

  Error set_option(BackendOptionContext&, const Span<BackendOption>& options) override {
    Engine* engine = engine_or_log("set options");
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
  if (get_backend_class(kBackendName) != nullptr) {
    return Error::InvalidArgument;
  }
  return register_backend(Backend{kBackendName, &shim()});
#endif
}();

}  // namespace

void attach(Engine* engine) {
  attached.store(engine, std::memory_order_release);
}

bool is_active() {
  return get_backend_class(kBackendName) == &shim();
}

}  // namespace executorch_coreml
