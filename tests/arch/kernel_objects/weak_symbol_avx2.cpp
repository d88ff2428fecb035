// What a kernel file must not do: an inline function with external linkage becomes a weak symbol of its object. The
// test arch.kernel_objects_can_fail checks that the check notices.
inline int shared_helper(int x) noexcept {
  return x + 1;
}

using Helper = int (*)(int) noexcept;
extern const Helper kHelper;
const Helper kHelper = shared_helper;
