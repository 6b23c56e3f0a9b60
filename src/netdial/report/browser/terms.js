// Explanations of terms: shown where the pointer rests or the focus is, taken away by Escape.

const terms = JSON.parse(text("terms"));
const said = document.body.appendChild(document.createElement("div"));
Object.assign(said, {className: "said", id: "said", hidden: true});
said.setAttribute("role", "tooltip");

function explain(button) {
  const found = terms[button.dataset.term];
  if (!found) return;
  const name = document.createElement("b"), equation = document.createElement("i");
  name.textContent = found.name;
  equation.textContent = found.equation;
  said.replaceChildren(name, found.meaning, ...(found.equation ? [equation] : []));
  said.hidden = false;
  const box = button.getBoundingClientRect(), room = document.documentElement.clientWidth;
  said.style.left = `${Math.max(8, Math.min(box.left, room - said.offsetWidth - 8)) + scrollX}px`;
  said.style.top = `${box.bottom + 6 + said.offsetHeight > innerHeight && box.top > said.offsetHeight ? box.top - said.offsetHeight - 6 + scrollY : box.bottom + 6 + scrollY}px`;
  button.setAttribute("aria-describedby", "said");
}

for (const kind of ["mouseover", "focusin", "click"])
  document.addEventListener(kind, event => { const button = event.target.closest?.(".term"); if (button) explain(button); });
for (const kind of ["mouseout", "focusout"])
  document.addEventListener(kind, event => { if (event.target.closest?.(".term")) said.hidden = true; });
document.addEventListener("keydown", event => { if (event.key === "Escape") said.hidden = true; });
