#include "commands.h"

#include <dlfcn.h>
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/backend/backend_options_map.h>
#include <executorch/runtime/backend/interface.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <thread>

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::extension::make_tensor_ptr;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::BackendOptions;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::LoadBackendOptionsMap;

namespace {

using Words = std::vector<std::string>;
using Clock = std::chrono::steady_clock;

// Destroyed after main(), as an application's own static objects are.
std::map<std::string, std::unique_ptr<Module>> modules;

void print_error(const char* what, Error error) {
  std::printf("%s 0x%x\n", what, static_cast<unsigned>(error));
  std::fflush(stdout);
}

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

template <typename T>
TensorPtr tensor_of(std::vector<executorch::aten::SizesType> sizes, const Words& words, size_t at) {
  size_t count = 1;
  for (const auto size : sizes) {
    count *= size;
  }
  // The words repeat until there are enough values.
  std::vector<T> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] = static_cast<T>(std::stod(words[at + i % (words.size() - at)]));
  }
  return make_tensor_ptr(std::move(sizes), std::move(values));
}

// Inputs as "f32 3,4 1 2 3 ... ; i64 5 ...": element type, sizes, values. "-" are no sizes (rank 0).
std::vector<TensorPtr> inputs_of(Words::const_iterator begin, Words::const_iterator end) {
  std::vector<TensorPtr> tensors;
  while (begin != end) {
    const auto stop = std::find(begin, end, ";");
    const Words words(begin, stop);
    std::vector<executorch::aten::SizesType> sizes;
    if (words[1] != "-") {
      std::istringstream stream(words[1]);
      for (std::string size; std::getline(stream, size, ',');) {
        sizes.push_back(std::stoi(size));
      }
    }
    if (words[0] == "f32") {
      tensors.push_back(tensor_of<float>(std::move(sizes), words, 2));
    } else if (words[0] == "i32") {
      tensors.push_back(tensor_of<int32_t>(std::move(sizes), words, 2));
    } else {
      tensors.push_back(tensor_of<int64_t>(std::move(sizes), words, 2));
    }
    begin = stop == end ? end : stop + 1;
  }
  return tensors;
}

template <typename T>
void print_values(const Tensor& tensor, const char* format) {
  for (ssize_t i = 0; i < tensor.numel(); ++i) {
    std::printf(format, tensor.const_data_ptr<T>()[i]);
  }
}

void print_tensor(const Tensor& tensor) {
  std::printf("out");
  for (const auto size : tensor.sizes()) {
    std::printf(" %d", static_cast<int>(size));
  }
  std::printf(" :");
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      print_values<float>(tensor, " %.9g");
      break;
    case ScalarType::Int:
      print_values<int32_t>(tensor, " %d");
      break;
    default:
      print_values<int64_t>(tensor, " %ld");
  }
  std::printf("\n");
  std::fflush(stdout);
}

std::vector<EValue> values_of(const std::vector<TensorPtr>& tensors) {
  std::vector<EValue> values;
  for (const auto& tensor : tensors) {
    values.emplace_back(tensor);
  }
  return values;
}

template <typename Options>
void set_all(Options& options, Words::const_iterator begin, Words::const_iterator end) {
  for (; begin != end; ++begin) {
    const size_t equals = begin->find('=');
    char key[executorch::runtime::kMaxOptionKeyLength]{};
    begin->copy(key, std::min(equals, sizeof(key) - 1));
    const std::string value = begin->substr(equals + 1);
    if (!value.empty() && value.find_first_not_of("0123456789") == std::string::npos) {
      (void)options.set_option(key, std::stoi(value));
    } else {
      (void)options.set_option(key, value.c_str());
    }
  }
}

// module NAME FILE [mmap]
void make_module(const Words& words) {
  const auto mode = words.size() > 3 ? Module::LoadMode::Mmap : Module::LoadMode::File;
  modules[words[1]] = std::make_unique<Module>(words[2], mode);
}

// options NAME KEY=VALUE ...
void give_options(const Words& words) {
  BackendOptions<4> options;
  set_all(options, words.begin() + 2, words.end());
  LoadBackendOptionsMap map;
  (void)map.set_options("CoreMLBackend", options.view());
  print_error("options", modules.at(words[1])->load(map));
}

// load NAME METHOD
void load_method(const Words& words) {
  const auto start = Clock::now();
  const Error error = modules.at(words[1])->load_method(words[2]);
  std::fprintf(stderr, "load_method took %.0f us, %.0f ms of CPU time\n", microseconds_since(start), 1e3 * std::clock() / CLOCKS_PER_SEC);
  print_error("load", error);
}

