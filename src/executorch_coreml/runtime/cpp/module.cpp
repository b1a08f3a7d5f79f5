// executorch_coreml.runtime._native: attaches Python functions to the shim.
#include <executorch/runtime/backend/interface.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "contexts.h"
#include "python_engine.h"
#include "runtime_symbols.h"
#include "start_python.h"
#include "streams.h"
#include "views.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using executorch_coreml::Callbacks;
using executorch_coreml::PythonEngine;

void attach(nb::object init, nb::object execute, nb::object destroy, nb::object set_option) {
  auto& engine = PythonEngine::instance();
  engine.set_callbacks(Callbacks{
      std::move(init), std::move(execute), std::move(destroy), std::move(set_option)});
  executorch_coreml::runtime_access().attach(&engine);
}

void detach() {
  executorch_coreml::restore_streams();
  executorch_coreml::runtime_access().attach(nullptr);
}

std::vector<std::string> registered_backends() {
  std::vector<std::string> names;
  for (size_t i = 0; i < executorch::runtime::get_num_registered_backends(); ++i) {
    const auto name = executorch::runtime::get_backend_name(i);
    if (name.ok()) {
      names.emplace_back(*name);
    }
  }
  return names;
}

}  // namespace

NB_MODULE(_native, module) {
  if (!executorch_coreml::connected()) {
    executorch_coreml::connect_beside();
  }
  if (!executorch_coreml::hosts_python()) {
    executorch_coreml::remember_streams();
  }
  // Methods that live until the process ends keep their models, by design (see shim.h).
  nb::set_leak_warnings(false);
  executorch_coreml::define_views(module);
  executorch_coreml::define_contexts(module);
  module.def("attach", attach, "init"_a, "execute"_a, "destroy"_a, "set_option"_a);
  module.def("detach", detach);
  module.def("is_active", [] { return executorch_coreml::runtime_access().is_active(); });
  module.def("registered_backends", registered_backends);
}
