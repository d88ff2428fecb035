// No '<' and no '&': the text stands in the page as it is.
#include "squeeze/report_script.h"

namespace thimble {

std::string_view report_script() noexcept {
  return R"js(
(() => {
  const box = document.querySelector('.search');
  if (!box) return;
  const input = box.querySelector('input'), count = box.querySelector('output');
  const groups = [...document.querySelectorAll('#worst details')].map(e => [e, e.open]);
  const items = [...document.querySelectorAll('#worst .example')].map(e => [e, e.textContent.toLowerCase()]);
  box.hidden = false;
  input.addEventListener('input', () => {
    const wanted = input.value.trim().toLowerCase();
    let found = 0;
    for (const [e, text] of items) {
      e.hidden = !text.includes(wanted);
      found += e.hidden ? 0 : 1;
    }
    for (const [e, open] of groups) {
      const any = e.querySelector('.example:not([hidden])') !== null;
      e.hidden = !any;
      e.open = wanted ? any : open;
    }
    count.textContent = wanted ? found + ' of ' + items.length : '';
  });
})();
)js";
}

std::string_view report_script_sha256() noexcept {
  return "QwRmUOPjdcxEIl+va0tM37lb+yI5AIGd8dF4s9kTaTE=";
}

}  // namespace thimble
