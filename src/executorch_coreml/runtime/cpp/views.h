// Memory of the runtime as Python memoryviews, without copies.
#pragma once

#include <executorch/runtime/core/exec_aten/exec_aten.h>
#include <executorch/runtime/core/freeable_buffer.h>
#include <executorch/runtime/core/exec_aten/util/tensor_dimension_limit.h>
#include <nanobind/nanobind.h>

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

namespace executorch_coreml {

// Bytes of a program. Owns the buffer, so what Python derives from the view stays valid for as long
// as Python keeps it. The exception: bytes of a program that was itself loaded from memory belong to
// that memory, and end with it.
class Bytes {
 public:
  explicit Bytes(executorch::runtime::FreeableBuffer&& buffer) : buffer_(std::move(buffer)) {}

  static nanobind::object view(executorch::runtime::FreeableBuffer&& buffer);

  int export_to(PyObject* self, Py_buffer* view, int flags) const;

 private:
  executorch::runtime::FreeableBuffer buffer_;
};

enum class Access { kRead, kWrite };

// One tensor of the runtime, which counts how many views Python holds of it.
class TensorMemory {
 public:
  // Throws InputError for element types that Python's buffer protocol cannot name.
  TensorMemory(const executorch::aten::Tensor& tensor, Access access);

  int export_to(PyObject* self, Py_buffer* view, int flags);
  void released() { --exports_; }
  bool exported() const { return exports_ != 0; }

 private:
  void* data_;
  Py_ssize_t itemsize_;
  Py_ssize_t bytes_;
  const char* format_;
  int rank_;
  bool readonly_;
  std::array<Py_ssize_t, executorch::runtime::kTensorDimensionLimit> shape_{};
  std::array<Py_ssize_t, executorch::runtime::kTensorDimensionLimit> strides_{};
  Py_ssize_t exports_ = 0;
};

// The tensors that one execute() lends to Python. Their memory is the runtime's again afterwards, so
// every view must be gone by then.
class Loans {
 public:
  // A memoryview of `tensor`, typed, with its shape and strides; rank-0 tensors have shape ().
  nanobind::object lend(const executorch::aten::Tensor& tensor, Access access);

  // Throws BufferError if Python still holds a view of a tensor that was lent.
  void expect_all_returned() const;

 private:
  std::vector<nanobind::object> lent_;
};

// The element type of a buffer, from its format character.
executorch::aten::ScalarType scalar_type_of(const Py_buffer& buffer);

void define_views(nanobind::module_& module);

}  // namespace executorch_coreml
