// Runs commands of tests/test_cpp*.py from standard input against ExecuTorch's Module API; each line
// is a command and its words. See commands.cpp.
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "commands.h"

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream stream(line);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) {
      words.push_back(word);
    }
    if (words.empty()) {
      continue;
    }
    if (!run_command(words)) {
      std::cout << "unknown command: " << line << std::endl;
      return 2;
    }
  }
  return 0;
}
