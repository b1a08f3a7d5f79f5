#include "runtime_access.h"

#include <iostream>
#include <numeric>
#include <vector>

namespace executorch_coreml {
namespace {

using executorch::aten::DimOrderType;
using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::StridesType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::runtime::ArrayRef;
using executorch::runtime::EventTracer;
using executorch::runtime::kUnsetDelegateDebugIntId;

bool log_intermediate_output(
    EventTracer& tracer,
    const char* name,
    ScalarType type,
    ArrayRef<SizesType> shape,
    void* data) {
  std::vector<SizesType> sizes(shape.begin(), shape.end());
  std::vector<StridesType> strides(sizes.size(), 1);
  for (size_t axis = sizes.size(); axis-- > 1;) {
    strides[axis - 1] = strides[axis] * sizes[axis];
  }
  std::vector<DimOrderType> order(sizes.size());
  std::iota(order.begin(), order.end(), 0);
  TensorImpl impl(
      type, static_cast<ssize_t>(sizes.size()), sizes.data(), data, order.data(), strides.data());
  return tracer.log_intermediate_output_delegate(name, kUnsetDelegateDebugIntId, Tensor(&impl)).ok();
}

}  // namespace
}  // namespace executorch_coreml

const executorch_coreml::RuntimeAccess* executorch_coreml_runtime_access() {
  namespace runtime = executorch::runtime;
  static const executorch_coreml::RuntimeAccess access{
      EXECUTORCH_COREML_EXECUTORCH_VERSION,
      EXECUTORCH_COREML_VERSION,
      runtime::internal::get_log_timestamp,
      runtime::internal::vlogf,
      executorch_coreml::attach,
      executorch_coreml::is_active,
      runtime::get_num_registered_backends,
      runtime::get_backend_name,
      runtime::get_pal_impl,
      runtime::runtime_abort,
      runtime::internal::resize_tensor_impl,
      std::cout.rdbuf(),
      std::cerr.rdbuf(),
      executorch_coreml::log_intermediate_output,
  };
  return &access;
}
