#include <array>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include "alpa/storage/escape.hpp"

#include "hdf5_handle.hpp"

namespace alpa {
namespace {

using h5::Handle;

/// Deflate cannot shrink data by more than this.
constexpr hsize_t kMostCompression = 1100;

/// The library's type as one of ours.
std::optional<H5Type> known_type(hid_t type) {
  const H5T_class_t kind = H5Tget_class(type);
  const std::size_t size = H5Tget_size(type);
  if (kind == H5T_FLOAT && size == 8) return H5Type::f64;
  if (kind == H5T_FLOAT && size == 4) return H5Type::f32;
  if (kind != H5T_INTEGER) return std::nullopt;
  const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
  if (size == 4) return is_signed ? H5Type::i32 : H5Type::u32;
  if (size == 8 && is_signed) return H5Type::i64;
  if (is_signed) return std::nullopt;
  if (size == 2) return H5Type::u16;
  if (size == 1) return H5Type::u8;
  return std::nullopt;
}

/// Elements of the space, or nullopt where their number does not fit 63 bits.
std::optional<Shape> shape_of(hid_t space) {
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0 || rank > H5S_MAX_RANK || H5Sget_simple_extent_type(space) == H5S_NULL) {
    return std::nullopt;
  }
  std::array<hsize_t, H5S_MAX_RANK> dims{};
  if (H5Sget_simple_extent_dims(space, dims.data(), nullptr) < 0) return std::nullopt;
  Shape shape;
  hsize_t elements = 1;
  for (int d = 0; d < rank; ++d) {
    const hsize_t n = dims[static_cast<std::size_t>(d)];
    if (n > 0 && elements > (std::numeric_limits<std::int64_t>::max() / 16) / n)
      return std::nullopt;
    elements *= n;
    shape.push_back(static_cast<std::int64_t>(n));
  }
  return shape;
}

/// What is wrong with the dataset's filters, or an empty string; `deflates` says if one compresses.
std::string bad_filter(hid_t create, bool& deflates) {
  const int filters = H5Pget_nfilters(create);
  if (filters < 0) return "unreadable filters";
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0;
    std::size_t values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(create, static_cast<unsigned>(i), &flags, &values,
                                               nullptr, 0, nullptr, nullptr);
    if (filter == H5Z_FILTER_DEFLATE) deflates = true;
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE &&
        filter != H5Z_FILTER_FLETCHER32) {
      return "filter " + std::to_string(filter);
    }
  }
  return "";
}

}  // namespace

H5Reader::H5Reader(std::filesystem::path path, ExitCode code)
    : path_(std::move(path)), code_(code) {
  const auto lock = hdf5_lock();
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "create access properties");
  // Shared file systems often cannot lock, and the file is never changed under its name.
  h5::checked(H5Pset_file_locking(access, false, true), "turn off file locking");
  file_ = H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access);
  if (file_ < 0) refuse("not a complete HDF5 file (" + h5::last_error() + ")");
}

H5Reader::~H5Reader() {
  const auto lock = hdf5_lock();
  H5Fclose(file_);
}

void H5Reader::refuse(const std::string& why) const {
  throw UserError(printable(path_.string()) + ": " + printable(why), code_);
}

void H5Reader::check_storage(std::int64_t dataset, const std::string& name) const {
  const Handle create(H5Dget_create_plist(dataset), H5Pclose, "read dataset properties");
  const H5D_layout_t layout = H5Pget_layout(create);
  if (layout == H5D_VIRTUAL) refuse(name + " is a virtual dataset, which is not read");
  if (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED) refuse(name + " has an unknown layout");
  if (H5Pget_external_count(create) != 0) refuse(name + " keeps its data in other files");
  bool deflates = false;
  if (const std::string filter = bad_filter(create, deflates); !filter.empty()) {
    refuse(name + " uses " + filter + ", which is not read");
  }
  const Handle space(H5Dget_space(dataset), H5Sclose, "read a space");
  const Handle type(H5Dget_type(dataset), H5Tclose, "read a type");
  const std::optional<Shape> shape = shape_of(space);
  if (!shape) refuse(name + " has an impossible shape");
  const auto declared = static_cast<hsize_t>(num_elements(*shape)) * H5Tget_size(type);
  const hsize_t stored = H5Dget_storage_size(dataset);
  std::error_code error;
  const std::uintmax_t file_size = std::filesystem::file_size(path_, error);
  if (stored > file_size || declared / (deflates ? kMostCompression : 1) > stored) {
    refuse(name + " declares " + std::to_string(declared) + " bytes, but the file of " +
           std::to_string(file_size) + " bytes stores " + std::to_string(stored) + " for it");
  }
}

