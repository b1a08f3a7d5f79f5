// Connects the extension with the runtime of the program that it is loaded into.
#pragma once

#include "runtime_access.h"

namespace executorch_coreml {

// The table of the shim. Only after connect() or connect_beside().
const RuntimeAccess& runtime_access();

// Uses `access` from now on. False, after saying why in its log, if its shim is of another release
// of this package, or for another executorch.
bool connect(const RuntimeAccess* access);

// Whether connect() or connect_beside() was called.
bool connected();

// Loads the shim library that is installed beside this extension and connects to it. Throws
// std::runtime_error.
void connect_beside();

}  // namespace executorch_coreml
