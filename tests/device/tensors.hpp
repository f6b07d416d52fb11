#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/low_precision.hpp"
#include "alpa/device/device.hpp"

/// Tensors on the host and launches on any device, for tests.
namespace alpa::test {

/// A piece of a tensor with its values as f64, whatever the dtype it has on the device.
struct Tensor {
  DType dtype = DType::f64;
  Box box;
  Shape full;
  std::vector<double> values;
};

inline Tensor zeros(DType dtype, const Box& box, const Shape& full) {
  return {dtype, box, full,
          std::vector<double>(static_cast<std::size_t>(num_elements(box.extent)))};
}

inline Tensor constant(double value) { return {DType::f64, {}, {}, {value}}; }

/// Calls f(global index) for each element of the box in row-major order.
template <class F>
void for_each_index(const Box& box, const F& f) {
  if (is_empty(box)) return;
  std::vector<std::int64_t> index = box.offset;
  while (true) {
    f(index);
    std::size_t d = index.size();
    while (d > 0) {
      --d;
      if (++index[d] < box.offset[d] + box.extent[d]) break;
      index[d] = box.offset[d];
      if (d == 0) return;
    }
    if (index.empty()) return;
  }
}

inline std::size_t place_of(const Box& box, const std::vector<std::int64_t>& index) {
  std::int64_t place = 0;
  for (std::size_t d = 0; d < index.size(); ++d) {
    place = place * box.extent[d] + index[d] - box.offset[d];
  }
  return static_cast<std::size_t>(place);
}

/// The part of `tensor` in `box`. @pre the tensor holds it
inline Tensor cut(const Tensor& tensor, const Box& box) {
  Tensor part{tensor.dtype, box, tensor.full, {}};
  for_each_index(box, [&](const auto& index) {
    part.values.push_back(tensor.values[place_of(tensor.box, index)]);
  });
  return part;
}

/// whole += part, or whole = part where it lies.
inline void join(Tensor& whole, const Tensor& part, bool add) {
  std::size_t i = 0;
  for_each_index(part.box, [&](const auto& index) {
    double& value = whole.values[place_of(whole.box, index)];
    value = add ? value + part.values[i] : part.values[i];
    ++i;
  });
}

template <class T>
std::vector<std::byte> bytes_as(const std::vector<double>& values) {
  std::vector<T> typed;
  for (const double value : values) typed.push_back(static_cast<T>(value));
  std::vector<std::byte> bytes(typed.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), typed.data(), bytes.size());
  return bytes;
}

template <class T>
std::vector<double> values_from(const std::vector<std::byte>& bytes) {
  std::vector<T> typed(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(typed.data(), bytes.data(), bytes.size());
  return {typed.begin(), typed.end()};
}

inline std::vector<std::byte> to_bytes(const Tensor& tensor) {
  if (size_of(tensor.dtype) == 2) {
    std::vector<double> bits;
    for (const double value : tensor.values) {
      const auto single = static_cast<float>(value);
      bits.push_back(tensor.dtype == DType::bf16 ? to_bf16(single) : to_f16(single));
    }
    return bytes_as<std::uint16_t>(bits);
  }
  if (tensor.dtype == DType::f32) return bytes_as<float>(tensor.values);
  if (tensor.dtype == DType::i32) return bytes_as<std::int32_t>(tensor.values);
  return bytes_as<double>(tensor.values);
}

inline std::vector<double> from_bytes(DType dtype, const std::vector<std::byte>& bytes) {
  if (size_of(dtype) == 2) {
    std::vector<double> values;
    for (const double bits : values_from<std::uint16_t>(bytes)) {
      const auto number = static_cast<std::uint16_t>(bits);
      values.push_back(dtype == DType::bf16 ? from_bf16(number) : from_f16(number));
    }
    return values;
  }
  if (dtype == DType::f32) return values_from<float>(bytes);
  if (dtype == DType::i32) return values_from<std::int32_t>(bytes);
  return values_from<double>(bytes);
}

/// The tensor's values as its dtype can hold them.
inline Tensor rounded(Tensor tensor) {
  tensor.values = from_bytes(tensor.dtype, to_bytes(tensor));
  return tensor;
}

inline Piece upload(Device& device, const Tensor& tensor) {
  const auto bytes = to_bytes(tensor);
  Piece piece{device.allocate(Bytes{static_cast<std::int64_t>(bytes.size())}), tensor.dtype,
              tensor.box, tensor.full};
  device.copy_in(piece.data, bytes);
  return piece;
}

inline void download(Device& device, const Piece& piece, Tensor& tensor) {
  std::vector<std::byte> bytes(
      static_cast<std::size_t>(bytes_of(piece.box.extent, piece.dtype).value));
  device.copy_out(bytes, piece.data);
  tensor.values = from_bytes(tensor.dtype, bytes);
}

/// Runs one kernel; the results keep the values they hold where the kernel does not write.
/// The workspace is exactly what the device asks for, between guard bytes that must survive.
inline std::vector<Tensor> run(Device& device, const Kernel& kernel,
                               const std::vector<Tensor>& operands, std::vector<Tensor> results,
                               Launch launch = {}) {
  std::vector<Piece> in, out;
  for (const Tensor& tensor : operands) in.push_back(upload(device, tensor));
  for (const Tensor& tensor : results) out.push_back(upload(device, tensor));
  launch.operands = in;
  launch.results = out;
  const auto wanted = static_cast<std::size_t>(device.workspace_size(kernel, launch).value);
  constexpr std::size_t kGuard = 64;
  const std::vector<std::byte> guarded(wanted + kGuard, std::byte{0xA5});
  std::byte* workspace = device.allocate(Bytes{static_cast<std::int64_t>(guarded.size())});
  device.copy_in(workspace, guarded);
  launch.workspace = {workspace, wanted};
  device.launch(Queue::compute, kernel, launch);
  device.synchronize();
  std::vector<std::byte> guard(kGuard);
  device.copy_out(guard, workspace + wanted);
  EXPECT_EQ(guard, std::vector<std::byte>(kGuard, std::byte{0xA5})) << "workspace overrun";
  for (std::size_t i = 0; i < results.size(); ++i) download(device, out[i], results[i]);
  for (const Piece& piece : in) device.release(piece.data);
  for (const Piece& piece : out) device.release(piece.data);
  device.release(workspace);
  return results;
}

/// Largest |a - b| / (|b| + max |b|): relative to the element and to the tensor, of which the
/// largest value counts as `least` or more.
inline double difference(const Tensor& a, const Tensor& b, double least = 1e-30) {
  EXPECT_EQ(a.values.size(), b.values.size());
  double largest = least;
  for (const double value : b.values) largest = std::max(largest, std::abs(value));
  double worst = 0.0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    const double error = std::abs(a.values[i] - b.values[i]) / (std::abs(b.values[i]) + largest);
    worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
  }
  return worst;
}

}  // namespace alpa::test
