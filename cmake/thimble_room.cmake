# thimble_room(NAME DEPENDS room...  LIBS lib...)
#   One static library thimble_NAME from every *.cpp of the folder, and one test program thimble_NAME_test from its
#   *_test.cpp. Includes are rooted at src/ ("format/gguf.h"), so the folder of a header is visible where it is used;
#   DEPENDS lists the rooms that may be looked into and tests/arch checks the includes against the same list.
#   Kernel files whose name ends in an instruction set of THIMBLE_ISAS get that set's flags; those of other machines are left out.
function(thimble_room name)
  cmake_parse_arguments(ROOM "" "" "DEPENDS;LIBS" ${ARGN})
  file(GLOB _sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  set(_tests ${_sources})
  list(FILTER _tests INCLUDE REGEX "_test\\.(cpp|c)$")
  list(FILTER _sources EXCLUDE REGEX "_test\\.(cpp|c)$")

  foreach(_isa avx512_amx avx512_vnni avx2 neon_i8mm neon_dotprod neon)
    set(_isa_sources ${_sources})
    list(FILTER _isa_sources INCLUDE REGEX "_${_isa}\\.cpp$")
    if(NOT _isa IN_LIST THIMBLE_ISAS)
      list(REMOVE_ITEM _sources ${_isa_sources})
    elseif(_isa_sources)
      set_source_files_properties(${_isa_sources} PROPERTIES COMPILE_OPTIONS "${THIMBLE_ISA_FLAGS_${_isa}}")
    endif()
  endforeach()

  add_library(thimble_${name} STATIC ${_sources})
  target_include_directories(thimble_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  list(TRANSFORM ROOM_DEPENDS PREPEND thimble_ OUTPUT_VARIABLE _deps)
  target_link_libraries(thimble_${name} PUBLIC ${_deps} ${ROOM_LIBS} PRIVATE thimble_flags)

  if(_tests)
    add_executable(thimble_${name}_test ${_tests})
    target_link_libraries(thimble_${name}_test PRIVATE thimble_${name} thimble_flags GTest::gtest GTest::gtest_main)
    target_compile_definitions(thimble_${name}_test PRIVATE
      THIMBLE_SOURCE_DIR="${PROJECT_SOURCE_DIR}" THIMBLE_BINARY_DIR="${PROJECT_BINARY_DIR}")
    # Suites whose name starts with Slow carry the label slow and find models/nano as GGUF (tests/CMakeLists.txt, make_nano)
    # at THIMBLE_BINARY_DIR/nano-f16.gguf; all others are unit tests and need no file but tests/golden.
    gtest_discover_tests(thimble_${name}_test TEST_PREFIX ${name}. TEST_FILTER "-Slow*"
      DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 PROPERTIES LABELS unit TIMEOUT 300)
    gtest_discover_tests(thimble_${name}_test TEST_PREFIX ${name}. TEST_FILTER "Slow*" TEST_LIST ${name}_slow
      DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120
      PROPERTIES LABELS slow TIMEOUT 900 FIXTURES_REQUIRED nano)
  endif()
endfunction()
