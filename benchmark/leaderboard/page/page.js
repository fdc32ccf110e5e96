"use strict";
// Sorting, filtering, and the pages of methods and runs. Whatever a record says is set as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const body = byId("table").tBodies[0];
const rows = [...body.rows];
const headings = [...byId("table").tHead.rows[0].cells];
const state = { stream: document.body.dataset.first };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return made;
}

// --- the table

function sortBy(heading) {
  const at = heading.cellIndex;
  const numbers = heading.classList.contains("number");
  const now = heading.getAttribute("aria-sort");
  const first = numbers && heading.dataset.key !== "rank" ? "descending" : "ascending"; // most first; for rank and words the smallest
  const other = first === "ascending" ? "descending" : "ascending";
  const order = now === first ? other : first;
  for (const each of headings) each.setAttribute("aria-sort", each === heading ? order : "none");
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => (numbers ? row.cells[at].dataset.value : row.cells[at].textContent);
  rows.sort((one, two) => {
    const [a, b] = [value(one), value(two)];
    if (!numbers) return sign * a.localeCompare(b);
    if (a === "" || b === "") return (a === "") - (b === ""); // rows without a value come last either way
    return sign * (Number(a) - Number(b));
  });
  body.append(...rows);
}

function filter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const family = byId("family").value;
  const references = byId("references").checked;
  const here = rows.filter((row) => !state.stream || row.dataset.stream === state.stream);
  for (const row of rows) row.hidden = true;
  const shown = here.filter((row) => {
    const text = `${row.dataset.stream} ${row.dataset.family} ${row.querySelector("th").textContent}`.toLowerCase();
    return (
      words.every((word) => text.includes(word)) &&
      (!family || row.dataset.family === family) &&
      (references || !row.classList.contains("reference"))
    );
  });
  for (const row of shown) row.hidden = false;
  byId("count").textContent = `${shown.length} of ${here.length} rows`;
  byId("none").hidden = shown.length > 0;
}

function showBoard(stream) {
  state.stream = stream;
  const parts = [...document.querySelectorAll("section.stream")];
  const beyond = parts.some((part) => part.dataset.stream === stream && "beyond" in part.dataset);
  byId("table").classList.toggle("one-stream", stream !== "");
  byId("table").classList.toggle("in-reach", !beyond);
  for (const tab of document.querySelectorAll(".tabs a")) {
    if (tab.dataset.stream === stream) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  for (const part of parts) part.hidden = part.dataset.stream !== stream;
  filter();
}

// --- pages of methods and runs

// ties go to the even digit, as in Python, so that no number differs from the texts made there; value >= 0
function fixed(value, digits) {
  const scaled = value * 10 ** digits, below = Math.floor(scaled);
  const tie = scaled - below === 0.5 && Number.isInteger(value * 2 ** (digits + 1));
  return (tie ? (below + (below % 2)) / 10 ** digits : value).toFixed(digits);
}
const points = (share) => (Number.isNaN(share) ? "–" : share === 0 ? "0.0" : (share > 0 ? "+" : "−") + fixed(Math.abs(100 * share), 1));
const percent = (share) => (share === null || Number.isNaN(share) ? "–" : fixed(100 * share, 1));
const link = (kind, name, text) => element("a", { href: `#/${kind}/${encodeURIComponent(name)}` }, text);
const verdict = (good, yes, no) => element("span", { class: good ? "good" : "bad" }, good ? `✓ ${yes}` : `✗ ${no}`);

function facts(pairs) {
  const list = element("dl");
  for (const [name, value] of pairs) list.append(element("dt", {}, name), element("dd", {}, value));
  return list;
}

function table(caption, headings, lines) {
  const head = element("tr", {}, ...headings.map((text, at) => element("th", { scope: "col", class: at ? "number" : "" }, text)));
  const made = lines.map((cells) =>
    element("tr", {}, ...cells.map((cell, at) => element(at ? "td" : "th", at ? { class: "number" } : { scope: "row" }, cell))));
  const whole = element("table", {}, element("caption", { class: "hidden" }, caption), element("thead", {}, head), element("tbody", {}, ...made));
  return element("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, whole);
}

const entries = (object) => Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1));
const runsOf = (method) =>
  Object.entries(data.runs)
    .filter(([, run]) => run.method === method)
    .sort(([, a], [, b]) => a.scenario.localeCompare(b.scenario) || a.seed - b.seed);

