// What the engine may ask of the runtime while it loads or runs a model.
#pragma once

#include <executorch/runtime/backend/backend_execution_context.h>
#include <executorch/runtime/core/evalue.h>
#include <executorch/runtime/core/named_data_map.h>
#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "views.h"

namespace executorch_coreml {

// The named data of a program, readable while init() runs.
class NamedData {
 public:
  explicit NamedData(const executorch::runtime::NamedDataMap* map) : map_(map) {}

  // A memoryview of the data stored under `key`, which stays valid after init(). KeyError if there
  // is none, RuntimeError after init().
  nanobind::object get(std::string_view key) const;

  void close() { open_ = false; }

 private:
  const executorch::runtime::NamedDataMap* map_;
  bool open_ = true;
};

// One execute() call.
class ExecutionContext {
 public:
  ExecutionContext(
      executorch::runtime::BackendExecutionContext& context,
      executorch::runtime::Span<executorch::runtime::EValue*> args,
      size_t num_inputs,
      Loans& loans)
      : context_(&context), args_(args), num_inputs_(num_inputs), loans_(&loans) {}

  std::string method_name() const;
  bool tracing() const;
  int debug_level() const;

  // Gives output `index`, counted from 0 among the outputs, a new shape within the bound that
  // ExecuTorch planned, and returns a fresh view of it. ValueError if it does not fit.
  nanobind::object resize(size_t index, const std::vector<int32_t>& shape);

  void log_event(const std::string& name, uint64_t start, uint64_t end, const nanobind::bytes& metadata);
  void log_output(const std::string& name, nanobind::handle array);

  void close() { context_ = nullptr; }

 private:
  executorch::runtime::BackendExecutionContext& context() const;

  executorch::runtime::BackendExecutionContext* context_;
  executorch::runtime::Span<executorch::runtime::EValue*> args_;
  size_t num_inputs_;
  Loans* loans_;
};

void define_contexts(nanobind::module_& module);

}  // namespace executorch_coreml
