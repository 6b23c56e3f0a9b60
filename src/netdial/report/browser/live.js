// Asking the server that gave this page: one row, with the λ of the dial, again whenever either changes.

(() => {
  const warn = document.getElementById("no-dial"), given = [location.search, location.hash].map(part => new URLSearchParams(part.slice(1)).get("lam")).find(one => one !== null);
  if (typeof dial === "undefined" && given !== undefined) {
    warn.textContent = `The address asks for λ = “${given.slice(0, 80)}”; this page has no members to choose from, so it was passed over.`;
    warn.hidden = false;
  }
  const form = document.getElementById("ask"), place = document.getElementById("said-by");
  if (!form) return;
  let lam = null, waiting = null, asked = 0;
  const number = text => text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
  const row = () => Object.fromEntries([...form.elements].filter(field => field.dataset.column !== undefined).map(field =>
    [field.dataset.column, field.value.trim() === "" ? null : field.dataset.kind === "number" ? number(field.value) : field.value]));

  async function ask() {
    const mine = ++asked;
    let found;
    try {
      const answer = await fetch("/predict", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({...(lam === null ? {} : {lam}), rows: [row()]})});
      found = await answer.json();
    } catch { found = {error: {message: "the server does not answer"}}; }
    if (mine === asked) tell(found);
  }

  function tell(found) {
    const head = document.createElement("strong"), lines = [];
    const entries = Object.entries(found.predictions?.[0] ?? {});
    const classes = entries.filter(([name]) => name.startsWith("probability of "));
    head.className = found.error ? "refused" : "";
    head.textContent = found.error ? found.error.message.replace(/, row 0 \(counted from 0\)|^rows\[0\], /g, "") : entries.filter(([name]) => classes.length ? !name.startsWith("probability of ") : !/ (low|high)$/.test(name)).map(([name, value]) => `${name}: ${typeof value === "number" ? written(value, ".5~g") : value}`).join(", ");
    for (const [name, value] of classes.sort((a, b) => b[1] - a[1]).slice(0, 10)) lines.push(lineOf(written(value, ".1%"), name.slice("probability of ".length), value));
    for (const [name, low] of classes.length ? [] : entries.filter(([name]) => name.endsWith(" low"))) {
      const high = found.predictions[0][`${name.slice(0, -4)} high`];
      lines.push(lineOf(`${written(low, ".5~g")} to ${written(high, ".5~g")}`, "with probability 90 %"));
    }
    for (const remark of found.remarks ?? []) lines.push(lineOf("", remark));
    place.replaceChildren(head, ...lines);
  }

  function lineOf(value, words, share) {
    const node = document.createElement("div");
    if (share !== undefined) {
      const outer = document.createElement("span"), inner = document.createElement("i");
      outer.className = "bar";
      inner.style.width = `${100 * share}%`;
      outer.append(inner);
      node.append(outer);
    }
    node.append(`${value} ${words}`);
    return node;
  }

  const later = () => { clearTimeout(waiting); waiting = setTimeout(ask, 60); };
  form.addEventListener("input", later);
  form.addEventListener("submit", event => event.preventDefault());
  document.addEventListener("turned", event => { lam = event.detail; later(); });
  lam = typeof dial === "undefined" ? null : dial.lams[state.index];
  ask();
})();
