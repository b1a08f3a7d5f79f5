#include "streams.h"

#include <iostream>

namespace executorch_coreml {
namespace {

std::streambuf* own_cout = nullptr;
std::streambuf* own_cerr = nullptr;

}  // namespace

void remember_streams() {
  own_cout = std::cout.rdbuf();
  own_cerr = std::cerr.rdbuf();
}

void restore_streams() {
  std::cout.rdbuf(own_cout);
  std::cerr.rdbuf(own_cerr);
}

}  // namespace executorch_coreml
