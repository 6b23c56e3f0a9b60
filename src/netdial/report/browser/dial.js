// The dial: one state (λ, share removed, part of the data), and everything on the page that follows it.
// The address holds it (#lam=0.1&share=0.5&part=test), so that a link opens on the same member.

const dial = JSON.parse(text("dial")), everything = JSON.parse(text("data"));
const state = {index: 0, share: 0, part: dial.parts[0] ?? "valid", target: 0};
const byId = id => document.getElementById(id);
const near = (a, b) => Math.abs(Math.log(a / b)) < 1e-6;
const nearest = lam => dial.lams.reduce((best, value, index) => Math.abs(Math.log(value / lam)) < Math.abs(Math.log(dial.lams[best] / lam)) ? index : best, 0);
const lamWords = lam => written(Number(lam.toPrecision(3)), ".3~g");

// Returns a recorded value of the member, or of the pruned one once a share is removed; null where there is none.
function valueOf(name) {
  const grid = dial.surface, lam = dial.lams[state.index];
  if (grid && state.share > 0) {
    const row = grid.lams.findIndex(value => near(value, lam));
    return row < 0 ? null : grid.values[name]?.[row]?.[state.share] ?? null;
  }
  return everything.members[state.index].values[name] ?? null;
}

function turn(render = true) {
  const lam = dial.lams[state.index], details = everything.details;
  byId("lam").value = state.index;
  byId("lam-value").textContent = lamWords(lam);
  byId("lam").setAttribute("aria-valuetext", `λ = ${lamWords(lam)}`);
  const share = dial.surface ? dial.surface.shares[state.share] : 0;
  if (dial.surface) {
    byId("share").value = state.share;
    byId("share-value").textContent = written(share, ".3~%");
    byId("share").setAttribute("aria-valuetext", `${written(share, ".3~%")} removed`);
  }
  byId("member-words").textContent = state.share ? "These numbers are of the member without the weights removed; the figures below show the whole member." : "Move the slider, or press the arrow keys on it: every figure follows.";
  byId("member-name").textContent = `λ = ${lamWords(lam)}${state.share ? `, ${written(share, ".3~%")} removed` : ""}`;
  for (const node of document.querySelectorAll("[data-record]")) read(node);
  lost();
  for (const row of document.querySelectorAll("tr[data-lam]")) row.classList.toggle("now", near(Number(row.dataset.lam), lam));
  charts.curves?.setCursor(lam);
  charts.evidence?.setCursor(lam);
  charts["pruning-curves"]?.setCursor(share);
  charts["pruning-surface"]?.setCursor(dial.surface ? dial.surface.lams.findIndex(value => near(value, lam)) : null);
  const member = details?.members.find(one => near(one.lam, lam));
  document.dispatchEvent(new CustomEvent("turned", {detail: lam}));
  if (member && render) drawMember(details, member, state.part, state.target);
}

function read(node) {
  const reading = dial.readings.find(one => one.name === node.dataset.record);
  const name = reading.by_part ? `${state.part}/${reading.name}` : reading.name, value = valueOf(name);
  node.textContent = value === null ? "–" : written(value, reading.format);
  node.closest("div").hidden = value === null;
  node.dataset.value = value === null ? "" : String(value);
  const beside = document.querySelector(`[data-beside="${reading.name}"]`), limit = dial.constant[name] ?? dial.constant[name.replace(/_predictive$/, "")];
  if (!beside) return;
  const worse = limit !== undefined && value !== null && (reading.higher ? value < limit : value > limit);
  beside.textContent = limit !== undefined ? `a constant: ${written(limit, reading.format)}${worse ? " · worse than that" : ""}` : "";
  beside.classList.toggle("worse", worse);
}

function lost() {
  const [gap, error] = dial.excess.map(valueOf), tile = byId("lost-tile");
  tile.hidden = gap === null || state.part !== "valid";
  if (tile.hidden) return;
  byId("lost").textContent = gap === 0 ? "0" : written(gap, ".3~g");
  byId("lost-error").textContent = gap === 0 && !error ? "this is the best" : `${dial.excess_words}, ± ${written(error ?? 0, ".2~g")} s.e.${gap <= (error ?? 0) ? ", within it" : ""}`;
}

// Writes the state behind the #; what a server was asked for behind the ? is over.
function remember() {
  const words = [`lam=${Number(dial.lams[state.index].toPrecision(6))}`], url = new URL(location);
  if (state.share) words.push(`share=${dial.surface.shares[state.share]}`);
  if (state.part !== dial.parts[0]) words.push(`part=${state.part}`);
  for (const name of ["lam", "share", "part"]) url.searchParams.delete(name);
  history.replaceState(null, "", `${location.protocol === "file:" ? "" : url.pathname + url.search}#${words.join("&")}`);
}

function change(next) { Object.assign(state, next); byId("address").hidden = true; turn(); remember(); }

