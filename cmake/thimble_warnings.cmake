# Flags that every Thimble target is compiled with. Warnings are errors in every preset. -ffp-contract=off keeps the float
# results of portable code equal on every machine (GCC would fuse on aarch64), and integer kernels of all instruction
# sets equal bit for bit down to their float tails; where fusing is wanted it is written as an intrinsic.
add_library(thimble_flags INTERFACE)
target_compile_options(thimble_flags INTERFACE
  -Wall -Wextra -Wshadow -Wpointer-arith -Wcast-qual -Wimplicit-fallthrough
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
  -Wvla -Werror -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees overlapping copies in std::string's own code where an assignment of a literal is inlined (GCC bug 105329).
  target_compile_options(thimble_flags INTERFACE -Wno-restrict)
endif()

if(THIMBLE_SANITIZE)
  string(REPLACE "," ";" _sanitizers "${THIMBLE_SANITIZE}")
  foreach(_s IN LISTS _sanitizers)
    list(APPEND _sanitize_flags -fsanitize=${_s})
  endforeach()
  list(APPEND _sanitize_flags -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_compile_options(thimble_flags INTERFACE ${_sanitize_flags})
  target_link_options(thimble_flags INTERFACE ${_sanitize_flags})
endif()
if(THIMBLE_FUZZ)
  target_compile_options(thimble_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(thimble_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
