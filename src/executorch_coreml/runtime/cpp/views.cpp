#include "views.h"

#include <executorch/runtime/core/exec_aten/util/scalar_type_util.h>

#include <string>

#include "errors.h"

namespace nb = nanobind;

namespace executorch_coreml {
namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::FreeableBuffer;

// ScalarType <-> PEP 3118 format character.
constexpr std::pair<ScalarType, const char*> kFormats[] = {
    {ScalarType::Bool, "?"},
    {ScalarType::Byte, "B"},
    {ScalarType::Char, "b"},
    {ScalarType::Short, "h"},
    {ScalarType::Int, "i"},
    {ScalarType::Long, "q"},
    {ScalarType::Half, "e"},
    {ScalarType::Float, "f"},
    {ScalarType::Double, "d"},
};

const char* format_of(ScalarType type) {
  for (const auto& [scalar_type, format] : kFormats) {
    if (scalar_type == type) {
      return format;
    }
  }
  throw_input_error(
      std::string("Core ML takes no tensors of ExecuTorch's element type ") +
      executorch::runtime::toString(type));
}

// A buffer must have an address even when it has no elements.
void* address(const void* data) {
  static char nowhere;
  return data == nullptr ? &nowhere : const_cast<void*>(data);
}

nb::object memoryview_of(nb::handle exporter) {
  PyObject* view = PyMemoryView_FromObject(exporter.ptr());
  if (view == nullptr) {
    throw nb::python_error();
  }
  return nb::steal(view);
}

template <typename T>
int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  return nb::inst_ptr<T>(nb::handle(self))->export_to(self, view, flags);
}

void release_tensor(PyObject* self, Py_buffer*) {
  nb::inst_ptr<TensorMemory>(nb::handle(self))->released();
}

PyType_Slot bytes_slots[] = {
    {Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer<Bytes>)},
    {0, nullptr},
};
PyType_Slot tensor_slots[] = {
    {Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer<TensorMemory>)},
    {Py_bf_releasebuffer, reinterpret_cast<void*>(release_tensor)},
    {0, nullptr},
};

}  // namespace

nb::object Bytes::view(FreeableBuffer&& buffer) {
  return memoryview_of(nb::cast(Bytes(std::move(buffer))));
}

int Bytes::export_to(PyObject* self, Py_buffer* view, int flags) const {
  return PyBuffer_FillInfo(
      view, self, address(buffer_.data()), static_cast<Py_ssize_t>(buffer_.size()), 1, flags);
}

TensorMemory::TensorMemory(const Tensor& tensor, Access access)
    : data_(address(tensor.const_data_ptr())),
      itemsize_(executorch::runtime::elementSize(tensor.scalar_type())),
      bytes_(tensor.numel() * itemsize_),
      format_(format_of(tensor.scalar_type())),
      rank_(static_cast<int>(tensor.dim())),
      readonly_(access == Access::kRead) {
  for (int axis = 0; axis < rank_; ++axis) {
    shape_[axis] = tensor.sizes()[axis];
    strides_[axis] = tensor.strides()[axis] * itemsize_;
  }
}

int TensorMemory::export_to(PyObject* self, Py_buffer* view, int flags) {
  if ((flags & PyBUF_FULL_RO) != PyBUF_FULL_RO || (readonly_ && (flags & PyBUF_WRITABLE) != 0)) {
    PyErr_SetString(PyExc_BufferError, "take a memoryview of the tensor, read-only for an input");
    return -1;
  }
  *view = Py_buffer{};
  view->obj = Py_NewRef(self);
  view->buf = data_;
  view->len = bytes_;
  view->itemsize = itemsize_;
  view->format = const_cast<char*>(format_);
  view->ndim = rank_;
  view->shape = shape_.data();
  view->strides = strides_.data();
  view->readonly = readonly_;
  ++exports_;
  return 0;
}

nb::object Loans::lend(const Tensor& tensor, Access access) {
  lent_.push_back(nb::cast(TensorMemory(tensor, access)));
  return memoryview_of(lent_.back());
}

void Loans::expect_all_returned() const {
  for (const nb::object& exporter : lent_) {
    if (nb::inst_ptr<TensorMemory>(exporter)->exported()) {
      PyErr_SetString(
          PyExc_BufferError,
          "the engine kept a view of a tensor beyond execute(), when its memory is the runtime's");
      throw nb::python_error();
    }
  }
}

ScalarType scalar_type_of(const Py_buffer& buffer) {
  const std::string format = buffer.format == nullptr ? "B" : buffer.format;
  if (format == "l" && buffer.itemsize == 8) {
    return ScalarType::Long;  // numpy's int64 where C's long has 64 bits
  }
  for (const auto& [scalar_type, known] : kFormats) {
    if (format == known) {
      return scalar_type;
    }
  }
  throw nb::type_error(("cannot log elements of format " + format).c_str());
}

void define_views(nb::module_& module) {
  nb::class_<Bytes>(module, "_Bytes", nb::type_slots(bytes_slots));
  nb::class_<TensorMemory>(module, "_TensorMemory", nb::type_slots(tensor_slots));
}

}  // namespace executorch_coreml
