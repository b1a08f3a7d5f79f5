#include "contexts.h"

#include <executorch/runtime/core/event_tracer_hooks_delegate.h>
#include <executorch/runtime/core/exec_aten/util/tensor_util.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "runtime_symbols.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace executorch_coreml {
namespace {

using executorch::aten::SizesType;
using executorch::aten::Tensor;
using executorch::runtime::ArrayRef;
using executorch::runtime::BackendExecutionContext;
using executorch::runtime::Error;
using executorch::runtime::kUnsetDelegateDebugIntId;

// A C-contiguous buffer of a Python object, released at the end of the scope.
class ContiguousBuffer {
 public:
  explicit ContiguousBuffer(nb::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) {
      throw nb::python_error();
    }
  }
  ~ContiguousBuffer() { PyBuffer_Release(&buffer_); }
  ContiguousBuffer(const ContiguousBuffer&) = delete;
  ContiguousBuffer& operator=(const ContiguousBuffer&) = delete;

  const Py_buffer& operator*() const { return buffer_; }

 private:
  Py_buffer buffer_;
};

}  // namespace

nb::object NamedData::get(std::string_view key) const {
  if (!open_) {
    throw std::runtime_error("named data is only readable while a model is being loaded");
  }
  const std::string name(key);
  if (map_ == nullptr) {
    throw nb::key_error(name.c_str());
  }
  auto data = map_->get_data(key);
  if (!data.ok()) {
    throw nb::key_error(name.c_str());
  }
  return Bytes::view(std::move(data.get()));
}

BackendExecutionContext& ExecutionContext::context() const {
  if (context_ == nullptr) {
    throw std::runtime_error("an execution context is only usable while execute() runs");
  }
  return *context_;
}

std::string ExecutionContext::method_name() const {
  const char* name = context().get_method_name();
  return name == nullptr ? "" : name;
}

bool ExecutionContext::tracing() const {
  return context().event_tracer() != nullptr;
}

int ExecutionContext::debug_level() const {
  auto* tracer = context().event_tracer();
  return tracer == nullptr ? 0 : static_cast<int>(tracer->event_tracer_debug_level());
}

nb::object ExecutionContext::resize(size_t index, const std::vector<int32_t>& shape) {
  context();
  const size_t position = num_inputs_ + index;
  if (position >= args_.size()) {
    throw nb::index_error(("there is no output " + std::to_string(index)).c_str());
  }
  Tensor& tensor = args_[position]->toTensor();
  if (resize_tensor(tensor, ArrayRef<SizesType>(shape.data(), shape.size())) != Error::Ok) {
    throw nb::value_error("the shape exceeds what ExecuTorch planned for this tensor");
  }
  return loans_->lend(tensor, Access::kWrite);
}

void ExecutionContext::log_event(
    const std::string& name,
    uint64_t start,
    uint64_t end,
    const nb::bytes& metadata) {
  event_tracer_log_profiling_delegate(
      context().event_tracer(),
      name.c_str(),
      kUnsetDelegateDebugIntId,
      start,
      end,
      metadata.size() == 0 ? nullptr : metadata.c_str(),
      metadata.size());
}

void ExecutionContext::log_output(const std::string& name, nb::handle array) {
  auto* tracer = context().event_tracer();
  if (tracer == nullptr) {
    return;
  }
  const ContiguousBuffer buffer(array);
  std::vector<SizesType> sizes((*buffer).shape, (*buffer).shape + (*buffer).ndim);
  if (!runtime_access().log_intermediate_output(
          *tracer,
          name.c_str(),
          scalar_type_of(*buffer),
          ArrayRef<SizesType>(sizes.data(), sizes.size()),
          (*buffer).buf)) {
    throw std::runtime_error("the event tracer did not take the value of " + name);
  }
}

void define_contexts(nb::module_& module) {
  nb::class_<NamedData>(module, "NamedData").def("__call__", &NamedData::get, "key"_a);
  nb::class_<ExecutionContext>(module, "ExecutionContext")
      .def_prop_ro("method_name", &ExecutionContext::method_name)
      .def_prop_ro("tracing", &ExecutionContext::tracing)
      .def_prop_ro("debug_level", &ExecutionContext::debug_level)
      .def("resize", &ExecutionContext::resize, "index"_a, "shape"_a)
      .def(
          "log_event",
          &ExecutionContext::log_event,
          "name"_a,
          "start"_a,
          "end"_a,
          "metadata"_a = nb::bytes("", 0))
      .def("log_output", &ExecutionContext::log_output, "name"_a, "array"_a);
}

}  // namespace executorch_coreml