// run NAME METHOD INPUTS
void run_method(const Words& words) {
  const auto inputs = inputs_of(words.begin() + 3, words.end());
  const auto outputs = modules.at(words[1])->execute(words[2], values_of(inputs));
  print_error("run", outputs.error());
  if (outputs.ok()) {
    for (const EValue& value : *outputs) {
      print_tensor(value.toTensor());
    }
  }
}

// time COUNT NAME METHOD INPUTS: the fastest of the calls, and the median, in microseconds
void time_method(const Words& words) {
  const auto tensors = inputs_of(words.begin() + 4, words.end());
  const auto inputs = values_of(tensors);
  std::vector<double> times(std::stoul(words[1]));
  for (double& time : times) {
    const auto start = Clock::now();
    const auto outputs = modules.at(words[2])->execute(words[3], inputs);
    time = microseconds_since(start);
    if (!outputs.ok()) {
      return print_error("run", outputs.error());
    }
  }
  std::sort(times.begin(), times.end());
  std::printf("time %.2f %.2f\n", times.front(), times[times.size() / 2]);
}

// time_thread ...: the same in a thread of its own
void time_in_thread(const Words& words) {
  std::thread(time_method, words).join();
}

// threads COUNT CALLS FILE METHOD INPUTS: a Module in each thread; the outputs must not differ
void run_in_threads(const Words& words) {
  const size_t calls = std::stoul(words[2]);
  std::vector<std::string> results(std::stoul(words[1]));
  std::vector<std::thread> threads;
  for (std::string& result : results) {
    threads.emplace_back([&] {
      Module module(words[3]);
      const auto inputs = inputs_of(words.begin() + 5, words.end());
      std::vector<float> first;
      for (size_t call = 0; call < calls; ++call) {
        const auto outputs = module.execute(words[4], values_of(inputs));
        if (!outputs.ok()) {
          result = "failed";
          return;
        }
        const Tensor tensor = (*outputs)[0].toTensor();
        const float* data = tensor.const_data_ptr<float>();
        const std::vector<float> values(data, data + tensor.numel());
        if (call == 0) {
          first = values;
        } else if (first != values) {
          result = "differs";
        }
      }
      std::ostringstream text;
      for (const float value : first) {
        text << " " << value;
      }
      result += text.str();
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const std::string& result : results) {
    std::printf("thread%s\n", result.c_str());
  }
  std::fflush(stdout);
}

// dlopen FILE
void open_library(const Words& words) {
  void* library = dlopen(words[1].c_str(), RTLD_NOW | RTLD_LOCAL);
  std::printf("dlopen %s\n", library == nullptr ? dlerror() : "ok");
  if (words.size() > 2) {  // "close"
    dlclose(library);
  }
  std::fflush(stdout);
}

// backends
void list_backends(const Words&) {
  std::printf("backends");
  for (size_t i = 0; i < executorch::runtime::get_num_registered_backends(); ++i) {
    std::printf(" %s", *executorch::runtime::get_backend_name(i));
  }
  std::printf("\n");
  std::fflush(stdout);
}

// set_option KEY=VALUE ...: of the backend, for what is loaded from now on
void set_backend_option(const Words& words) {
  BackendOptions<4> options;
  set_all(options, words.begin() + 1, words.end());
  print_error("set_option", executorch::runtime::set_option("CoreMLBackend", options.view()));
}

// redirect: what is written to std::cout ends up in a buffer
void redirect(const Words&) {
  static std::ostringstream buffer;
  std::cout.rdbuf(buffer.rdbuf());
}

// redirected: whether it still does
void check_redirected(const Words&) {
  std::cout << "for the buffer";
  const auto* buffer = dynamic_cast<std::stringbuf*>(std::cout.rdbuf());
  std::printf("redirected %d\n", buffer != nullptr && buffer->str() == "for the buffer");
}

// free NAME
void free_module(const Words& words) {
  modules.erase(words[1]);
}

}  // namespace

bool run_command(const Words& words) {
  static const std::map<std::string, std::function<void(const Words&)>> commands{
      {"module", make_module},
      {"options", give_options},
      {"load", load_method},
      {"run", run_method},
      {"time", time_method},
      {"time_thread", time_in_thread},
      {"threads", run_in_threads},
      {"dlopen", open_library},
      {"backends", list_backends},
      {"set_option", set_backend_option},
      {"redirect", redirect},
      {"redirected", check_redirected},
      {"free", free_module},
  };
  const auto found = commands.find(words[0]);
  if (found == commands.end()) {
    return false;
  }
  found->second(words);
  return true;
}
