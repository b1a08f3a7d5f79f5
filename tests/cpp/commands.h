#pragma once

#include <string>
#include <vector>

// Runs one command and prints what came of it. False if there is no such command.
bool run_command(const std::vector<std::string>& words);