// Returns what is wrong with a λ in the address, in words; nothing if there may be a member.
function faultOf(words) {
  const lam = words === "" ? NaN : Number(words), [low, high] = [dial.lams[0], dial.lams.at(-1)];
  if (!Number.isFinite(lam)) return `“${words.slice(0, 80)}” is not a number`;
  return lam < low * 0.99999 || lam > high * 1.00001 ? `λ = ${words.slice(0, 80)} lies outside ${lamWords(low)} to ${lamWords(high)}` : "";
}

// Reads the address, what stands behind the # last; what cannot be shown is said, with what is shown in its place.
function recall() {
  const asked = [location.search, location.hash].map(part => new URLSearchParams(part.slice(1))), warn = byId("address"), said = [];
  const all = name => asked.flatMap(one => one.has(name) ? [one.get(name).trim()] : []), last = name => all(name).at(-1);
  const faults = all("lam").map(faultOf), lams = all("lam").filter((_, index) => !faults[index]).map(Number), lam = lams.at(-1);
  state.index = nearest(lam ?? dial.chosen ?? dial.best ?? dial.lams[Math.floor(dial.lams.length / 2)]);
  const here = lamWords(dial.lams[state.index]), off = lam !== undefined && lamWords(lam) !== here;
  for (const fault of faults.filter(Boolean)) said.push(`The address asks for a member that is not there: ${fault}. ${lam === undefined ? "The chosen one" : `λ = ${here}`} is shown.`);
  if (lams.length > 1 && new Set(lams).size > 1) said.push(`The address gives λ twice, ${lams.map(lamWords).join(" and ")}; the one behind the # counts.`);
  if (off) said.push(`λ = ${lamWords(lam)} was not measured; the nearest member that was, λ = ${here}, is shown.`);
  const share = dial.surface?.shares.findIndex(value => value === Number(last("share") ?? 0)) ?? (Number(last("share") ?? 0) === 0 ? 0 : -1);
  if (share < 0) said.push(`A share of ${last("share").slice(0, 80)} removed was not measured; the whole member is shown.`);
  state.share = Math.max(share, 0);
  if (dial.parts.includes(last("part"))) state.part = last("part");
  else if (last("part") !== undefined) said.push(`“${last("part").slice(0, 80)}” is no part of the data that was measured; ${{valid: "validation", test: "test"}[state.part]} data are shown.`);
  warn.textContent = said.join(" ");
  warn.hidden = !said.length;
  if (byId("part")) byId("part").value = state.part;
  turn();
}

function within() {
  const limits = [...document.querySelectorAll("[data-limit]")].map(field => [field.dataset.limit, field.value.trim() === "" ? null : Number(field.value)]).filter(([, limit]) => limit !== null && Number.isFinite(limit));
  const sign = dial.decides.endsWith("/accuracy") ? -1 : 1;
  const fits = one => limits.every(([name, limit]) => one[name] !== null && one[name] <= (name === "loss" ? sign * limit : limit));
  const found = dial.candidates.filter(fits).sort((a, b) => a.loss - b.loss), said = byId("within"), take = byId("take");
  for (const row of document.querySelectorAll("tr[data-lam]")) row.classList.toggle("out", limits.length > 0 && !found.some(one => near(one.lam, Number(row.dataset.lam))));
  take.hidden = !limits.length || !found.length;
  const best = found[0], sizes = best && [best.params !== null && `${written(best.params, ",.0f")} parameters`, best.bytes !== null && `${written(best.bytes, ",.0f")} bytes`, best.ms !== null && `${written(best.ms, ".3~g")} ms`].filter(Boolean).join(", ");
  const unknown = limits.map(([name]) => [name, dial.candidates.filter(one => one[name] === null).length]).filter(([, missing]) => missing).map(([name, missing]) => ` ${missing} of them have no ${{ms: "time", params: "size"}[name] ?? name} on record.`).join("");
  said.textContent = (!limits.length ? `${dial.candidates.length} networks were measured.` : !found.length ? `None of ${dial.candidates.length} networks is within these limits.` : `${found.length} of ${dial.candidates.length} networks; the best: λ = ${lamWords(best.lam)}, ${best.words}, ${dial.decides_words} ${written(sign * best.loss, ".4~g")} (${sizes}).`) + unknown;
  take.onclick = () => change({index: nearest(best.lam), share: Math.max(0, dial.surface?.shares.indexOf(best.share) ?? 0)});
}

byId("dial-bar").addEventListener("submit", event => event.preventDefault());
byId("lam").addEventListener("input", event => change({index: Number(event.target.value)}));
byId("share")?.addEventListener("input", event => change({share: Number(event.target.value)}));
byId("part")?.addEventListener("change", event => change({part: event.target.value}));
byId("target")?.addEventListener("change", event => change({target: event.target.selectedIndex}));
for (const button of document.querySelectorAll("[data-jump]")) button.addEventListener("click", () => change({index: nearest(dial[button.dataset.jump]), share: 0}));
for (const row of document.querySelectorAll("tr[data-lam]")) row.addEventListener("click", () => change({index: nearest(Number(row.dataset.lam))}));
if (byId("within")) { byId("member").addEventListener("input", event => { if (event.target.dataset.limit) within(); }); within(); }
addEventListener("hashchange", () => { if (!byId(location.hash.slice(1))) recall(); });  // a link to a section moves no dial
recall();
