#include "verbs.h"

namespace thimble::cli {

void add_tokenize(CLI::App& app, Context& context) {
  (void)app;
  (void)context;
}

}  // namespace thimble::cli
