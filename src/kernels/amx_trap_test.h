// Runs AMX machine code on processors without AMX: while an AmxTrap lives, each tile instruction raises SIGILL, is
// decoded from its bytes and done by the software unit of amx_emulator_test.h. The kernels under test are therefore the
// very objects that the library ships, with their registers, addresses and instruction encodings. Where the processor
// has AMX, nothing traps and the same tests run on the hardware.
#pragma once

#include "kernels/isa.h"

#if defined(__x86_64__)

#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "kernels/amx_emulator_test.h"

namespace thimble::kernels {

/// One decoded tile instruction. Encodings: Intel SDM volume 2, all of them VEX.128 in opcode map 0F38 with W = 0.
struct TileInstruction {
  static constexpr int kRip = 16;
  enum class Kind : uint8_t { unknown, load_config, release, zero, load, store, dot };
  Kind kind = Kind::unknown;
  TileDot dot = TileDot::ss;
  int reg = 0, rm = 0, third = 0;  // tiles: C or the only one, A, B
  int base = -1, index = -1;       // general registers of the address, -1: none, kRip: the next instruction
  int scale = 0;                   // of the index, as a shift
  int64_t displacement = 0;
  size_t size = 0;
};

/// Takes apart the instruction at `code`; kind unknown for everything that is not a tile instruction.
inline TileInstruction decode_tile_instruction(const uint8_t* code) {
  using Kind = TileInstruction::Kind;
  TileInstruction out;
  const int prefix = code[2] & 3;  // none, 66, F3, F2
  if (code[0] != 0xC4 || (code[1] & 31) != 2 || (code[2] & 0x84) != 0) return out;
  const uint8_t opcode = code[3];
  const uint8_t modrm = code[4];
  const int mod = modrm >> 6;
  out.reg = (modrm >> 3) & 7;
  out.rm = modrm & 7;
  out.third = (~code[2] >> 3) & 15;
  out.size = 5;
  if (mod == 3) {
    if (opcode == 0x49) out.kind = prefix == 0 ? Kind::release : (prefix == 3 ? Kind::zero : Kind::unknown);
    if (opcode == 0x5E) {
      constexpr TileDot kDots[] = {TileDot::uu, TileDot::us, TileDot::su, TileDot::ss};
      out.kind = Kind::dot;
      out.dot = kDots[prefix];
    }
    return out;
  }
  if (opcode == 0x49 && prefix == 0) out.kind = Kind::load_config;
  if (opcode == 0x4B && prefix != 0) out.kind = prefix == 2 ? Kind::store : Kind::load;
  const bool has_sib = out.rm == 4;
  out.base = out.rm | ((~code[1] & 0x20) >> 2);
  if (has_sib) {
    const uint8_t sib = code[out.size++];
    out.scale = sib >> 6;
    out.index = ((sib >> 3) & 7) | ((~code[1] & 0x40) >> 3);
    if (out.index == 4) out.index = -1;
    out.base = (sib & 7) | ((~code[1] & 0x20) >> 2);
  }
  // A tile address always has a SIB byte.
  if (!has_sib && out.kind != Kind::load_config) out.kind = Kind::unknown;
  const bool no_base = mod == 0 && (out.base & 7) == 5;
  if (no_base) out.base = has_sib ? -1 : TileInstruction::kRip;
  if (mod == 1) out.displacement = static_cast<int8_t>(code[out.size++]);
  if (mod == 2 || no_base) {
    int32_t wide = 0;
    std::memcpy(&wide, code + out.size, 4);
    out.displacement = wide;
    out.size += 4;
  }
  return out;
}

class AmxTrap {
 public:
  AmxTrap() {
    struct sigaction action = {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGILL, &action, &old());
    unit() = {};
  }
  ~AmxTrap() { sigaction(SIGILL, &old(), nullptr); }
  AmxTrap(const AmxTrap&) = delete;
  AmxTrap& operator=(const AmxTrap&) = delete;

  /// True when kernels of `isa` run here under a trap: everything but the tile instructions is real.
  static bool can_stand_in(Isa isa) {
    return isa == Isa::avx512_amx && !host_cpu().amx_int8 && supports(host_cpu(), Isa::avx512_vnni);
  }
  /// The unit of the calling thread.
  static TileUnit& unit() {
    thread_local TileUnit unit;
    return unit;
  }
  /// A defect to simulate: a processor whose TDPBSUD forgets the sign of A.
  static bool& broken() {
    static bool broken = false;
    return broken;
  }

 private:
  static struct sigaction& old() {
    static struct sigaction action = {};
    return action;
  }

  static void handle(int, siginfo_t*, void* context) {
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const auto* code = reinterpret_cast<const uint8_t*>(registers[REG_RIP]);  // NOLINT(performance-no-int-to-ptr)
    const TileInstruction in = decode_tile_instruction(code);
    const std::string fault = execute(in, registers);
    if (fault.empty()) {
      registers[REG_RIP] += static_cast<greg_t>(in.size);
      return;
    }
    // What the processor would do: the instruction runs again and ends the process.
    const std::string text = fault + "\n";
    if (write(STDERR_FILENO, text.data(), text.size()) < 0) return;
    signal(SIGILL, SIG_DFL);
  }

  static int64_t value(const gregset_t& registers, int number) {
    constexpr int kOrder[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return number < 0 ? 0 : registers[kOrder[number]];
  }

  static std::string execute(const TileInstruction& in, const gregset_t& registers) {
    using Kind = TileInstruction::Kind;
    const int64_t next = registers[REG_RIP] + static_cast<int64_t>(in.size);
    const int64_t base = in.base == TileInstruction::kRip ? next : value(registers, in.base);
    auto* address = reinterpret_cast<uint8_t*>(base + in.displacement);  // NOLINT(performance-no-int-to-ptr)
    const int64_t stride = value(registers, in.index) * (int64_t{1} << in.scale);
    switch (in.kind) {
      case Kind::load_config:
        return unit().load_config(address + stride);
      case Kind::release:
        return unit().release();
      case Kind::zero:
        return unit().zero(in.reg);
      case Kind::load:
        return unit().load(in.reg, address, stride);
      case Kind::store:
        return unit().store(in.reg, address, stride);
      case Kind::dot:
        return unit().dot(broken() && in.dot == TileDot::su ? TileDot::uu : in.dot, in.reg, in.rm, in.third);
      case Kind::unknown:
        break;
    }
    return "an illegal instruction that is no tile instruction";
  }

  static_assert(sizeof(greg_t) == sizeof(void*));
};

}  // namespace thimble::kernels

#else

namespace thimble::kernels {

struct AmxTrap {
  static bool can_stand_in(Isa) { return false; }
};

}  // namespace thimble::kernels

#endif
