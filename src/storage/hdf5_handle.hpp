#pragma once

#include <string>
#include <utility>

#include <hdf5.h>

#include "alpa/base/shape.hpp"
#include "alpa/storage/hdf5.hpp"

namespace alpa::h5 {

/// The innermost messages of the library's error stack, for one line of text.
[[nodiscard]] std::string last_error();

/// Returns a result of the library, which is negative on failure.
/// @throws SystemError (74) saying what failed and the library's own words
template <class Result>
Result checked(Result result, const char* action) {
  if (result < 0) throw SystemError(std::string("HDF5: cannot ") + action + ": " + last_error());
  return result;
}

/// A library object and the function that closes it.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t), const char* action)
      : id_(checked(id, action)), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }  // NOLINT: passes for the id wherever the library wants it
  hid_t release() { return std::exchange(id_, -1); }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

[[nodiscard]] hid_t native_type(H5Type type);
[[nodiscard]] hid_t file_type(H5Type type);
[[nodiscard]] Handle space_of(const Shape& shape);
/// Selects the box in a dataspace with dimensions.
void select(hid_t space, const Box& box);

}  // namespace alpa::h5
