// The process-wide "CoreMLBackend" of ExecuTorch's registry. Whoever can run a payload attaches an
// Engine, and the shim forwards to it; when none is attached, it starts one (python_host.h).
#pragma once

#include <executorch/runtime/backend/interface.h>

#define EXECUTORCH_COREML_API __attribute__((visibility("default")))

namespace executorch_coreml {

inline constexpr const char* kBackendName = "CoreMLBackend";

// What runs delegate payloads. Calls may come from any thread, concurrently for different handles,
// and must not throw: an exception that unwinds through the runtime leaves a Method unusable.
class EXECUTORCH_COREML_API Engine {
 public:
  virtual ~Engine() = default;

  // Takes over what it needs of `processed` and returns a handle that destroy() will get.
  virtual executorch::runtime::Result<executorch::runtime::DelegateHandle*> init(
      executorch::runtime::BackendInitContext& context,
      executorch::runtime::FreeableBuffer* processed,
      executorch::runtime::ArrayRef<executorch::runtime::CompileSpec> specs) noexcept = 0;

  // `args` are the delegate's inputs, then its outputs; valid during the call only.
  virtual executorch::runtime::Error execute(
      executorch::runtime::BackendExecutionContext& context,
      executorch::runtime::DelegateHandle* handle,
      executorch::runtime::Span<executorch::runtime::EValue*> args) noexcept = 0;

  virtual void destroy(executorch::runtime::DelegateHandle* handle) noexcept = 0;

  virtual executorch::runtime::Error set_option(
      executorch::runtime::Span<executorch::runtime::BackendOption> options) noexcept = 0;
};

// Makes `engine` serve all handles from now on; it must outlive the process or be detached first.
// nullptr detaches for ever: later loads fail with NotFound, and live handles are leaked.
EXECUTORCH_COREML_API void attach(Engine* engine);

// Whether "CoreMLBackend" in the registry is this shim. False on Darwin, where the name belongs to
// the real backend, and where another library took the name first.
EXECUTORCH_COREML_API bool is_active();

}  // namespace executorch_coreml
