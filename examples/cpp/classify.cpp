// Classifies pictures with an ExecuTorch program whose work is done by Core ML.
//
//   classify MODEL.pte [KEY=VALUE ...] IMAGE ...
//
// KEY=VALUE are options of the backend: compute_unit=cpu_only, precision=float32, threads=1, ...
// Nothing here is about the platform. On Apple's, the stock Core ML delegate runs the program.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/backend/backend_options_map.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "image.h"

using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::runtime::BackendOptions;
using executorch::runtime::Error;
using executorch::runtime::LoadBackendOptionsMap;
using executorch::runtime::to_string;

namespace {

constexpr int kMaxOptions = 8;

// What ExecuTorch returned; its log says why.
void check(Error error, const std::string& what) {
  if (error != Error::Ok) {
    throw std::runtime_error(what + ": " + to_string(error));
  }
}

void add_option(BackendOptions<kMaxOptions>& options, const std::string& text) {
  const size_t equals = text.find('=');
  char key[executorch::runtime::kMaxOptionKeyLength]{};
  text.copy(key, std::min(equals, sizeof(key) - 1));
  const std::string value = text.substr(equals + 1);
  const bool is_number =
      !value.empty() && value.find_first_not_of("0123456789") == std::string::npos;
  const Error error = is_number ? options.set_option(key, std::stoi(value))
                                : options.set_option(key, value.c_str());
  check(error, text);
}

// Runs `module` once and prints the likeliest classes.
void classify(Module& module, const std::string& path) {
  const Image image = read_image(path);
  std::vector<float> values = normalised(image);
  const auto input = from_blob(values.data(), {1, image.channels, image.height, image.width});

  const auto start = std::chrono::steady_clock::now();
  const auto outputs = module.forward(input);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  check(outputs.error(), path);

  const auto logits = outputs->at(0).toTensor();
  const float* data = logits.const_data_ptr<float>();
  std::vector<int> classes(logits.numel());
  std::iota(classes.begin(), classes.end(), 0);
  const size_t shown = std::min<size_t>(3, classes.size());
  std::partial_sort(
      classes.begin(), classes.begin() + shown, classes.end(), [&](int left, int right) {
        return data[left] > data[right];
      });
  double sum = 0;
  for (const int one : classes) {
    sum += std::exp(static_cast<double>(data[one]) - data[classes[0]]);
  }
  std::printf("%s:", path.substr(path.rfind('/') + 1).c_str());
  for (size_t i = 0; i < shown; ++i) {
    const double likelihood = std::exp(static_cast<double>(data[classes[i]]) - data[classes[0]]) / sum;
    std::printf(" %d (%.1f %%)", classes[i], 100 * likelihood);
  }
  std::printf(", %.2f ms\n", took.count());
}

}  // namespace

int main(int argc, char** argv) try {
  std::vector<std::string> images;
  BackendOptions<kMaxOptions> options;
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.find('=') == std::string::npos) {
      images.push_back(word);
    } else {
      add_option(options, word);
    }
  }
  if (images.empty()) {
    std::fprintf(stderr, "usage: %s MODEL.pte [KEY=VALUE ...] IMAGE ...\n", argv[0]);
    return 2;
  }
  LoadBackendOptionsMap load_options;
  check(load_options.set_options("CoreMLBackend", options.view()), "options");
  Module module(argv[1]);
  check(module.load(load_options), argv[1]);
  check(module.load_method("forward"), argv[1]);
  for (const std::string& image : images) {
    classify(module, image);
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
