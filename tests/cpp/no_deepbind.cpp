// Preloaded in front of AddressSanitizer, which does not allow libraries to be opened with
// RTLD_DEEPBIND, as oneTBB opens one of its own.
#include <dlfcn.h>

extern "C" void* dlopen(const char* path, int flags) {
  using Function = void* (*)(const char*, int);
  static const auto next = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "dlopen"));
  return next(path, flags & ~RTLD_DEEPBIND);
}
