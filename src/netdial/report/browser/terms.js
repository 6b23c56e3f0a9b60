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

const BY_WORD = Object.fromEntries(Object.entries(terms).flatMap(([key, term]) => term.words.map(word => [word.toLowerCase(), key])));
const WORDS = new RegExp(`(?<![\\p{L}\\p{N}])(?:${Object.keys(BY_WORD).sort((a, b) => b.length - a.length).map(word => word.replace(/[.*+?^$()|[\]\\{}]/g, "\\$&")).join("|")})(?![\\p{L}\\p{N}])`, "giu");
const termIn = words => { const found = words.match(WORDS); return found ? BY_WORD[found[0].toLowerCase()] : null; };

// Makes a button of the first mention of each term in each section.
function markTerms() {
  for (const section of document.querySelectorAll("main > section, main > .notes, main > form")) {
    const seen = new Set([...section.querySelectorAll(".term")].map(node => node.dataset.term));
    for (const place of section.querySelectorAll("h2, h3, label, summary, .hint, .lead, .finding, li, dt, .small, thead th, .key")) {
      const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT), nodes = [];
      while (walker.nextNode()) if (!walker.currentNode.parentElement.closest("button, a, select, option, svg, .chart, [data-record], [data-beside]")) nodes.push(walker.currentNode);
      for (const node of nodes) markText(node, seen);
    }
  }
}

function markText(node, seen) {
  for (const found of [...node.textContent.matchAll(WORDS)].reverse()) {
    const key = BY_WORD[found[0].toLowerCase()];
    const first = [...node.textContent.matchAll(WORDS)].find(one => BY_WORD[one[0].toLowerCase()] === key);
    if (seen.has(key) || first.index !== found.index) continue;
    const button = document.createElement("button");
    Object.assign(button, {type: "button", className: "term", textContent: found[0]});
    button.dataset.term = key;
    node.splitText(found.index + found[0].length);
    node.splitText(found.index).replaceWith(button);
    keepTogether(node, button);
    seen.add(key);
  }
}

// Keeps what no space that may break parts from a term on its line: brackets, and the value in λ = 0.1.
function keepTogether(before, button) {
  const opens = /(?:[^ \n]*\u00a0|[([“"'±]+)$/.exec(before.data), after = button.nextSibling, ends = /^(?:[)\]”"'.,;:]+|\u00a0[^ \n]*)/.exec(after?.data ?? "");
  if (!opens && !ends) return;
  const whole = document.createElement("span");
  whole.className = "kept";
  button.replaceWith(whole);
  if (opens) whole.append(before.splitText(opens.index));
  whole.append(button);
  if (ends) { after.splitText(ends[0].length); whole.append(after); }
}

for (const kind of ["mouseover", "focusin", "click"])
  document.addEventListener(kind, event => { const button = event.target.closest?.("[data-term]"); if (button) explain(button); });
for (const kind of ["mouseout", "focusout"])
  document.addEventListener(kind, event => { if (event.target.closest?.("[data-term]")) said.hidden = true; });
document.addEventListener("keydown", event => { if (event.key === "Escape") said.hidden = true; });
