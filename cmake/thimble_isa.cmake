# The one table of instruction-set flags: a kernel file NAME_<isa>.cpp is compiled with exactly these, nothing else is.
# Kernels throw nothing: -fno-exceptions keeps the weak reference to the personality routine out of their objects.
set(THIMBLE_ISA_FLAGS_scalar "")
set(THIMBLE_ISA_FLAGS_avx2 "-mavx2;-mfma;-mf16c;-mno-avx512f;-fno-exceptions")
set(THIMBLE_ISA_FLAGS_avx512_vnni "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-fno-exceptions")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 warns about its own _mm512_undefined_*() (GCC bug 105593).
  list(APPEND THIMBLE_ISA_FLAGS_avx512_vnni -Wno-uninitialized)
endif()
set(THIMBLE_ISA_FLAGS_avx512_amx "${THIMBLE_ISA_FLAGS_avx512_vnni};-mamx-tile;-mamx-int8")
set(THIMBLE_ISA_FLAGS_neon "-march=armv8-a;-fno-exceptions")
set(THIMBLE_ISA_FLAGS_neon_dotprod "-march=armv8.2-a+dotprod+fp16;-fno-exceptions")
set(THIMBLE_ISA_FLAGS_neon_i8mm "-march=armv8.2-a+dotprod+fp16+i8mm;-fno-exceptions")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Scheduling before registers are given out keeps more of an unrolled block alive than 32 registers hold: Q4_K decode
  # spilled 36 times per super-block. Scheduling afterwards stays.
  foreach(_isa neon neon_dotprod neon_i8mm)
    list(APPEND THIMBLE_ISA_FLAGS_${_isa} -fno-schedule-insns)
  endforeach()
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(THIMBLE_ISAS scalar avx2 avx512_vnni avx512_amx)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(THIMBLE_ISAS scalar neon neon_dotprod neon_i8mm)
else()
  set(THIMBLE_ISAS scalar)
endif()
