#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace alpa {

/// Writes bytes; folders are made.
inline void put_bytes(const std::filesystem::path& path, const std::vector<std::uint8_t>& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

/// The byte that every test image has at (y, x, c).
inline std::uint8_t pixel(std::int64_t image, std::int64_t y, std::int64_t x, std::int64_t c) {
  return static_cast<std::uint8_t>((7 * image + 31 * y + 5 * x + 101 * c) % 256);
}

/// Records of CIFAR-10 for images first, first + 1, …; the label of image i is i mod `classes`.
inline std::vector<std::uint8_t> cifar_bytes(std::int64_t first, std::int64_t count,
                                             std::int64_t classes = 10) {
  std::vector<std::uint8_t> bytes;
  for (std::int64_t i = first; i < first + count; ++i) {
    bytes.push_back(static_cast<std::uint8_t>(i % classes));
    for (std::int64_t c = 0; c < 3; ++c) {
      for (std::int64_t y = 0; y < 32; ++y) {
        for (std::int64_t x = 0; x < 32; ++x) bytes.push_back(pixel(i, y, x, c));
      }
    }
  }
  return bytes;
}

inline void add_big_endian(std::vector<std::uint8_t>& bytes, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes.push_back(static_cast<std::uint8_t>((value >> shift) & 255U));
  }
}

inline std::vector<std::uint8_t> idx_images(std::int64_t count, std::int64_t height,
                                            std::int64_t width, std::uint32_t magic = 0x803) {
  std::vector<std::uint8_t> bytes;
  for (const std::int64_t n : {std::int64_t{magic}, count, height, width}) {
    add_big_endian(bytes, static_cast<std::uint32_t>(n));
  }
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x) bytes.push_back(pixel(i, y, x, 0));
    }
  }
  return bytes;
}

inline std::vector<std::uint8_t> idx_labels(std::int64_t count, std::uint32_t magic = 0x801) {
  std::vector<std::uint8_t> bytes;
  add_big_endian(bytes, magic);
  add_big_endian(bytes, static_cast<std::uint32_t>(count));
  for (std::int64_t i = 0; i < count; ++i) bytes.push_back(static_cast<std::uint8_t>(i % 10));
  return bytes;
}

}  // namespace alpa
