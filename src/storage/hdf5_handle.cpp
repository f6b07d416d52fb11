#include "hdf5_handle.hpp"

#include <vector>

namespace alpa {

std::unique_lock<std::recursive_mutex> hdf5_lock() {
  static std::recursive_mutex mutex;
  std::unique_lock lock(mutex);
  // Errors are thrown with their text, not printed; no file may load a plug-in.
  static const bool prepared = [] {
    H5open();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    H5PLset_loading_state(0);
    return true;
  }();
  static_cast<void>(prepared);
  return lock;
}

H5Type storage_type(DType type) {
  switch (type) {
    case DType::f64:
      return H5Type::f64;
    case DType::f32:
      return H5Type::f32;
    case DType::bf16:
    case DType::f16:
      return H5Type::u16;
    case DType::i32:
      return H5Type::i32;
  }
  ALPA_CHECK(false);
  return H5Type::f32;
}

std::int64_t size_of(H5Type type) {
  switch (type) {
    case H5Type::f64:
    case H5Type::i64:
      return 8;
    case H5Type::f32:
    case H5Type::i32:
    case H5Type::u32:
      return 4;
    case H5Type::u16:
      return 2;
    case H5Type::u8:
      return 1;
  }
  ALPA_CHECK(false);
  return 0;
}

namespace h5 {
namespace {

herr_t collect(unsigned /*n*/, const H5E_error2_t* error, void* text) {
  auto& out = *static_cast<std::string*>(text);
  if (!out.empty()) out += "; ";
  if (error->desc != nullptr) out += error->desc;
  return 0;
}

}  // namespace

std::string last_error() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, &collect, &text);
  return text.empty() ? "no reason given" : text;
}

hid_t native_type(H5Type type) {
  switch (type) {
    case H5Type::f64:
      return H5T_NATIVE_DOUBLE;
    case H5Type::f32:
      return H5T_NATIVE_FLOAT;
    case H5Type::i32:
      return H5T_NATIVE_INT32;
    case H5Type::i64:
      return H5T_NATIVE_INT64;
    case H5Type::u8:
      return H5T_NATIVE_UINT8;
    case H5Type::u16:
      return H5T_NATIVE_UINT16;
    case H5Type::u32:
      return H5T_NATIVE_UINT32;
  }
  ALPA_CHECK(false);
  return -1;
}

hid_t file_type(H5Type type) {
  switch (type) {
    case H5Type::f64:
      return H5T_IEEE_F64LE;
    case H5Type::f32:
      return H5T_IEEE_F32LE;
    case H5Type::i32:
      return H5T_STD_I32LE;
    case H5Type::i64:
      return H5T_STD_I64LE;
    case H5Type::u8:
      return H5T_STD_U8LE;
    case H5Type::u16:
      return H5T_STD_U16LE;
    case H5Type::u32:
      return H5T_STD_U32LE;
  }
  ALPA_CHECK(false);
  return -1;
}

Handle space_of(const Shape& shape) {
  if (shape.empty()) return {H5Screate(H5S_SCALAR), H5Sclose, "create a scalar space"};
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  return {H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose,
          "create a space"};
}

void select(hid_t space, const Box& box) {
  const std::vector<hsize_t> start(box.offset.begin(), box.offset.end());
  const std::vector<hsize_t> count(box.extent.begin(), box.extent.end());
  checked(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
          "select a box");
}

}  // namespace h5
}  // namespace alpa
