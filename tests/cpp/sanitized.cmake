# Included into the plugin's own build: nanobind's library, half of the work, is compiled as it is.
cmake_language(DEFER CALL target_compile_options nanobind-static PRIVATE -fno-sanitize=all)
