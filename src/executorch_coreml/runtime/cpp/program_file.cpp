#include "program_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

namespace executorch_coreml {
namespace {

constexpr size_t kExcerptSize = 1024;

bool contains(const std::string& path, const std::string& bytes) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status {};
  bool found = false;
  if (file >= 0 && fstat(file, &status) == 0 && S_ISREG(status.st_mode) &&
      static_cast<size_t>(status.st_size) >= bytes.size()) {
    const auto size = static_cast<size_t>(status.st_size);
    void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data != MAP_FAILED) {
      found = memmem(data, size, bytes.data(), bytes.size()) != nullptr;
      munmap(data, size);
    }
  }
  if (file >= 0) {
    close(file);
  }
  return found;
}

// The regular files that are open, and those of which parts are mapped, except libraries.
std::set<std::string> files_in_use() {
  std::set<std::string> paths;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", failure)) {
    const auto path = std::filesystem::read_symlink(entry.path(), failure).string();
    if (!failure && std::filesystem::is_regular_file(path, failure)) {
      paths.insert(path);
    }
  }
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const size_t slash = line.find('/');
    if (slash != std::string::npos && line.find(".so", slash) == std::string::npos) {
      paths.insert(line.substr(slash));
    }
  }
  return paths;
}

}  // namespace

Excerpt::Excerpt(const void* data, size_t size)
    : head_(static_cast<const char*>(data), std::min(size, kExcerptSize)) {}

std::string Excerpt::find_file() const {
  if (head_.empty()) {
    return "";
  }
  for (const std::string& path : files_in_use()) {
    if (contains(path, head_)) {
      return path;
    }
  }
  return "";
}

}  // namespace executorch_coreml
