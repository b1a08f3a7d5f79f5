#include "streams.h"

#include <iostream>

#include "runtime_symbols.h"

namespace executorch_coreml {
namespace {

std::streambuf* own_cout = nullptr;
std::streambuf* own_cerr = nullptr;

}  // namespace

void remember_streams() {
  own_cout = runtime_access().cout;
  own_cerr = runtime_access().cerr;
}

void restore_streams() {
  if (own_cout != nullptr) {
    std::cout.rdbuf(own_cout);
    std::cerr.rdbuf(own_cerr);
  }
}

}  // namespace executorch_coreml
