#include "device/cases.hpp"

namespace alpa::test {
namespace {

TEST(DebugDevice, ComputesWhatTheReferenceDoes) {
  const auto reference = make_reference_device(), debug = make_debug_device();
  EXPECT_FALSE(debug->host_accessible());
  std::mt19937_64 random(3);
  for (const Case& each : all_cases()) {
    const Sizes sizes = random_sizes(each, 4, random);
    const auto operands = make(each.operands, sizes, DType::f64, random);
    const auto results = make(each.results, sizes, DType::f64, random);
    const auto expected = run(*reference, each.kernel, operands, results);
    const auto actual = run(*debug, each.kernel, operands, results);
    for (std::size_t i = 0; i < actual.size(); ++i) {
      EXPECT_EQ(actual[i].values, expected[i].values) << each.name;
    }
  }
}

TEST(DebugDevice, GivesAndTakesBytes) {
  const auto device = make_debug_device();
  std::byte* memory = device->allocate(Bytes{100000});
  std::vector<std::byte> in(70000), out(70000);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::byte>(i * 7);
  device->copy_in(memory + 30000, in);
  device->copy_out(out, memory + 30000);
  EXPECT_EQ(in, out);
  device->release(memory);
}

TEST(DebugDeviceDeathTest, FaultsOnHostAccess) {
  const auto device = make_debug_device();
  std::byte* memory = device->allocate(Bytes{64});
  const std::vector<std::byte> bytes(64);
  device->copy_in(memory, bytes);
  EXPECT_DEATH(*static_cast<volatile std::byte*>(memory) = std::byte{1}, "");
  EXPECT_DEATH((void)*static_cast<volatile std::byte*>(memory), "");
}

TEST(DebugDeviceDeathTest, RefusesHostMemoryAsADeviceAddress) {
  const auto device = make_debug_device();
  double host = 0.0;
  const Piece piece{reinterpret_cast<std::byte*>(&host), DType::f64, {}, {}};
  Launch launch;
  launch.results = {&piece, 1};
  EXPECT_DEATH(device->launch(Queue::compute, Fill{1.0}, launch), "holds");
  std::byte* memory = device->allocate(Bytes{64});
  EXPECT_DEATH(device->copy_in(memory + 8192, std::vector<std::byte>(8)), "holds");
}

}  // namespace
}  // namespace alpa::test
