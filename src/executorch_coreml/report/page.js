"use strict";
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const rows = facts.rows, rules = facts.rules, step = 200;
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;

  // Light or dark: what the system says until the button is used.
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const turn = () => { root.dataset.theme = dark() ? "light" : "dark"; };
  $("theme").addEventListener("click", turn);

  // Who reads what, from what each row reads.
  const at = new Map(rows.map((row) => [row.id, row]));
  for (const row of rows) row.users = [];
  for (const row of rows) for (const id of row.inputs) if (at.has(id)) at.get(id).users.push(row.id);
  for (const row of rows) {
    row.text = [row.op, row.name, row.module, row.file && `${row.file}:${row.line}`, row.code, row.dtype, row.shape, row.reason,
      row.mil.join(" "), row.units.join(" "), row.weights.join(" "), row.precision.join(" "), row.since, row.method,
      row.delegate === null ? "outside" : `delegated delegate ${row.delegate}`,
      row.rules.map((key) => rules[key].says).join(" ")].join(" ").toLowerCase();
  }

  const make = (tag, attributes, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key === "on") node.addEventListener("click", value); else node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const badge = (text, kind) => make("span", { class: `badge b-${kind}` }, text);
  const home = (row) => row.delegate === null ? badge("outside", "out") : badge(facts.program ? `delegate ${row.delegate}` : "Core ML", "in");
  const unitKind = { "Neural Engine": "ne", GPU: "gpu", CPU: "cpu" };
  const unitShort = { "Neural Engine": "NE", GPU: "GPU", CPU: "CPU" };
  const units = (row) => row.units.map((unit) => {
    const one = badge(unitShort[unit], unitKind[unit]);
    one.title = unit;
    return one;
  });
  const size = (bytes) => {
    if (!bytes) return "";
    const names = ["B", "KiB", "MiB", "GiB"];
    let place = 0;
    while (bytes >= 1024 && place < 3) { bytes /= 1024; place += 1; }
    return `${place ? bytes.toFixed(1) : bytes} ${names[place]}`;
  };
  const where = (row) => row.file ? `${row.file}:${row.line}` : "";

  // The list: search words must all occur; a filter and a block of the graph narrow it further.
  const filters = {
    all: () => true,
    inside: (row) => row.delegate !== null,
    outside: (row) => row.delegate === null,
    "not-ne": (row) => row.units.length > 0 && !row.units.includes("Neural Engine"),
    precision: (row) => row.precision.length > 0,
    weights: (row) => row.bytes > 0,
    newer: (row) => row.since && row.since !== "iOS15",
  };
  let found = rows, shown = step, block = null, selected = null;
  const search = $("search"), filter = $("filter"), method = $("method"), body = $("rows");

  const line = (row) => {
    const node = make("tr", { tabindex: "-1", "data-id": row.id, class: row.delegate === null ? "outside" : "inside" },
      make("td", {}, make("code", {}, row.op), " ", make("div", { class: "soft mono" }, row.name)),
      make("td", { class: "where" }, row.module || "", make("div", { class: "soft mono", title: row.code }, where(row))),
      make("td", {}, home(row),
        row.precision.length ? " " : null, row.precision.length ? badge("precision", "warn") : null),
      make("td", { class: "mono" }, row.dtype, make("div", { class: "soft" }, row.shape)),
      make("td", { class: "units" }, ...(row.units.length ? units(row) : ["—"])),
      make("td", {}, row.since),
      make("td", { class: "num" }, size(row.bytes)));
    if (selected === row.id) node.setAttribute("aria-selected", "true");
    return node;
  };
  // Tab reaches one row; arrows go on from there.
  let reached = null;
  const reach = (row) => {
    if (reached) reached.tabIndex = -1;
    reached = row;
    if (row) row.tabIndex = 0;
  };
  body.addEventListener("focusin", (event) => reach(event.target.closest("tr")));
  const draw = () => {
    body.replaceChildren(...found.slice(0, shown).map(line));
    reach(body.firstElementChild);
    $("count").textContent = found.length === rows.length ? `${rows.length.toLocaleString("en")} ops`
      : `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} ops`;
    $("more").hidden = found.length <= shown;
    $("more").textContent = `Show ${Math.min(step, found.length - shown)} more`;
    $("none").hidden = found.length > 0;
    $("block").hidden = block === null;
    if (block !== null) $("block").textContent = `${block.title} ✕`;
  };
  const update = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const keep = filters[filter.value];
    const inside = block === null ? null : new Set(block.rows);
    found = rows.filter((row) => keep(row) && (!method || !method.value || row.method === method.value)
      && (inside === null || inside.has(row.id)) && words.every((word) => row.text.includes(word)));
    shown = step;
    draw();
  };
  search.addEventListener("input", update);
  filter.addEventListener("change", update);
  if (method) method.addEventListener("change", update);
  $("more").addEventListener("click", () => { shown += step; draw(); });
  $("block").addEventListener("click", () => { block = null; update(); search.focus(); });

  // One op.
  const detail = $("detail");
  const near = (ids) => {
    const list = make("div", { class: "near" });
    for (const id of ids.slice(0, 30)) {
      const row = at.get(id);
      list.append(row ? make("button", { type: "button", on: () => open(id) }, `${row.op} ${row.name}`)
        : make("span", { class: "soft" }, `input ${-1 - id} of the method `));
    }
    if (ids.length > 30) list.append(make("span", { class: "soft" }, `and ${ids.length - 30} more`));
    return list;
  };
  const open = (id) => {
    const row = at.get(id);
    selected = id;
    const terms = [];
    const term = (name, ...value) => { if (value.some((v) => v && v !== "")) terms.push(make("dt", {}, name), make("dd", {}, ...value)); };
    term("node", make("span", { class: "mono" }, row.name));
    term("runs in", home(row), ` of ${row.method}`);
    term("module", row.module && make("span", { class: "mono" }, row.module));
    term("line", where(row) && make("span", { class: "mono" }, where(row)), row.code && make("pre", {}, row.code));
    term("result", row.dtype && make("span", { class: "mono" }, `${row.dtype} ${row.shape}`));
    term("MIL", row.mil.length && make("span", { class: "mono" }, row.mil.join(", ")));
    term("weights", row.bytes && `${row.weights.join("; ")}, ${size(row.bytes)}`);
    term("since", row.since && `${row.since}${row.better && row.better !== row.since ? `, in a better form from ${row.better} on` : ""}`);
    term("reads", row.inputs.length && near(row.inputs));
    term("read by", row.users.length && near(row.users));
    const says = [];
    if (row.delegate === null) says.push(make("p", { class: "says why" }, row.reason ? `Outside: ${row.reason}.` : "Outside; nobody recorded why."));
    for (const note of row.precision) says.push(make("p", { class: "says why" }, `Precision: ${note}.`));
    if (row.units.length) says.push(make("h3", {}, "Expected on ", ...units(row)));
    else says.push(make("p", { class: "says" }, "No MIL op of its own: it was computed while compiling, or is part of another op."));
    for (const key of row.rules) {
      const rule = rules[key], links = [];
      rule.sources.forEach((source, n) => links.push(n ? ", " : " — ", make("a", { href: source.url, rel: "noreferrer" }, source.who)));
      says.push(make("p", { class: "says" }, rule.says, ...links));
    }
    const close = make("button", { type: "button", class: "close", "aria-label": "Close", on: shut }, "✕");
    detail.replaceChildren(close, make("h2", {}, row.op), make("dl", {}, ...terms), ...says);
    detail.hidden = false;
    detail.scrollTop = 0;
    for (const other of body.querySelectorAll("[aria-selected]")) other.removeAttribute("aria-selected");
    const there = body.querySelector(`[data-id="${id}"]`);
    if (there) { there.setAttribute("aria-selected", "true"); there.scrollIntoView({ block: "nearest" }); }
    detail.focus();
  };
  const shut = () => {
    detail.hidden = true;
    const there = selected === null ? null : body.querySelector(`[data-id="${selected}"]`);
    if (there) there.focus();
  };
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) open(Number(row.dataset.id));
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    if (!row) return;
    const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (next) { event.preventDefault(); next.focus(); }
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(Number(row.dataset.id)); }
  });

  // Every op as a cell, in order: a picture of the whole. The list has the same for the keyboard.
  const map = $("map");
  for (const row of rows) {
    const kind = row.delegate === null ? "out" : row.units.length ? unitKind[row.units[0]] : "none";
    map.append(make("i", { class: `m-${kind}`, title: `${row.op} ${row.name} ${row.module} ${where(row)}`, "data-id": row.id }));
  }
  map.addEventListener("click", (event) => { if (event.target.dataset.id) open(Number(event.target.dataset.id)); });

  // A block of the graph narrows the list to its ops.
  for (const box of document.querySelectorAll(".graph [data-block]")) {
    const choose = () => {
      block = facts.blocks[box.dataset.block];
      update();
      $("ops").scrollIntoView();
      const first = body.querySelector("tr");
      if (first) first.focus({ preventScroll: true });
    };
    box.addEventListener("click", choose);
    box.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } });
  }
  for (const rule of document.querySelectorAll("[data-find]")) {
    rule.addEventListener("click", () => { search.value = rule.dataset.find; update(); $("ops").scrollIntoView(); search.focus({ preventScroll: true }); });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !detail.hidden) { shut(); return; }
    const typing = /INPUT|SELECT|TEXTAREA/.test(event.target.tagName);
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") { event.preventDefault(); $("ops").scrollIntoView(); search.focus({ preventScroll: true }); search.select(); }
    if (event.key === "t") turn();
  });
  update();
})();
