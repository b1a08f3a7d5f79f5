// Starts the engine in a program that is not Python.
#pragma once

#include "runtime_access.h"

namespace executorch_coreml {

// Starts CPython, unless the program runs it already, and attaches the engine. Which interpreter is
// in python.cfg beside the extension (see executorch_coreml/cmake_prefix.py); no environment variable
// is looked at. Called again after a failure, it says the same again and does not retry. False after
// saying in the log what is wrong and what to do.
bool start_engine(const RuntimeAccess* access);

}  // namespace executorch_coreml