function methodPage(name) {
  const method = Object.hasOwn(data.methods, name) ? data.methods[name] : undefined;
  if (!method) return [element("h2", { tabindex: "-1" }, "No such method"), element("p", { class: "notice" }, name)];
  const parts = [element("h2", { tabindex: "-1" }, name), facts(Object.entries(method))];
  const own = rows.filter((row) => row.dataset.method === name).map((row) => row.cloneNode(true));
  for (const row of own) row.hidden = false;
  const head = element("tr", {}, ...headings.map((cell) => element("th", { scope: "col", class: cell.className }, cell.textContent)));
  const figures = element("table", {}, element("thead", {}, head), element("tbody", {}, ...own));
  parts.push(element("h3", {}, "Results"), element("div", { class: "scroll", role: "region", "aria-label": "Results", tabindex: "0" }, figures));

  const groups = new Map(); // runs that differ only in their seed
  for (const [id, run] of runsOf(name)) {
    const key = JSON.stringify([run.scenario, entries(run.settings), entries(run.options), run.about.data, run.about["base weights"]]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push([id, run]);
  }
  for (const runs of groups.values()) {
    const [, first] = runs[0];
    parts.push(element("h3", {}, `Runs on ${first.scenario}`));
    parts.push(element("p", {}, "Settings: ", element("code", {}, entries(first.settings).map((pair) => pair.join("=")).join(", ") || "none")));
    const lines = runs.map(([id, run]) => {
      const to = link("run", id, `seed ${run.seed}`);
      if (run.status === "diverged") return [to, "–", "–", verdict(false, "", "diverged"), verdict(false, "", "diverged")];
      const mean = (key) => run.rounds.reduce((sum, round) => sum + round[key], 0) / run.rounds.length;
      const count = (key) => run.rounds.filter((round) => round[key]).length;
      const all = run.rounds.length;
      const share = (key, yes, no) =>
        verdict(count(key) === all, all > 1 ? `${all} of ${all}` : yes, all > 1 ? `${count(key)} of ${all}` : no);
      return [to, points(mean("gain")), points(mean("devsafety")), share("strict", "yes", "no"), share("harmless", "yes", "no")];
    });
    parts.push(table(`Runs on ${first.scenario}`, ["Run", "Target gain", "DevSafety", "Strictly preserved", "No significant regression"], lines));
  }
  return parts;
}

function roundPart(round, number, run) {
  const worst = round.classes.filter((c) => c[1] === "protected").reduce((a, b) => (change(b) < change(a) ? b : a));
  const lines = round.classes.map((c) => {
    const [name, role, n, before, now, lost, won, p] = c;
    const label = element("span", {}, name);
    const remark = c === worst ? "worst protected" : role;
    if (remark) label.append(element("small", {}, remark));
    const moved = element("span", { class: now < before ? "bad" : now > before ? "good" : "" }, points(change(c)));
    return [label, n, percent(before / n), percent(now / n), moved, lost, won, p];
  });
  const verdicts = element("ul", { class: "verdicts" },
    element("li", { class: round.strict ? "good" : "bad" }, round.verdicts[0]),
    element("li", { class: round.harmless ? "good" : "bad" }, round.verdicts[1]),
    element("li", {}, `luck rate ${round.luck}: the chance of strict preservation if as many predictions flip for no true change`));
  const title = run.rounds.length > 1 ? `Round ${number + 1}: ${round.target}` : `Learned: ${round.target}`;
  const points_ = round.checkpoints.map(([step, candidate, safety, accuracy]) => {
    const kept = candidate ? candidate === round.candidate : !round.candidate && step === round.step;
    return [(candidate || `step ${step}`) + (kept ? " (kept)" : ""), safety === null ? "–" : points(safety), percent(accuracy)];
  });
  const parts = [element("h3", {}, title), verdicts, table(`Classes, ${title}`, ["Class", "Images", "Old %", "New %", "Change", "Lost", "Won", "p"], lines)];
  if (round.scenes.length) parts.push(scenesPart(round.scenes, title));
  if (points_.length)
    parts.push(element("details", {}, element("summary", {}, "Selection on validation images"), table(`Selection, ${title}`, ["Model", "DevSafety", "Target %"], points_)));
  return parts;
}

function scenesPart([summary, ...preferences], title) {
  const lines = preferences.map(([name, n, before, now, lost, won]) => {
    const [meaning, chance] = data.preferences[name];
    return [element("span", {}, name, element("small", {}, meaning)), percent(chance), percent(before / n), percent(now / n), points((now - before) / n), lost, won];
  });
  const headings = ["Preference", "Chance %", "Old %", "New %", "Change", "Lost", "Won"];
  return element("details", {}, element("summary", {}, summary), table(`Scenes, ${title}`, headings, lines));
}

const change = ([, , n, before, now]) => (now - before) / n;

function runPage(id) {
  const run = Object.hasOwn(data.runs, id) ? data.runs[id] : undefined;
  if (!run) return [element("h2", { tabindex: "-1" }, "No such run on this page"), element("p", { class: "notice" }, id)];
  const parts = [
    element("h2", { tabindex: "-1" }, `${run.method} on ${run.scenario}, seed ${run.seed}`),
    element("p", {}, link("method", run.method, `all runs of ${run.method}`), " · ", link("stream", run.scenario, run.scenario)),
  ];
  if (run.outdated) parts.push(element("p", { class: "notice" }, `This record is ${run.outdated}: it cannot be compared with new ones.`));
  if (run.status === "diverged")
    parts.push(element("p", { class: "notice" }, `Diverged: counts as not preserved, preserved gain 0. ${run.message}`));
  if (run.summary) parts.push(element("p", {}, run.summary));
  run.rounds.forEach((round, number) => parts.push(...roundPart(round, number, run)));
  parts.push(element("h3", {}, "Make it again"), element("pre", { tabindex: "0" }, run.command));
  const column = (title, pairs) => element("div", {}, element("h3", {}, title), facts(pairs));
  parts.push(element("div", { class: "columns" },
    column("Hyper-parameters", entries(run.settings)), column("Stream options", entries(run.options)),
    column("Run", Object.entries(run.about)), column("Environment", Object.entries(run.environment))));
  return parts;
}

// --- where we are: #/stream/NAME, #/all, #/method/NAME, #/run/ID

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function route(event) {
  const [, kind = "", ...rest] = location.hash.split("/");
  if (event && location.hash && !location.hash.startsWith("#/")) return; // an anchor such as #main
  const name = decoded(rest.join("/"));
  const page = kind === "method" ? methodPage : kind === "run" ? runPage : null;
  for (const id of ["board", "method", "run"]) byId(id).hidden = id !== (page ? kind : "board");
  if (page) {
    byId(kind).replaceChildren(element("p", {}, element("a", { href: "#/" }, "← leaderboard")), ...page(name));
    document.title = `${byId(kind).querySelector("h2").textContent} · mds-bench`;
  } else {
    const streams = [...document.querySelectorAll(".tabs a")].map((tab) => tab.dataset.stream);
    const stream = kind === "all" ? "" : kind === "stream" && streams.includes(name) ? name : kind ? document.body.dataset.first : state.stream;
    showBoard(stream);
    document.title = `${stream || "all streams"} · mds-bench`;
  }
  if (event && page) {
    byId(kind).querySelector("h2").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

headings.forEach((heading) => heading.querySelector("button").addEventListener("click", () => sortBy(heading)));
byId("filter").addEventListener("input", filter);
for (const id of ["family", "references"]) byId(id).addEventListener("change", filter);
document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", route);
route();
