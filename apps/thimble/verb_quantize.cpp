#include "verbs.h"

namespace thimble::cli {

void add_quantize(CLI::App& app, Context& context) {
  (void)app;
  (void)context;
}

}  // namespace thimble::cli
