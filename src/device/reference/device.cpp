#include <cstring>

#include "common/host_memory.hpp"
#include "reference/kernels.hpp"

namespace alpa {

namespace reference {

void run_kernel(const Kernel& kernel, const Launch& launch) {
  std::visit([&](const auto& each) { run(each, launch); }, kernel);
}

}  // namespace reference

namespace {

/// Runs each launch before it returns, so the queues have nothing to wait for.
class ReferenceDevice final : public Device {
 public:
  [[nodiscard]] std::string name() const override { return "reference"; }
  [[nodiscard]] std::byte* allocate(Bytes size) override {
    return memory_.allocate(size, "reference");
  }
  void release(std::byte* memory) override { memory_.release(memory); }
  [[nodiscard]] Bytes workspace_size(const Kernel& /*kernel*/,
                                     const Launch& /*launch*/) const override {
    return Bytes{0};
  }
  void launch(Queue /*queue*/, const Kernel& kernel, const Launch& launch) override {
    reference::run_kernel(kernel, launch);
  }
  void copy_in(std::byte* device, std::span<const std::byte> host) override {
    if (!host.empty()) std::memcpy(device, host.data(), host.size());
  }
  void copy_out(std::span<std::byte> host, const std::byte* device) override {
    if (!host.empty()) std::memcpy(host.data(), device, host.size());
  }
  void synchronize() override {}
  [[nodiscard]] bool host_accessible() const override { return true; }

 private:
  kernels::HostMemory memory_;
};

}  // namespace

std::unique_ptr<Device> make_reference_device() { return std::make_unique<ReferenceDevice>(); }

}  // namespace alpa
