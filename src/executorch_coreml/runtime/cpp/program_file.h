// Which file the bytes of a program come from. ExecuTorch does not tell backends.
#pragma once

#include <cstddef>
#include <string>

namespace executorch_coreml {

// Enough of a payload to recognise it in a file. Copied, for the payload may be freed.
class Excerpt {
 public:
  Excerpt(const void* data, size_t size);

  // Path of an open or mapped file of this process that contains these bytes: a loader keeps its
  // file open for as long as the program lives. "" if there is none, as for a program that was
  // loaded from memory. Reads files; for messages about failures.
  std::string find_file() const;

 private:
  std::string head_;
};

}  // namespace executorch_coreml
