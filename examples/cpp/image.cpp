#include "image.h"

#include <fstream>
#include <stdexcept>

Image read_image(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int width = 0;
  int height = 0;
  int largest = 0;
  file >> kind >> width >> height >> largest;
  file.get();  // the one space in front of the pixels
  if (!file || (kind != "P5" && kind != "P6") || width <= 0 || height <= 0 || largest != 255) {
    throw std::runtime_error(path + ": no binary PGM or PPM picture of 8 bits");
  }
  Image image{kind == "P5" ? 1 : 3, height, width, {}};
  image.pixels.resize(static_cast<size_t>(image.channels) * height * width);
  file.read(reinterpret_cast<char*>(image.pixels.data()), image.pixels.size());
  if (!file) {
    throw std::runtime_error(path + ": the file is too short");
  }
  return image;
}

std::vector<float> normalised(const Image& image) {
  constexpr float kMean[] = {0.485f, 0.456f, 0.406f};
  constexpr float kDeviation[] = {0.229f, 0.224f, 0.225f};
  const size_t area = static_cast<size_t>(image.height) * image.width;
  std::vector<float> values(image.channels * area);
  for (int channel = 0; channel < image.channels; ++channel) {
    for (size_t pixel = 0; pixel < area; ++pixel) {
      const float value = image.pixels[pixel * image.channels + channel] / 255.0f;
      values[channel * area + pixel] =
          image.channels == 1 ? value : (value - kMean[channel]) / kDeviation[channel];
    }
  }
  return values;
}
