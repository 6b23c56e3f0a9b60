// Numbers and words: the part of d3's number formats that figures use, and text with <b> and <br> as nodes.
// Nothing here, or anywhere on the page, makes HTML of text.

const SUFFIX = {"-6": "a", "-5": "f", "-4": "p", "-3": "n", "-2": "µ", "-1": "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P"};
const THIN = "\u202f";

// Returns a number as a d3 format (`.4~g`, `,.0f`, `.2%`, `~s`) writes it.
function written(value, spec = "~g") {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return "not finite";
  const parts = /^(\+)?(,)?(?:\.(\d+))?(~)?([a-z%])?$/.exec(spec) ?? [];
  const kind = parts[5] ?? "g", trim = parts[4] || !parts[5];
  const digits = parts[3] === undefined ? 6 : Number(parts[3]);
  let text = numeral(value, kind, digits, parts[3] !== undefined);
  if (trim) text = text.replace(/(\.\d*?)0+(?=$|[^\d.])/, "$1").replace(/\.(?=$|[^\d])/, "");
  if (parts[2]) text = text.replace(/^(-?)(\d+)/, (_, sign, whole) => sign + whole.replace(/\B(?=(\d{3})+$)/g, THIN));
  if (!/[1-9]/.test(text)) text = text.replace(/^-/, "");  // what is zero as written has no sign
  text = text.replace(/^(-?)(.*)e([+-]?\d+)$/, (_, sign, mantissa, power) => `${sign}${mantissa === "1" ? "" : `${mantissa}×`}10${raised(power)}`);
  return (parts[1] && !text.startsWith("-") ? "+" : "") + text.replace(/^-/, "−");
}

const raised = power => String(Number(power)).replace(/[-\d]/g, one => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(one)]);

// Returns a number with so many decimal places; of two that are as near, the even one, as Python writes it.
function fixedPlaces(value, places) {
  const long = value.toFixed(Math.min(places + 60, 100)), rest = long.slice(long.length - 60);
  if (places > 40 || !/^50*$/.test(rest)) return value.toFixed(places);
  const lower = long.slice(0, -60).replace(/\.$/, "");
  return Number(lower.at(-1)) % 2 ? value.toFixed(places) : lower;
}

function numeral(value, kind, digits, given) {
  if (kind === "d") return String(Math.round(value));
  if (kind === "f") return fixedPlaces(value, Math.min(digits, 20));
  if (kind === "%") return `${fixedPlaces(100 * value, Math.min(given ? digits : 6, 20))}%`;
  if (kind === "s") {
    const order = value === 0 ? 0 : Math.max(-6, Math.min(5, Math.floor(Math.log10(Math.abs(value)) / 3 + 1e-12)));
    return precise(value / 1000 ** order, given ? digits : 6) + SUFFIX[order];
  }
  if (kind === "r") return Number(value.toPrecision(Math.max(digits, 1))).toFixed(Math.max(digits - 1 - order10(value), 0));
  return precise(value, digits);
}

const order10 = value => value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value)) + 1e-12);

function precise(value, digits) {
  const order = order10(value);
  if (order >= digits && order < 6) return value.toFixed(0);
  if (value !== 0 && (order < -4 || order >= Math.max(digits, 6))) return value.toExponential(Math.max(digits - 1, 0)).replace("e+", "e");
  const places = Math.max(digits, 1) - 1 - order, even = places >= 0 && order >= -4 ? fixedPlaces(value, places) : "";
  if (even && Number(even) !== Number(value.toFixed(places))) return even;
  return value.toPrecision(Math.max(digits, 1)).includes("e") ? String(Number(value.toPrecision(digits))) : value.toPrecision(Math.max(digits, 1));
}

// Returns text in which %{x}, %{y:format} and %{customdata} are filled in, without what follows <extra>.
function filled(template, values) {
  return (template ?? "").replace(/<extra>.*$/s, "").replace(/%\{(\w+)(?:\[(\d+)\])?(?::([^}]*))?\}/g, (_, name, index, spec) => {
    const value = index === undefined ? values[name] : values[name]?.[index];
    return typeof value === "number" ? written(value, spec || ".4~g") : String(value ?? "–");
  });
}

const ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&#123;": "{"};

// Returns nodes for text that knows <b>, <i> and <br>; whatever else looks like markup stays text.
function rich(text) {
  const root = document.createDocumentFragment();
  let here = root;
  for (const piece of String(text).split(/(<\/?[bi]>|<br>)/)) {
    if (piece === "<b>" || piece === "<i>") here = here.appendChild(document.createElement(piece[1]));
    else if (piece === "</b>" || piece === "</i>") here = root;
    else if (piece === "<br>") here.append(document.createElement("br"));
    else if (piece) here.append(piece.replace(/&(amp|lt|gt|#123);/g, entity => ENTITIES[entity]));
  }
  return root;
}

const plain = text => rich(text).textContent;
