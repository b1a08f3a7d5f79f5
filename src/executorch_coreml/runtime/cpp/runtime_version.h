// Whether this plugin can work with the ExecuTorch runtime that the program has.
#pragma once

namespace executorch_coreml {

// False, after saying in the log what to do, if libexecutorch belongs to an executorch package of
// another release than the one this plugin was compiled against: classes of C++ cross the border. A
// runtime that is no part of such a package was checked when the program was configured (CMake).
bool is_built_for_the_loaded_runtime();

}  // namespace executorch_coreml
