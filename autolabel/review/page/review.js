// The page of a review and of a spot check. The server keeps everything; this only shows it and sends what is pressed.
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const IGNORE = 255;
const LAYERS = [["label", "Labels", "l"], ["confidence", "Confidence", "c"], ["coarse", "Coarse", "o"], ["none", "Image", "n"]];
const S = { state: null, rows: [], total: 0, more: false, image: null, picked: null, layer: "label", version: 0, question: null };

async function api(name, fields = {}, post = false) {
  const query = new URLSearchParams(fields);
  const answer = await fetch(`api/${name}${post ? "" : `?${query}`}`, post
    ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(fields) } : {});
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error ?? answer.statusText);
  return value;
}
const address = (name, fields) => `api/layer?${new URLSearchParams({ name, ...fields, v: S.version })}`;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) key in node && key !== "style" ? (node[key] = value) : node.setAttribute(key, value);
  node.append(...children);
  return node;
}
const swatch = (index) => {
  const node = make("span", { className: "sw" });
  const known = S.state.classes[index];
  known ? (node.style.background = known.colour) : node.classList.add("hatch");
  return node;
};
const nameOf = (index) => S.state.classes[index]?.name ?? "ignored";
const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)} %`;
const key = (text) => make("kbd", {}, text);

let timer;
function say(text, isError = false) {
  $("toast").textContent = text;
  $("toast").classList.toggle("error", isError);
  $("toast").hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => { $("toast").hidden = true; }, isError ? 8000 : 2600);
}
const safely = (work) => async (...args) => { try { return await work(...args); } catch (error) { say(error.message, true); } };

// One request after another: a key pressed twice is two decisions, in order.
let chain = Promise.resolve();
const inTurn = (work) => (...args) => (chain = chain.then(() => safely(work)(...args)));

const view = new View($("stage"), $("world"), {
  onPick: (at) => S.state.mode === "review" && inTurn(pick)(at),
  onHover: (at) => hover(at),
});

// ---- the image -----------------------------------------------------------------------------------------------------

async function openImage(n) {
  S.picked = null;
  S.image = await api("image", { n });
  view.open(S.image.width, S.image.height);
  showImage();
  await view.layer("image", address("image", { n }), { smooth: true });
  await showLayer();
  renderRows();
  const next = S.rows[S.rows.findIndex((row) => row.n === n) + 1];
  if (next) new Image().src = address("image", { n: next.n });
}

async function showLayer() {
  const only = LAYERS.filter(([name]) => name !== S.layer && name !== "none");
  for (const [name] of only) await view.layer(name, null);
  if (S.layer !== "none") await view.layer(S.layer, address(S.layer, { n: S.image.n }), { opacity: $("opacity").value / 100 });
  await view.layer("region", S.picked && address("region", { n: S.image.n, x: S.picked.x, y: S.picked.y }));
  for (const button of $("layers").children) button.setAttribute("aria-pressed", button.dataset.layer === S.layer);
  $("blend").style.visibility = S.layer === "none" ? "hidden" : "visible";
}

function showImage() {
  $("name").textContent = S.image.id;
  $("name").title = S.image.id;
  $("badge").hidden = !S.image.state;
  $("badge").textContent = S.image.state;
  $("badge").className = `badge ${S.image.state}`;
  renderSide();
  renderActions();
}

async function pick(at) {
  const found = await api("region", { n: S.image.n, ...at });
  S.picked = { ...at, ...found };
  await view.layer("region", address("region", { n: S.image.n, ...at }));
  renderSide();
  renderActions();
}

async function drop() {
  S.picked = null;
  await view.layer("region", null);
  renderSide();
  renderActions();
}

let asked = 0;
const hover = safely(async (at) => {
  const number = ++asked;
  if (!at || !S.image || S.state.mode !== "review") { $("pixel").textContent = ""; return; }
  await new Promise((resolve) => setTimeout(resolve, 45));
  if (number !== asked) return;
  const p = await api("pixel", { n: S.image.n, ...at });
  if (number !== asked) return;
  const parts = [make("span", {}, swatch(p.label), nameOf(p.label))];
  if (p.teacher !== IGNORE) parts.push(make("span", {}, `teacher: ${nameOf(p.teacher)}, p ${p.above ? `${p.above} to ` : "≤ "}${p.at_most}`));
  if (p.second !== IGNORE) parts.push(make("span", {}, `second: ${nameOf(p.second)}`));
  if (p.coarse !== IGNORE) parts.push(make("span", {}, `coarse: ${nameOf(p.coarse)}`));
  $("pixel").replaceChildren(...parts, make("span", { className: "soft" }, `${at.x}, ${at.y}`));
});

// ---- decisions -----------------------------------------------------------------------------------------------------

async function decide(op, fields = {}, { next = false } = {}) {
  const made = await api("decide", { n: S.image.n, op, ...fields }, true);
  S.image = made;
  takeProgress(made);
  S.version += 1;
  S.picked = null;
  const row = S.rows.find((each) => each.n === made.n);
  if (row) row.state = made.state;
  renderRows();
  if (next) return step(1, true);
  showImage();
  await showLayer();
}

async function undo() {
  const taken = await api("undo", {}, true);
  if (taken.n === null) return say("There is nothing to undo.");
  takeProgress(taken);
  S.version += 1;
  await openImage(taken.n);
  const row = S.rows.find((each) => each.n === taken.n);
  if (row) row.state = S.image.state;
  renderRows();
  say("Undone.");
}

const setRegion = (to) => (S.picked ? decide("region", { x: S.picked.x, y: S.picked.y, to }) : say("Click a region first."));
const ACTIONS = [
  { id: "accept", key: "a", text: "Accept", run: () => decide("accept", {}, { next: true }), main: true },
  { id: "reject", key: "r", text: "Reject", run: () => decide("reject", {}, { next: true }) },
  { id: "class", key: "x", text: () => (S.picked && S.picked.label !== IGNORE ? `Reject all ${nameOf(S.picked.label)}` : "Reject class"),
    enabled: () => S.picked && S.picked.label !== IGNORE, run: () => decide("class", { to: S.picked.label }) },
  { id: "second", key: "s", text: () => (S.picked && S.picked.second !== IGNORE ? `Set to ${nameOf(S.picked.second)}` : "Second class"),
    enabled: () => S.picked && S.picked.second !== IGNORE, run: () => setRegion(S.picked.second), shown: () => S.state.second },
  { id: "teacher", key: "t", text: () => (S.picked?.label === IGNORE && S.picked.teacher !== IGNORE ? `Set to ${nameOf(S.picked.teacher)}` : "Teacher's class"),
    enabled: () => S.picked?.label === IGNORE && S.picked.teacher !== IGNORE, run: () => setRegion(S.picked.teacher) },
  { id: "ignore", key: "i", text: "Ignore region", enabled: () => S.picked && S.picked.label !== IGNORE, run: () => setRegion(IGNORE) },
  { id: "undo", key: "u", text: "Undo", enabled: () => S.state.decisions > 0, run: undo },
];
const QUESTIONS = [
  { id: "yes", key: "y", text: "Yes", run: () => answer("yes"), main: true, enabled: () => S.question },
  { id: "no", key: "n", text: "No", run: () => answer("no"), enabled: () => S.question },
  { id: "unsure", key: "s", text: "Cannot say", run: () => answer("unsure"), enabled: () => S.question },
  { id: "undo", key: "u", text: "Undo", run: () => ask("undo"), enabled: () => S.state.answered > 0 },
];
const actions = () => (S.state.mode === "review" ? ACTIONS : QUESTIONS);
const press = (action) => inTurn(async () => { if (!action.enabled || action.enabled()) await action.run(); })();

async function step(by, onlyOpen = false) {
  let place = S.rows.findIndex((row) => row.n === S.image?.n);
  do {
    place += by;
    if (place >= S.rows.length && S.more) await moreRows();
  } while (onlyOpen && S.rows[place]?.state);
  if (!S.rows[place]) { say(by > 0 ? "This was the last image of the queue." : "This is the first image."); return openImage(S.image.n); }
  await openImage(S.rows[place].n);
}

// ---- the spot check ------------------------------------------------------------------------------------------------

async function ask(kind, fields = {}) {
  const found = await api(kind, fields, true);
  if (found.skipped.length > S.state.skipped.length) say(`Skipped: ${found.skipped[found.skipped.length - 1]}`, true);
  Object.assign(S.state, found);
  await showQuestion();
}
const answer = (text) => ask("answer", { question: S.question.number, answer: text });

async function showQuestion() {
  const q = (S.question = S.state.question);
  $("badge").hidden = true;
  $("empty").hidden = Boolean(q);
  if (q) {
    $("name").replaceChildren("Is the marked pixel ", make("b", {}, swatch(q.label), nameOf(q.label)), "?");
    if (S.image?.n !== q.n) view.open(q.width, q.height);
    const fresh = S.image?.n !== q.n;
    S.image = { n: q.n };
    if (fresh) await view.layer("image", address("image", { n: q.n }), { smooth: true });
    mark(q);
  } else {
    $("name").textContent = "All questions are answered.";
    $("empty").textContent = "Thank you. The figures stand beside.";
    view.open(1, 1);
    S.image = null;
  }
  renderSpotSide();
  renderActions();
  renderProgress();
}

function mark(q) {
  $("world").querySelector(".mark")?.remove();
  const node = make("div", { className: "mark" });
  node.style.left = `${q.x + 0.5}px`;
  node.style.top = `${q.y + 0.5}px`;
  $("world").append(node);
  const near = Math.max($("stage").clientWidth / Math.min(q.width, 240), 1);
  view.centre(q.x, q.y, near);
  const turn = () => { node.style.transform = `translate(-50%, -50%) scale(${1 / view.scale})`; if (node.isConnected) requestAnimationFrame(turn); };
  turn();
}

function renderSpotSide() {
  const r = S.state.result;
  const rows = [make("h2", {}, "So far")];
  if (r.accuracy === null) rows.push(make("p", { className: "soft" }, "Figures appear with the first answers."));
  else {
    rows.push(make("p", { className: "figure" }, percent(r.accuracy), make("small", {}, `95 %: ${percent(r.low)} to ${percent(r.high)}`)),
      make("p", { className: "soft" }, "of the labelled pixels are right"));
    rows.push(make("h2", {}, "By class"), make("ul", { className: "classes" }, ...Object.entries(r.classes).map(([name, c]) => {
      const index = S.state.classes.findIndex((each) => each.name === name);
      return make("li", {}, swatch(index), make("span", { className: "grow" }, name),
        make("span", { className: "soft" }, c.accuracy === null ? "–" : `${percent(c.low, 0)} to ${percent(c.high, 0)}`));
    })));
    for (const line of r.advice) rows.push(make("p", { className: "advice" }, line));
  }
  $("side").replaceChildren(...rows);
}

// ---- what is shown around the image ----------------------------------------------------------------------------------

function takeProgress(from) {
  for (const name of ["decisions", "accepted", "rejected", "edited", "exact"]) S.state[name] = from[name];
  renderProgress();
}

function renderProgress() {
  const s = S.state;
  if (s.mode === "ask") { $("progress").textContent = `${s.answered} of ${s.wanted} answered`; return; }
  const seen = s.accepted + s.rejected + s.edited;
  $("progress").textContent = `${seen.toLocaleString("en")} of ${s.images.toLocaleString("en")} images seen` + (s.edited ? `, ${s.edited} edited` : "") + (s.rejected ? `, ${s.rejected} rejected` : "");
  $("write").disabled = !s.decisions;
}

function renderActions() {
  $("actions").replaceChildren(...actions().filter((action) => !action.shown || action.shown()).map((action) =>
    make("button", { id: `do-${action.id}`, className: action.main ? "main" : "", disabled: action.enabled ? !action.enabled() : false, onclick: () => press(action) },
      typeof action.text === "function" ? action.text() : action.text, key(action.key.toUpperCase()))));
}

function renderSide() {
  const { fractions, ignored } = S.image;
  const order = S.state.classes.map((_, index) => index);
  const rows = order.map((index) => make("li", {},
    make("button", { className: S.picked?.label === index ? "row on" : "row", title: S.picked ? `Set the region to ${nameOf(index)}` : nameOf(index), onclick: () => inTurn(setRegion)(index) },
      swatch(index), make("span", { className: "grow" }, nameOf(index)), make("span", { className: "soft" }, fractions[index] ? percent(fractions[index]) : ""), ...(index < 9 ? [key(index + 1)] : []))));
  rows.push(make("li", {}, make("button", { className: S.picked?.label === IGNORE ? "row on" : "row", onclick: () => inTurn(setRegion)(IGNORE) },
    swatch(IGNORE), make("span", { className: "grow" }, "ignored"), make("span", { className: "soft" }, percent(ignored)), key("I"))));
  const head = S.picked
    ? [make("p", { className: "lead" }, "Region of ", make("b", {}, nameOf(S.picked.label)), `, ${S.picked.pixels.toLocaleString("en")} pixels. Choose its class:`)]
    : [make("p", { className: "lead soft" }, "Click a region to change it.")];
  $("side").replaceChildren(...head, make("ul", { className: "classes" }, ...rows));
}

function renderRows() {
  const most = Math.max(...S.rows.map((row) => row.wrong), 1e-9);
  $("rows").replaceChildren(...S.rows.map((row) => {
    const bar = make("span", { className: "wrong", title: `${percent(row.wrong)} of the pixels are expected to be wrong` });
    bar.style.setProperty("--part", row.wrong / most);
    return make("li", {}, make("button", { className: row.n === S.image?.n ? "row on" : "row", onclick: () => inTurn(openImage)(row.n) },
      make("span", { className: `dot ${row.state}`, title: row.state || "open" }), make("span", { className: "grow" }, row.id), bar));
  }));
  const on = $("rows").querySelector(".on");
  const box = $("rows");  // only the list scrolls, not the page around it
  if (on && (on.offsetTop < box.scrollTop || on.offsetTop + on.offsetHeight > box.scrollTop + box.clientHeight)) box.scrollTop = on.offsetTop - box.clientHeight / 3;
  $("order").textContent = S.rows.length ? `${S.total.toLocaleString("en")} images, most expected errors first` + (S.state.exact ? "" : " (a first ranking; the codes are being read)") : "No image is left here.";
}

const queue = (fields = {}) => api("queue", { text: $("filter").value, open: $("open").checked ? 1 : 0, ...fields });

async function loadRows() {
  const page = await queue();
  Object.assign(S, { rows: page.rows, total: page.total, more: page.more });
  S.state.exact = page.exact;
  renderRows();
}

async function moreRows() {
  const page = await queue({ after: S.rows[S.rows.length - 1].n });
  const known = new Set(S.rows.map((row) => row.n));
  S.rows.push(...page.rows.filter((row) => !known.has(row.n)));
  Object.assign(S, { total: page.total, more: page.more });
  renderRows();
}

async function chooseLayer(name) {
  S.layer = name;
  if (S.image) await showLayer();
}

// ---- keys ------------------------------------------------------------------------------------------------------------

const KEYS = {
  ArrowRight: ["next image", () => step(1)], ArrowLeft: ["previous image", () => step(-1)],
  j: ["next image", () => step(1)], k: ["previous image", () => step(-1)],
  Escape: ["let the region go", drop],
};
const ZOOM = { "+": () => view.zoom(1.4), "=": () => view.zoom(1.4), "-": () => view.zoom(1 / 1.4), 0: () => view.fit() };

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input[type=search]") || $("keys").open) return;
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((event.ctrlKey || event.metaKey) && name === "z") { event.preventDefault(); press(actions().find((a) => a.id === "undo")); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (name === "?") { $("keys").showModal(); return; }
  if (ZOOM[name]) { ZOOM[name](); return; }
  const action = actions().find((each) => each.key === name && (!each.shown || each.shown()));
  if (action) { event.preventDefault(); press(action); return; }
  if (S.state?.mode !== "review") return;
  const layer = LAYERS.find(([, , letter]) => letter === name);
  if (layer) { inTurn(chooseLayer)(layer[0]); return; }
  if (/^[1-9]$/.test(name) && S.state.classes[name - 1]) { inTurn(setRegion)(name - 1); return; }
  if (KEYS[name]) { event.preventDefault(); inTurn(KEYS[name][1])(); }
});

function listKeys() {
  const list = actions().map((a) => [a.key.toUpperCase(), typeof a.text === "function" ? a.text() : a.text]);
  if (S.state.mode === "review") list.push(["1 … 9", "set the region to this class"], ["→ or J", "next image"], ["← or K", "previous image"],
    ...LAYERS.map(([, text, letter]) => [letter.toUpperCase(), `layer: ${text.toLowerCase()}`]), ["Esc", "let the region go"]);
  list.push(["+ − 0", "larger, smaller, whole image; the wheel zooms, dragging moves"]);
  $("keylist").replaceChildren(...list.flatMap(([name, text]) => [make("dt", {}, key(name)), make("dd", {}, text)]));
}

// ---- start -----------------------------------------------------------------------------------------------------------

const start = safely(async () => {
  S.state = await api("state");
  const isReview = S.state.mode === "review";
  document.body.dataset.mode = S.state.mode;
  document.title = `${S.state.title}: ${isReview ? "review" : "spot check"}`;
  $("title").textContent = S.state.title;
  $("queue").hidden = $("write").hidden = !isReview;
  listKeys();
  renderProgress();
  if (!isReview) {
    $("layers").hidden = $("blend").hidden = true;
    S.question = S.state.question;
    return showQuestion();
  }
  $("layers").replaceChildren(...LAYERS.filter(([name]) => name !== "coarse" || S.state.coarse).map(([name, text]) =>
    make("button", { "data-layer": name, onclick: () => inTurn(chooseLayer)(name) }, text)));
  await loadRows();
  const first = S.rows.find((row) => !row.state) ?? S.rows[0];
  if (first) await openImage(first.n);
  if (!S.state.exact) refine();
});

// The first ranking comes from tables; the exact one, from the codes, is taken over without moving the open image.
async function refine() {
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const page = await queue();
  if (!page.exact) return refine();
  S.state.exact = true;
  Object.assign(S, { rows: page.rows, total: page.total, more: page.more });
  renderRows();
}

$("in").onclick = ZOOM["+"];
$("out").onclick = ZOOM["-"];
$("fit").onclick = ZOOM[0];
$("opacity").oninput = () => view.opacity(S.layer, $("opacity").value / 100);
$("help").onclick = () => $("keys").showModal();
$("write").onclick = inTurn(async () => { const made = await api("write", {}, true); say(`${made.pixels.toLocaleString("en")} pixels of ${made.images} images written to ${made.out}`); });
$("filter").oninput = inTurn(loadRows);
$("open").onchange = inTurn(loadRows);
$("rows").onscroll = () => {
  const box = $("rows");
  if (S.more && box.scrollTop + box.clientHeight > box.scrollHeight - 300) inTurn(async () => { if (S.more) await moreRows(); })();
};
start();
