// Keys of a profile that are lists: the types a device is fast with.
#include "device/profile.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"

namespace thimble {
namespace {

std::string profile_text(const std::string& more) {
  return "app_memory_bytes = 3_000_000_000\nmemory_bandwidth_gb_s = 50\nbandwidth_efficiency = 0.5\nint8_gops = 300\n"
         "compute_efficiency = 0.5\n" +
         more;
}

TEST(DeviceProfileTypes, AreNamesOfWeightTypes) {
  EXPECT_TRUE(parse_device_profile(profile_text(""), "p").fast_types.empty());
  const DeviceProfile p = parse_device_profile(profile_text("fast_types = [\"q4_k\", \"iq4_nl\"]\n"), "p");
  EXPECT_EQ(p.fast_types, (std::vector<TensorType>{TensorType::q4_k, TensorType::iq4_nl}));
  for (const char* bad : {"fast_types = [\"q4_z\"]", "fast_types = [\"i32\"]", "fast_types = \"q4_k\""}) {
    EXPECT_THROW(parse_device_profile(profile_text(bad), "p"), Error) << bad;
  }
}

TEST(DeviceProfileTypes, EveryShippedPhoneCanHoldFourBits) {
  for (const char* name : {"phone-4gb", "phone-6gb", "phone-8gb", "snapdragon-8-gen-3"}) {
    const DeviceProfile p = read_device_profile(std::string(THIMBLE_SOURCE_DIR) + "/devices/" + name + ".toml");
    EXPECT_NE(std::find(p.fast_types.begin(), p.fast_types.end(), TensorType::q4_k), p.fast_types.end()) << name;
    EXPECT_NE(std::find(p.fast_types.begin(), p.fast_types.end(), TensorType::iq4_nl), p.fast_types.end()) << name;
  }
}

}  // namespace
}  // namespace thimble
