# Cross build for 64-bit ARM Linux with Debian's crossbuild-essential-arm64; tests run under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(THIMBLE_QEMU_CPU "max" CACHE STRING "qemu-user CPU model: cortex-a72 (no dotprod), cortex-a76 (dotprod), max")
# No -L /usr/aarch64-linux-gnu: that loader belongs to the cross toolchain's libc, the libraries to the multiarch libc6:arm64.
# Mixed, the first std::thread loops for ever; the multiarch loader is found at its own path.
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-aarch64;-cpu;${THIMBLE_QEMU_CPU}")
