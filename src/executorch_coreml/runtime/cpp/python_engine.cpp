#include "python_engine.h"

#include <executorch/runtime/core/tag.h>

#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "contexts.h"
#include "errors.h"
#include "program_file.h"
#include "views.h"

namespace nb = nanobind;

namespace executorch_coreml {
namespace {

using executorch::runtime::ArrayRef;
using executorch::runtime::BackendExecutionContext;
using executorch::runtime::BackendInitContext;
using executorch::runtime::BackendOption;
using executorch::runtime::CompileSpec;
using executorch::runtime::DelegateHandle;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::FreeableBuffer;
using executorch::runtime::kMaxOptionValueLength;
using executorch::runtime::Result;
using executorch::runtime::Span;

// What a DelegateHandle points to.
struct LoadedModel {
  nb::object model;
  size_t num_inputs;
  Excerpt payload;  // to name the file in messages
};

// "method 'forward' of model.pte did not load"
std::string describe(const char* method, const Excerpt& payload, const char* what) {
  std::string text = "method '" + std::string(method == nullptr ? "" : method) + "'";
  const std::string file = payload.find_file();
  if (!file.empty()) {
    text += " of " + file;
  }
  return text + " " + what;
}

// An object of the runtime that Python may use until the end of the scope, and not later.
template <typename T>
class Lent {
 public:
  explicit Lent(T&& value) : object_(nb::cast(std::move(value))) {}
  ~Lent() { nb::inst_ptr<T>(object_)->close(); }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;

  const nb::object& operator*() const { return object_; }

 private:
  nb::object object_;
};

nb::dict dict_of(ArrayRef<CompileSpec> specs) {
  nb::dict result;
  for (const CompileSpec& spec : specs) {
    result[spec.key] = nb::bytes(spec.value.buffer, spec.value.nbytes);
  }
  return result;
}

nb::object object_of(const executorch::runtime::OptionValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) {
    return nb::bool_(*flag);
  }
  if (const auto* number = std::get_if<int>(&value)) {
    return nb::int_(*number);
  }
  return nb::str(std::get<std::array<char, kMaxOptionValueLength>>(value).data());
}

nb::dict dict_of(Span<const BackendOption> options) {
  nb::dict result;
  for (const BackendOption& option : options) {
    result[static_cast<const char*>(option.key)] = object_of(option.value);
  }
  return result;
}

nb::tuple lend_all(Span<EValue*> args, size_t num_inputs, Loans& loans) {
  nb::object result = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(args.size())));
  for (size_t i = 0; i < args.size(); ++i) {
    if (!args[i]->isTensor()) {
      throw_input_error("delegate argument " + std::to_string(i) + " is not a tensor");
    }
    const Access access = i < num_inputs ? Access::kRead : Access::kWrite;
    nb::object view = loans.lend(args[i]->toTensor(), access);
    PyTuple_SET_ITEM(result.ptr(), static_cast<Py_ssize_t>(i), view.release().ptr());
  }
  return nb::borrow<nb::tuple>(result);
}

}  // namespace

PythonEngine& PythonEngine::instance() {
  static PythonEngine& engine = *new PythonEngine();
  return engine;
}

void PythonEngine::set_callbacks(Callbacks callbacks) {
  callbacks_ = std::move(callbacks);
}

Result<DelegateHandle*> PythonEngine::init(
    BackendInitContext& context,
    FreeableBuffer* processed,
    ArrayRef<CompileSpec> specs) noexcept {
  DelegateHandle* handle = nullptr;
  const char* method = context.get_method_name();
  const Excerpt payload(processed->data(), processed->size());
  const auto what = [&] { return describe(method, payload, "did not load"); };
  const Error error = at_border(what, Error::InvalidProgram, [&] {
    const Lent<NamedData> named_data(NamedData(context.get_named_data_map()));
    nb::object model = callbacks_.init(
        Bytes::view(std::move(*processed)),
        dict_of(specs),
        method == nullptr ? "" : method,
        *named_data,
        dict_of(context.runtime_specs()));
    const auto num_inputs = nb::cast<size_t>(model.attr("num_inputs"));
    handle = new LoadedModel{std::move(model), num_inputs, payload};
  });
  if (error != Error::Ok) {
    return error;
  }
  return handle;
}

Error PythonEngine::execute(
    BackendExecutionContext& context,
    DelegateHandle* handle,
    Span<EValue*> args) noexcept {
  const auto& loaded = *static_cast<LoadedModel*>(handle);
  const auto what = [&] {
    return describe(context.get_method_name(), loaded.payload, "did not run");
  };
  return at_border(what, Error::DelegateInvalidHandle, [&] {
    Loans loans;
    {
      const Lent<ExecutionContext> lent(ExecutionContext(context, args, loaded.num_inputs, loans));
      callbacks_.execute(loaded.model, lend_all(args, loaded.num_inputs, loans), *lent);
    }
    loans.expect_all_returned();
  });
}

void PythonEngine::destroy(DelegateHandle* handle) noexcept {
  const nb::gil_scoped_acquire gil;
  const nb::error_scope pending;  // a load that failed destroys the delegates loaded before it
  const std::unique_ptr<LoadedModel> loaded(static_cast<LoadedModel*>(handle));
  if (loaded == nullptr) {
    return;
  }
  try {
    callbacks_.destroy(loaded->model);
  } catch (nb::python_error& error) {
    error.discard_as_unraisable(loaded->model);
  }
}

Error PythonEngine::set_option(Span<BackendOption> options) noexcept {
  const auto what = [] { return std::string("set_option failed"); };
  return at_border(what, Error::InvalidArgument, [&] {
    callbacks_.set_option(dict_of(Span<const BackendOption>(options.data(), options.size())));
  });
}

}  // namespace executorch_coreml