std::int64_t H5Reader::open_checked(const std::string& name) const {
  if (name.empty() || name.find('/') != std::string::npos || name == ".") {
    refuse("'" + name + "' cannot be the name of a dataset here");
  }
  if (H5Lexists(file_, name.c_str(), H5P_DEFAULT) <= 0) refuse("has no dataset '" + name + "'");
  H5L_info_t link{};
  if (H5Lget_info(file_, name.c_str(), &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD) {
    refuse("'" + name + "' is a link to elsewhere, which is not followed");
  }
  H5O_info_t object{};
  if (H5Oget_info_by_name2(file_, name.c_str(), &object, H5O_INFO_BASIC, H5P_DEFAULT) < 0 ||
      object.type != H5O_TYPE_DATASET) {
    refuse("'" + name + "' is not a dataset");
  }
  const hid_t dataset = H5Dopen2(file_, name.c_str(), H5P_DEFAULT);
  if (dataset < 0) refuse("dataset '" + name + "' cannot be opened (" + h5::last_error() + ")");
  return dataset;
}

H5Dataset H5Reader::describe(const std::string& name) const {
  const auto lock = hdf5_lock();
  const Handle dataset(open_checked(name), H5Dclose, "open a dataset");
  check_storage(dataset, "dataset '" + name + "'");
  const Handle space(H5Dget_space(dataset), H5Sclose, "read a space");
  const Handle type(H5Dget_type(dataset), H5Tclose, "read a type");
  const std::optional<H5Type> known = known_type(type);
  if (!known) refuse("dataset '" + name + "' has elements of an unsupported type");
  return {name, shape_of(space).value_or(Shape{}), *known};  // check_storage refused the others
}

std::string H5Reader::attribute(const std::string& name) const {
  const auto lock = hdf5_lock();
  if (H5Aexists(file_, name.c_str()) <= 0) return "";
  const Handle attribute(H5Aopen(file_, name.c_str(), H5P_DEFAULT), H5Aclose, "open an attribute");
  const Handle type(H5Aget_type(attribute), H5Tclose, "read a type");
  const Handle space(H5Aget_space(attribute), H5Sclose, "read a space");
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 ||
      H5Sget_simple_extent_npoints(space) != 1 || H5Tget_size(type) > 65536) {
    return "";
  }
  std::string value(H5Tget_size(type), '\0');
  h5::checked(H5Aread(attribute, type, value.data()), "read an attribute");
  return value.substr(0, value.find('\0'));
}

void H5Reader::read(const H5Dataset& expected, const Box& box, std::byte* destination) const {
  const auto lock = hdf5_lock();
  const H5Dataset found = describe(expected.name);
  if (found.shape != expected.shape || found.type != expected.type) {
    refuse("dataset '" + expected.name + "' has shape " + to_string(found.shape) + " of " +
           std::to_string(size_of(found.type)) + "-byte elements, expected " +
           to_string(expected.shape) + " of " + std::to_string(size_of(expected.type)) +
           "-byte elements");
  }
  ALPA_CHECK(contains(whole_box(expected.shape), box));
  const Handle dataset(open_checked(expected.name), H5Dclose, "open a dataset");
  const Handle source(H5Dget_space(dataset), H5Sclose, "read a space");
  if (!box.extent.empty()) h5::select(source, box);
  const Handle target = h5::space_of(box.extent);
  if (H5Dread(dataset, h5::native_type(expected.type), target, source, H5P_DEFAULT, destination) <
      0) {
    refuse("dataset '" + expected.name + "' cannot be read (" + h5::last_error() + ")");
  }
}

}  // namespace alpa
