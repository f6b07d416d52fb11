#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "hdf5_handle.hpp"

namespace alpa {
namespace {

using h5::checked;
using h5::Handle;

/// A file in memory only. libver latest: every piece of metadata carries a checksum.
Handle memory_file() {
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "create access properties");
  checked(H5Pset_fapl_core(access, std::size_t{1} << 20U, false), "choose the memory driver");
  checked(H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST), "set the format");
  // Without time stamps, in the root group too: equal content gives equal bytes.
  const Handle create(H5Pcreate(H5P_FILE_CREATE), H5Pclose, "create file properties");
  checked(H5Pset_obj_track_times(create, false), "leave out time stamps");
  return {H5Fcreate("image", H5F_ACC_TRUNC, create, access), H5Fclose, "create a file image"};
}

/// Creation properties without time stamps, so that equal content gives equal bytes.
Handle dataset_properties() {
  Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "create dataset properties");
  checked(H5Pset_obj_track_times(create, false), "leave out time stamps");
  checked(H5Pset_fill_time(create, H5D_FILL_TIME_NEVER), "leave out fill values");
  return create;
}

Handle create_dataset(hid_t file, const H5Dataset& dataset, hid_t create) {
  const Handle space = h5::space_of(dataset.shape);
  return {H5Dcreate2(file, dataset.name.c_str(), h5::file_type(dataset.type), space, H5P_DEFAULT,
                     create, H5P_DEFAULT),
          H5Dclose, ("create dataset " + dataset.name).c_str()};
}

void write_attribute(hid_t file, const std::string& name, const std::string& value) {
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "create a text type");
  checked(H5Tset_size(type, std::max<std::size_t>(1, value.size())), "set the length of a text");
  checked(H5Tset_strpad(type, H5T_STR_NULLPAD), "set the padding of a text");
  checked(H5Tset_cset(type, H5T_CSET_UTF8), "set the character set of a text");
  const Handle space = h5::space_of({});
  const Handle attribute(H5Acreate2(file, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose, "create an attribute");
  checked(H5Awrite(attribute, type, value.c_str()), "write an attribute");
}

void write_attributes(hid_t file, const H5Attributes& attributes) {
  for (const auto& [name, value] : attributes) write_attribute(file, name, value);
}

static_assert(std::endian::native == std::endian::little);

/// Jenkins' lookup3 hash, the checksum of HDF5's metadata (little-endian reads, start value 0).
std::uint32_t metadata_checksum(std::span<const std::byte> bytes) {
  using std::rotl;
  std::uint32_t a = 0xdeadbeefU + static_cast<std::uint32_t>(bytes.size());
  std::uint32_t b = a;
  std::uint32_t c = a;
  const auto word = [&](std::size_t at) {
    std::array<std::byte, 4> four{};
    if (at < bytes.size()) {
      const auto rest = bytes.subspan(at, std::min<std::size_t>(4, bytes.size() - at));
      std::copy(rest.begin(), rest.end(), four.begin());
    }
    return std::bit_cast<std::uint32_t>(four);
  };
  const auto add = [&](std::size_t at) { a += word(at), b += word(at + 4), c += word(at + 8); };
  std::size_t at = 0;
  for (; at + 12 < bytes.size(); at += 12) {
    add(at);
    a -= c, a ^= rotl(c, 4), c += b;
    b -= a, b ^= rotl(a, 6), a += c;
    c -= b, c ^= rotl(b, 8), b += a;
    a -= c, a ^= rotl(c, 16), c += b;
    b -= a, b ^= rotl(a, 19), a += c;
    c -= b, c ^= rotl(b, 4), b += a;
  }
  add(at);
  c ^= b, c -= rotl(b, 14);
  a ^= c, a -= rotl(c, 11);
  b ^= a, b -= rotl(a, 25);
  c ^= b, c -= rotl(b, 16);
  a ^= c, a -= rotl(c, 4);
  b ^= a, b -= rotl(a, 14);
  c ^= b, c -= rotl(b, 24);
  return c;
}

/// H5Fget_file_image clears the "open for writing" flag in its copy of the superblock, but leaves
/// the checksum of the one with the flag, and no reader then accepts the file. Superblock 2 and 3:
/// 12 bytes, four addresses of 8 bytes, checksum.
void repair_superblock(std::vector<std::byte>& image) {
  constexpr std::size_t kChecksumAt = 44;
  ALPA_CHECK(image.size() > kChecksumAt + 4 && image[8] >= std::byte{2});
  const std::uint32_t sum = metadata_checksum(std::span(image).first(kChecksumAt));
  const auto four = std::bit_cast<std::array<std::byte, 4>>(sum);
  std::copy(four.begin(), four.end(), image.begin() + kChecksumAt);
}

