#include "verbs.h"

namespace thimble::cli {

void add_chat(CLI::App& app, Context& context) {
  (void)app;
  (void)context;
}

}  // namespace thimble::cli
