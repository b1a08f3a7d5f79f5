// Pictures in the binary Netpbm formats, which need no library: PGM (grey) and PPM (red, green, blue).
#pragma once

#include <string>
#include <vector>

struct Image {
  int channels;  // 1 or 3
  int height;
  int width;
  std::vector<unsigned char> pixels;  // [height, width, channels]
};

// Throws std::runtime_error, with the name of the file.
Image read_image(const std::string& path);

// The picture as a model takes it: [channels, height, width], from 0 to 1; pictures in colour
// normalised as those of ImageNet.
std::vector<float> normalised(const Image& image);
