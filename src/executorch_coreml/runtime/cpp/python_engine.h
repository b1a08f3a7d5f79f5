// The Engine that calls Python: executorch_coreml.runtime.bridge.
#pragma once

#include <nanobind/nanobind.h>

#include "shim.h"

namespace executorch_coreml {

// The Python side of an engine.
struct Callbacks {
  nanobind::object init;        // (processed, specs, method_name, named_data, runtime_specs) -> model
  nanobind::object execute;     // (model, args, context) -> None
  nanobind::object destroy;     // (model) -> None
  nanobind::object set_option;  // (options) -> None
};

class PythonEngine final : public Engine {
 public:
  // The only instance. Never destroyed: it must not release Python objects after the interpreter.
  static PythonEngine& instance();

  void set_callbacks(Callbacks callbacks);

  executorch::runtime::Result<executorch::runtime::DelegateHandle*> init(
      executorch::runtime::BackendInitContext& context,
      executorch::runtime::FreeableBuffer* processed,
      executorch::runtime::ArrayRef<executorch::runtime::CompileSpec> specs) noexcept override;

  executorch::runtime::Error execute(
      executorch::runtime::BackendExecutionContext& context,
      executorch::runtime::DelegateHandle* handle,
      executorch::runtime::Span<executorch::runtime::EValue*> args) noexcept override;

  void destroy(executorch::runtime::DelegateHandle* handle) noexcept override;

  executorch::runtime::Error set_option(
      executorch::runtime::Span<executorch::runtime::BackendOption> options) noexcept override;

 private:
  Callbacks callbacks_;
};

}  // namespace executorch_coreml