std::vector<std::byte> image_of(hid_t file) {
  checked(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush a file image");
  const auto size = checked(H5Fget_file_image(file, nullptr, 0), "measure a file image");
  std::vector<std::byte> image(static_cast<std::size_t>(size));
  checked(H5Fget_file_image(file, image.data(), image.size()), "copy a file image");
  repair_superblock(image);
  return image;
}

/// Virtual source names are patterns in which '%' is special.
std::string without_patterns(const std::string& name) {
  std::string out;
  for (const char c : name) out += c == '%' ? std::string("%%") : std::string(1, c);
  return out;
}

void add_virtual_dataset(hid_t file, const H5VirtualDataset& whole) {
  const H5Dataset& dataset = whole.dataset;
  if (dataset.shape.empty()) {
    ALPA_CHECK(whole.parts.size() == 1);
    checked(H5Lcreate_external(whole.parts[0].file.c_str(), whole.parts[0].dataset.c_str(), file,
                               dataset.name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
            "link to a scalar");
    return;
  }
  const Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "create dataset properties");
  checked(H5Pset_obj_track_times(create, false), "leave out time stamps");
  for (const H5Part& part : whole.parts) {
    const Handle target = h5::space_of(dataset.shape);
    h5::select(target, part.box);
    const Handle source = h5::space_of(part.box.extent);
    checked(H5Pset_virtual(create, target, without_patterns(part.file).c_str(),
                           without_patterns(part.dataset).c_str(), source),
            "map a piece");
  }
  const Handle made = create_dataset(file, dataset, create);
}

}  // namespace

H5Layout lay_out_hdf5(std::span<const H5Dataset> datasets, const H5Attributes& attributes) {
  const auto lock = hdf5_lock();
  const Handle file = memory_file();
  write_attributes(file, attributes);
  H5Layout layout;
  for (const H5Dataset& dataset : datasets) {
    const Handle create = dataset_properties();
    checked(H5Pset_layout(create, H5D_CONTIGUOUS), "choose the contiguous layout");
    checked(H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY), "allocate early");
    const Handle made = create_dataset(file, dataset, create);
    const haddr_t offset = H5Dget_offset(made);
    if (offset == HADDR_UNDEF) throw SystemError("HDF5: dataset " + dataset.name + " has no place");
    layout.offset.push_back(static_cast<std::size_t>(offset));
  }
  layout.image = image_of(file);
  for (std::size_t i = 0; i < datasets.size(); ++i) {
    const auto size = num_elements(datasets[i].shape) * size_of(datasets[i].type);
    ALPA_CHECK(layout.offset[i] + static_cast<std::size_t>(size) <= layout.image.size());
  }
  return layout;
}

std::vector<std::byte> hdf5_with_checksums(const std::string& name, H5Type type,
                                           std::span<const std::byte> elements,
                                           const H5Attributes& attributes) {
  const auto lock = hdf5_lock();
  const auto count = static_cast<std::int64_t>(elements.size()) / size_of(type);
  ALPA_CHECK(count > 0);
  const Handle file = memory_file();
  write_attributes(file, attributes);
  const Handle create = dataset_properties();
  const auto chunk = static_cast<hsize_t>(std::min<std::int64_t>(count, std::int64_t{1} << 19U));
  checked(H5Pset_chunk(create, 1, &chunk), "set the chunk size");
  checked(H5Pset_fletcher32(create), "ask for checksums");
  {
    const Handle made = create_dataset(file, {name, {count}, type}, create);
    checked(H5Dwrite(made, h5::native_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, elements.data()),
            "write a dataset");
  }
  return image_of(file);
}

std::vector<std::byte> hdf5_of_virtual_datasets(std::span<const H5VirtualDataset> datasets,
                                                const H5Attributes& attributes) {
  const auto lock = hdf5_lock();
  const Handle file = memory_file();
  write_attributes(file, attributes);
  for (const H5VirtualDataset& dataset : datasets) add_virtual_dataset(file, dataset);
  return image_of(file);
}

}  // namespace alpa
