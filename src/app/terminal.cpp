#include "terminal.hpp"

#include <filesystem>
#include <string>
#include <unistd.h>

namespace alpa {

bool is_watched(const Launcher& launcher, int descriptor) {
  if (::isatty(descriptor) != 1) return false;
  if (launcher.kind == Launcher::Kind::none) return true;
  std::error_code error;
  const std::string link =
      "/proc/" + std::to_string(::getppid()) + "/fd/" + std::to_string(descriptor);
  const auto target = std::filesystem::read_symlink(link, error);
  return !error &&
         (target.string().starts_with("/dev/pts/") || target.string().starts_with("/dev/tty"));
}

}  // namespace alpa
