// The functions of the ExecuTorch runtime that the Python extension calls.
//
// A program has one copy of the runtime: libexecutorch.so, or archives that are linked into it. The
// shim is linked with that copy. The extension is linked with none, because it is compiled before
// anybody knows which one it will meet: it calls through this table, which the shim hands to it, and
// runtime_symbols.cpp makes the functions look as if they were linked.
#pragma once

#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/core/event_tracer.h>
#include <executorch/runtime/core/exec_aten/util/tensor_util.h>
#include <executorch/runtime/platform/abort.h>
#include <executorch/runtime/platform/log.h>
#include <executorch/runtime/platform/platform.h>

#include <streambuf>

#include "shim.h"

namespace executorch_coreml {

struct RuntimeAccess {
  // Which executorch the shim was compiled against, which release of this package it is of, and how
  // to say that they do not fit. These four come first in every release.
  const char* executorch_version;
  const char* package_version;
  decltype(&executorch::runtime::internal::get_log_timestamp) get_log_timestamp;
  decltype(&executorch::runtime::internal::vlogf) vlogf;

  decltype(&executorch_coreml::attach) attach;
  decltype(&executorch_coreml::is_active) is_active;

  decltype(&executorch::runtime::get_num_registered_backends) get_num_registered_backends;
  decltype(&executorch::runtime::get_backend_name) get_backend_name;
  decltype(&executorch::runtime::get_pal_impl) get_pal_impl;
  decltype(&executorch::runtime::runtime_abort) runtime_abort;
  decltype(&executorch::runtime::internal::resize_tensor_impl) resize_tensor_impl;

  // The buffers that std::cout and std::cerr had when the shim was loaded; see streams.h.
  std::streambuf* cout;
  std::streambuf* cerr;

  // Gives `tracer` a contiguous array as the value of an intermediate output.
  bool (*log_intermediate_output)(
      executorch::runtime::EventTracer& tracer,
      const char* name,
      executorch::aten::ScalarType type,
      executorch::runtime::ArrayRef<executorch::aten::SizesType> sizes,
      void* data);
};

}  // namespace executorch_coreml

extern "C" {

// In the shim: its table.
EXECUTORCH_COREML_API const executorch_coreml::RuntimeAccess* executorch_coreml_runtime_access();

// In the extension: starts Python, unless it runs already, and attaches the engine of the package in
// `site_directory`. `executable` is the interpreter whose packages are used. False after saying in
// the log what is wrong.
EXECUTORCH_COREML_API bool executorch_coreml_start_python(
    const executorch_coreml::RuntimeAccess* access,
    const char* executable,
    const char* site_directory);

}  // extern "C"
