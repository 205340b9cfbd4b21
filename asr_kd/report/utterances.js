"use strict";
// A row: [id, {field: value}, reference, for each system 0 (all right) or [alignment, words substituted or inserted]].
const PAGE_SIZE = 50, ROWS_AT_ONCE = 4000;
const at = (id) => document.getElementById(id);
const read = (id) => JSON.parse(at(id).textContent);
const labels = read("labels"), rows = read("rows");
at("rows").remove();
const byId = new Intl.Collator("en", { numeric: true });
const haystacks = []; // of each row, what a search looks into; made by the first search
let found = [], page = 0, searches = 0;

const split = (text) => (text ? text.split(" ") : []);
const errors = ([, , , heard], system) => (heard[system] ? heard[system][0].replaceAll("=", "").length : 0);
const rate = (row, wrong) => (wrong ? wrong / split(row[2]).length : 0);

// The alignment as [symbol, word of the reference, word of the system].
function columns([, , reference, heard], system) {
  const said = split(reference);
  if (!heard[system]) return said.map((word) => ["=", word, word]);
  const other = split(heard[system][1]);
  let i = 0, k = 0;
  return Array.from(heard[system][0], (symbol) => {
    const ref = symbol === "I" ? null : said[i++];
    return [symbol, ref, symbol === "=" ? ref : symbol === "D" ? null : other[k++]];
  });
}

function haystack(row) {
  const others = row[3].flatMap((heard, system) => (heard ? [columns(row, system).map(([, , word]) => word).filter((word) => word !== null).join(" ")] : []));
  const about = Object.entries(row[1]).map(([name, value]) => `${name} ${value}`);
  return [row[0], row[2], ...about, ...others].join("\n").toLowerCase();
}

// Goes through all rows, a few thousand at a time so that the page answers meanwhile; a newer search ends it.
async function search() {
  const mine = ++searches, picked = [];
  const wanted = at("search").value.trim().toLowerCase(), wrongOnly = at("wrong").checked;
  const system = Number(at("system").value), order = at("order").value;
  const wrong = new Float64Array(rows.length), share = new Float64Array(rows.length);
  for (const [i, row] of rows.entries()) {
    if (i % ROWS_AT_ONCE === ROWS_AT_ONCE - 1) {
      await new Promise((resume) => setTimeout(resume));
      if (mine !== searches) return;
    }
    if (wrongOnly && !row[3][system]) continue;
    if (wanted && !(haystacks[i] ??= haystack(row)).includes(wanted)) continue;
    wrong[i] = errors(row, system);
    share[i] = rate(row, wrong[i]);
    picked.push(i);
  }
  const falling = (keys) => (a, b) => (keys[a] === keys[b] ? 0 : keys[b] > keys[a] ? 1 : -1);
  const [first, second] = (order === "errors" ? [wrong, share] : [share, wrong]).map(falling);
  if (order === "id") picked.sort((a, b) => byId.compare(rows[a][0], rows[b][0]));
  else if (order !== "test") picked.sort((a, b) => first(a, b) || second(a, b));
  found = picked;
  show(0);
}

function element(tag, css, ...children) {
  const made = document.createElement(tag);
  if (css) made.className = css;
  made.append(...children); // strings become text, never markup
  return made;
}

function word([symbol, ref, hyp]) {
  if (symbol === "=") return ref;
  const parts = [];
  if (ref !== null) parts.push(element("s", "", ref));
  if (hyp !== null) parts.push((ref === null ? "" : " ") + hyp);
  return element("span", symbol, ...parts);
}

function answer(row, system, label) {
  const wrong = errors(row, system), words = split(row[2]).length;
  const wer = words ? `${((100 * wrong) / words).toFixed(1)}%` : "–";
  const line = columns(row, system).flatMap((column) => [word(column), " "]);
  return [
    element("dt", "", element("span", `key c${system % 6}`), label),
    element("dd", "wer", wer, element("span", "ends", ` ${wrong} / ${words}`)),
    element("dd", "words", ...(line.length ? line : ["(nothing)"])),
  ];
}

function utterance(row) {
  const about = element("div", "about", element("code", "", row[0]));
  for (const [name, value] of Object.entries(row[1])) about.append(element("span", "", `${name} ${value}`));
  const list = element("dl", "", element("dt", "", "Reference"), element("dd", "wer", "WER"), element("dd", "words", row[2] || "(nothing)"));
  labels.forEach((label, system) => list.append(...answer(row, system, label)));
  return element("li", "", about, list);
}

function show(number) {
  const last = Math.max(0, Math.ceil(found.length / PAGE_SIZE) - 1);
  page = Math.min(Math.max(number, 0), last);
  const shown = found.slice(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  at("list").replaceChildren(...shown.map((i) => utterance(rows[i])));
  const count = (n) => n.toLocaleString("en");
  at("count").textContent = `${count(found.length)} of ${count(rows.length)} utterances`;
  at("page").textContent = `page ${count(page + 1)} of ${count(last + 1)}`;
  at("previous").disabled = page === 0;
  at("next").disabled = page === last;
}

let waiting;
at("controls").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(search, 150);
});
at("controls").addEventListener("submit", (event) => event.preventDefault());
for (const [id, step] of [["previous", -1], ["next", 1]]) {
  at(id).addEventListener("click", () => {
    show(page + step);
    scrollTo(0, 0);
  });
}
search();
