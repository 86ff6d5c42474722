"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };

  // Data. An entry is what is filtered and enlarged: one image, or the two of a comparison.
  const samples = JSON.parse(byId("cards").textContent);
  const lines = byId("details").textContent.split("\n");
  const parsed = new Map();
  const details = (sample) => {
    if (!parsed.has(sample)) parsed.set(sample, JSON.parse(lines[sample]));
    return parsed.get(sample);
  };
  const letters = all(".sides bdi").map((name, side) => ({ letter: "AB"[side], name: name.textContent }));
  const total = samples.reduce((sum, sample) => sum + sample.entries.length, 0);
  const first = (sample, entry) => samples[sample].entries[entry].sides[0].id;
  const places = new Map();
  samples.forEach((sample, s) => sample.entries.forEach((_, e) => places.set(first(s, e), [s, e])));

  // State: what the address holds after its `#`.
  const sorts = byId("sort");
  const groups = byId("group");
  const search = byId("search");
  const defaults = { q: "", group: "", verdict: "", sort: sorts.options[0].value, image: "" };
  const state = { ...defaults };
  const known = {
    group: new Set(samples.map((sample) => sample.group)),
    verdict: new Set(all("[data-verdict]").map((chip) => chip.dataset.verdict)),
    sort: new Set([...sorts.options].map((option) => option.value)),
  };
  const readAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const key of Object.keys(defaults)) {
      const value = given.get(key) ?? defaults[key];
      state[key] = known[key] && !known[key].has(value) ? defaults[key] : value;
    }
  };
  const writeAddress = () => {
    const kept = Object.entries(state).filter(([key, value]) => value !== defaults[key]);
    const text = new URLSearchParams(kept).toString();
    if (location.hash.slice(1) !== text) {
      history.replaceState(null, "", text ? `#${text}` : location.href.replace(/#.*$/, ""));
    }
  };

  // Search: words that occur in the sample or in the entry, replies and thoughts included.
  const texts = [];
  const strings = (value) => {
    if (typeof value === "string") return value.startsWith("data:image/") ? "" : value;
    if (Array.isArray(value)) return value.map(strings).join("\n");
    if (value && typeof value === "object") return Object.values(value).map(strings).join("\n");
    return value === undefined || value === null ? "" : String(value);
  };
  const searchable = (index) => {
    texts[index] ??= (() => {
      const sample = samples[index];
      const detail = details(index);
      const shared = [sample.prompt, sample.group, sample.id, strings(detail.facts), strings(detail.questions)];
      const own = sample.entries.map((entry, e) =>
        [...entry.sides.map((side) => `${side.id} ${side.says} ${side.reason ?? ""} ${side.seed ?? ""}`),
          strings(detail.entries?.[e])].join("\n").toLowerCase());
      return { shared: shared.join("\n").toLowerCase(), own };
    })();
    return texts[index];
  };

  // What is shown: samples in order, each with the entries that match.
  let shown = [];
  let flat = [];
  let rendered = 0;
  const orders = {
    low: (a, b) => (a.score ?? Infinity) - (b.score ?? Infinity),
    high: (a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity),
    size: (a, b) => Math.abs(b.score ?? 0) - Math.abs(a.score ?? 0),
    prompt: (a, b) => a.prompt.localeCompare(b.prompt),
    group: (a, b) => a.group.localeCompare(b.group),
  };
  const choose = () => {
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (s, e) => {
      const entry = samples[s].entries[e];
      if (state.verdict && entry.state !== state.verdict && !entry.statuses?.includes(state.verdict)) return false;
      if (!words.length) return true;
      const { shared, own } = searchable(s);
      return words.every((word) => shared.includes(word) || own[e].includes(word));
    };
    shown = [];
    samples.forEach((sample, s) => {
      if (state.group && sample.group !== state.group) return;
      const entries = sample.entries.map((_, e) => e).filter((e) => fits(s, e));
      if (entries.length) shown.push([s, entries]);
    });
    const order = orders[state.sort];
    if (order) shown.sort(([a], [b]) => order(samples[a], samples[b]) || a - b);
    flat = shown.flatMap(([s, entries]) => entries.map((e) => [s, e]));
  };

  // Cards, rendered in portions as they come near the window.
  const main = document.querySelector("main");
  const more = byId("more");
  const describe = (s, side, index) => {
    const of = samples[s].entries.length > 1 ? `, image ${index + 1} of ${samples[s].entries.length}` : "";
    return `${samples[s].prompt} (${letters.length ? `run ${letters[side].letter}, ` : ""}${samples[s].entries[index].sides[side].says.replace(/^\S+ /, "")}${of})`;
  };
  const small = (image, size) => image.classList.toggle("tiny", (size?.[0] ?? image.naturalWidth) <= 128);
  const shownImage = (source, alt, size, lazy) => {
    if (!source) return make("div", { class: "none", role: "img", "aria-label": alt }, source === "" ? "unreadable file" : "no image");
    const image = make("img", { alt, loading: lazy ? "lazy" : null, decoding: "async" });
    image.addEventListener("load", () => small(image, size));
    image.addEventListener("error", () => image.replaceWith(make("div", { class: "none" }, "the file is not here")));
    image.src = source;
    return image;
  };
  const caption = (side, index) => make("div", { class: side.state },
    make("b", {}, letters.length ? make("span", { class: `side-letter ${index ? "b" : "a"}` }, letters[index].letter) : null, side.says),
    side.reason ? make("span", { class: "reason", dir: "auto" }, side.reason) : null);
  const figure = (s, e) => {
    const entry = samples[s].entries[e];
    const images = entry.sides.map((side, index) => shownImage(side.src, describe(s, index, e), side.size, true));
    return make("figure", { class: entry.state },
      make("button", { type: "button", class: "open", "data-image": first(s, e) }, ...images),
      make("figcaption", {}, ...entry.sides.map(caption)));
  };
  const before = (s) => make("figure", { class: "source" },
    shownImage(details(s).source ?? "", `source image of: ${samples[s].prompt}`, null, true),
    make("figcaption", {}, "source image"));
  const card = ([s, entries]) => make("article", {},
    make("h2", { dir: "auto" }, samples[s].prompt),
    make("p", {}, make("bdi", {}, samples[s].group), " · ", make("bdi", {}, samples[s].id)),
    make("div", { class: "images" }, samples[s].edits ? before(s) : null, ...entries.map((e) => figure(s, e))));
  const renderMore = (atLeast = 24) => {
    const portion = shown.slice(rendered, rendered + atLeast);
    main.append(...portion.map(card));
    rendered += portion.length;
    more.hidden = rendered >= shown.length;
    return portion.length > 0;
  };
  const refresh = () => {
    choose();
    main.replaceChildren();
    rendered = 0;
    renderMore();
    const n = (count) => count.toLocaleString("en");
    const kind = letters.length ? "pairs" : "images";
    byId("shown").textContent = `${n(flat.length)} of ${n(total)} ${kind}`;
    byId("empty").hidden = flat.length > 0;
    search.value = state.q;
    sorts.value = state.sort;
    if (groups) groups.value = state.group;
    for (const button of all("[data-group]")) button.setAttribute("aria-pressed", String(button.dataset.group === state.group));
    for (const chip of all("[data-verdict]")) chip.setAttribute("aria-pressed", String(chip.dataset.verdict === state.verdict));
    writeAddress();
  };
  const set = (changes) => {
    Object.assign(state, changes);
    refresh();
  };

  // The large view.
  const zoom = byId("zoom");
  const part = (selector) => zoom.querySelector(selector);
  let boxesShown = true;
  const svg = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  // What the detector found: boxes are in pixels of the stored image.
  const boxes = (objects, [width, height]) => {
    const overlay = svg("svg", { class: "boxes", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const size = height / 30;
    for (const [name, x1, y1, x2, y2, score] of objects) {
      overlay.append(svg("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1 }));
      overlay.append(svg("text", { x: x1 + size / 4, y: Math.max(y1 - size / 3, size), "font-size": size }, `${name} ${score.toFixed(2)}`));
    }
    return overlay;
  };
  const pane = (source, { alt, size, file, objects, label }) => {
    const image = shownImage(source, alt, size, false);
    const stage = make("div", {}, image);
    if (image.tagName === "IMG") {
      image.addEventListener("load", () => {
        const [width, height] = size ?? [image.naturalWidth, image.naturalHeight];
        stage.style.aspectRatio = `${width} / ${height}`;
        if (objects?.length && !stage.querySelector(".boxes")) stage.append(boxes(objects, [width, height]));
      });
      if (size && file) { // a thumbnail until the whole image is there
        const whole = new Image();
        whole.onload = () => { image.src = file; };
        whole.src = file;
      }
    }
    return make("figure", { class: "pane" }, stage, label ? make("figcaption", {}, label) : null);
  };
  const list = (rows) => make("dl", { class: "evidence" }, ...rows.flatMap(([name, text]) =>
    [make("dt", { dir: "auto" }, name), make("dd", {}, text)]));
  const answerState = (verdict) => {
    if (verdict.status) return "unscored";
    if (verdict.share === undefined) return "";
    return verdict.share >= 1 ? "right" : verdict.share > 0 ? "partly" : "wrong";
  };
  const answerWords = (verdict) => {
    if (verdict.status) return verdict.status;
    if (verdict.share === undefined) return verdict.answer ?? (isShort(verdict.reply) ? verdict.reply : "");
    const mark = { right: "✓", partly: "◐", wrong: "✕" }[answerState(verdict)];
    if (verdict.out_of || !["1.000", "0.000"].includes(verdict.value)) {
      return `${mark} ${verdict.value}${verdict.out_of ? ` of ${verdict.out_of}` : ""}`;
    }
    return `${mark} ${verdict.answer ?? (isShort(verdict.reply) ? verdict.reply : "")}`;
  };
  const isShort = (reply) => reply !== undefined && reply.length <= 16 && !reply.includes("\n");
  const question = (verdict, asked, alone) => {
    const rows = [];
    const words = answerWords(verdict);
    const add = (name, text) => { if (text !== undefined && text !== "") rows.push([name, text]); };
    add("expected", asked.expected);
    if (words !== verdict.reply && !words.endsWith(` ${verdict.reply}`)) add("reply", verdict.reply);
    add("judge's thought", verdict.thought);
    add("P(yes)", verdict.p_yes);
    if (!alone) add("reason", verdict.reason);
    return make("li", {},
      make("div", { class: "asked" }, make("span", {}, asked.question ?? asked.id), make("span", { class: `answer ${answerState(verdict)}` }, words)),
      rows.length || verdict.more ? list([...rows, ...(verdict.more ?? [])]) : null,
      verdict.parts ? make("ol", { class: "questions" }, ...verdict.parts.map((one) => question(one, one, false))) : null);
  };
  const worthShowing = (verdicts, questions) => verdicts.length > 1
    || verdicts.some((one) => questions[one.q].question || one.reply !== undefined || one.more || one.parts);
  const sideAbout = (side, index, detail, questions) => {
    const about = make("div", { class: "side" },
      make("div", { class: side.state },
        letters.length ? make("span", { class: `side-letter ${index ? "b" : "a"}` }, letters[index].letter) : null,
        make("span", { class: "mark" }, side.says)),
      side.reason && !(detail.verdicts?.length > 1) ? make("p", { class: "reason", dir: "auto" }, side.reason) : null);
    const found = (detail.objects ?? []).map(([name, , , , , score]) => `${name} ${score.toFixed(2)}`);
    if (found.length) about.append(make("h3", {}, "Detected"), make("p", { class: "text" }, found.join(", ")));
    if (worthShowing(detail.verdicts ?? [], questions)) {
      const told = detail.verdicts.some((one) => one.reply !== undefined || one.more || one.parts) ? "Questions and replies" : "Questions";
      about.append(make("h3", {}, told), make("ol", { class: "questions" }, ...detail.verdicts.map((one) => question(one, questions[one.q], detail.verdicts.length === 1))));
    }
    const notes = detail.notes ?? [];
    const titled = { thought: "Thought", "revised prompt": "Prompt as rewritten by the host" };
    for (const [name, text] of notes) {
      if (titled[name]) about.append(make("h3", {}, titled[name]), make("p", { class: "text" }, text.replace(/^\s*<think>\s*|\s*<\/think>\s*$/g, "")));
    }
    const rest = notes.filter(([name]) => !titled[name]);
    if (rest.length) about.append(make("h3", {}, "Notes of the generator"), list(rest));
    const file = side.file ?? (side.src?.startsWith("data:") ? null : side.src);
    about.append(make("p", { class: "where" }, `image ${side.id}`, side.seed === undefined ? "" : ` · seed ${side.seed}`,
      file ? " · " : "", file ? make("a", { href: file, target: "_blank", rel: "noopener" }, "open the file") : ""));
    return about;
  };
  const show = (s, e) => {
    const sample = samples[s];
    const entry = sample.entries[e];
    const detail = details(s);
    const own = entry.sides.map((_, index) => detail.entries?.[e]?.[index] ?? {});
    const panes = entry.sides.map((side, index) => pane(side.src, {
      alt: describe(s, index, e), size: side.size, file: side.file, objects: own[index].objects,
      label: letters.length ? `${letters[index].letter} · ${side.says}` : sample.edits ? "edited" : "",
    }));
    if (sample.edits) panes.unshift(pane(detail.source ?? "", { alt: `source image of: ${sample.prompt}`, label: "source image" }));
    part(".stage").replaceChildren(...panes);
    part(".stage").classList.toggle("bare", !boxesShown);
    part("h2").textContent = sample.prompt;
    part(".where").replaceChildren(make("bdi", {}, sample.group), " · ", make("bdi", {}, sample.id));
    part(".sides-about").replaceChildren(...entry.sides.map((side, index) => sideAbout(side, index, own[index], detail.questions ?? [])));
    if (detail.facts) part(".sides-about").append(make("h3", {}, "What the benchmark knows"), list(detail.facts));
    part(".seen").hidden = !own.some((one) => one.objects?.length);
    const at = flat.findIndex(([a, b]) => a === s && b === e);
    part(".place").textContent = at < 0 ? "" : `${(at + 1).toLocaleString("en")} of ${flat.length.toLocaleString("en")}`;
    part(".previous").disabled = at <= 0;
    part(".next").disabled = at < 0 || at + 1 >= flat.length;
    part(".about").scrollTop = 0;
    state.image = first(s, e);
    writeAddress();
    if (!zoom.open) zoom.showModal();
  };
  const step = (by) => {
    const at = flat.findIndex(([s, e]) => first(s, e) === state.image);
    const next = flat[at + by];
    if (at >= 0 && next) show(...next);
  };
  const opener = (name) => all(".open", main).find((button) => button.dataset.image === name);
  const openNamed = () => {
    const place = places.get(state.image);
    if (place) show(...place);
    else if (zoom.open) zoom.close();
    else {
      state.image = "";
      writeAddress();
    }
  };
  zoom.addEventListener("close", () => {
    const name = state.image;
    state.image = "";
    writeAddress();
    const at = shown.findIndex(([s]) => s === places.get(name)?.[0]);
    if (at >= rendered) renderMore(at - rendered + 1);
    opener(name)?.focus();
  });

  // Keyboard.
  const onScreen = (button) => { const box = button.getBoundingClientRect(); return box.bottom > 60 && box.top < innerHeight; };
  const focus = (button) => {
    button.focus({ preventScroll: true });
    button.scrollIntoView({ block: "nearest" });
    return true;
  };
  const walk = (by) => {
    let open = all(".open", main);
    const at = open.indexOf(document.activeElement);
    if (at < 0) return open.length > 0 && focus(open.find(onScreen) ?? open[0]);
    if (at + by >= open.length && renderMore()) open = all(".open", main);
    return open[at + by] ? focus(open[at + by]) : true;
  };
  const climb = (direction) => {
    const from = document.activeElement;
    if (!from?.classList.contains("open")) return false;
    renderMoreBelow(from, direction);
    const box = from.getBoundingClientRect();
    const middle = (one) => one.left + one.width / 2;
    const candidates = all(".open", main).map((button) => [button, button.getBoundingClientRect()])
      .filter(([, other]) => direction > 0 ? other.top >= box.bottom : other.bottom <= box.top);
    if (!candidates.length) return true;
    const edge = direction > 0 ? Math.min(...candidates.map(([, other]) => other.top)) : Math.max(...candidates.map(([, other]) => other.bottom));
    const row = candidates.filter(([, other]) => Math.abs((direction > 0 ? other.top : other.bottom) - edge) < box.height / 2);
    row.sort(([, a], [, b]) => Math.abs(middle(a) - middle(box)) - Math.abs(middle(b) - middle(box)));
    return focus(row[0][0]);
  };
  const renderMoreBelow = (from, direction) => {
    const open = all(".open", main);
    if (direction > 0 && open.indexOf(from) > open.length - 16) renderMore();
  };
  const themes = ["auto", "light", "dark"];
  const setTheme = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    byId("theme").textContent = { auto: "◐ auto", light: "☀ light", dark: "☾ dark" }[name];
    byId("theme").setAttribute("aria-label", `Colour scheme: ${name}`);
    try { localStorage.setItem("alphabench-theme", name); } catch { /* a browser may forbid it */ }
  };
  const nextTheme = () => setTheme(themes[(themes.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3]);
  const toggleBoxes = () => {
    boxesShown = !boxesShown;
    part(".seen").setAttribute("aria-pressed", String(boxesShown));
    part(".stage").classList.toggle("bare", !boxesShown);
  };
  const inZoom = { ArrowRight: () => step(1), j: () => step(1), ArrowLeft: () => step(-1), k: () => step(-1), b: toggleBoxes };
  const onPage = {
    ArrowRight: () => walk(1), j: () => walk(1), ArrowLeft: () => walk(-1), k: () => walk(-1),
    ArrowDown: () => climb(1), ArrowUp: () => climb(-1), t: nextTheme, "?": () => byId("help").showModal(),
    "/": () => { search.focus(); search.select(); },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target === search && event.key === "Escape") {
      event.preventDefault();
      if (state.q) set({ q: "" });
      else search.blur();
      return;
    }
    if (event.target.matches("input, select, textarea") || byId("help").open) return;
    const action = (zoom.open ? inZoom : onPage)[event.key];
    if (action && action() !== false) event.preventDefault();
  });

  // Mouse and changes.
  main.addEventListener("click", (event) => {
    const button = event.target.closest(".open");
    if (button) show(...places.get(button.dataset.image));
  });
  for (const chip of all("[data-verdict]")) chip.addEventListener("click", () => set({ verdict: chip.dataset.verdict }));
  for (const bar of all("[data-group]")) {
    bar.addEventListener("click", () => set({ group: state.group === bar.dataset.group ? "" : bar.dataset.group }));
  }
  groups?.addEventListener("change", () => set({ group: groups.value }));
  sorts.addEventListener("change", () => set({ sort: sorts.value }));
  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => set({ q: search.value }), 120);
  });
  byId("reset").addEventListener("click", () => set({ ...defaults, sort: state.sort }));
  byId("theme").addEventListener("click", nextTheme);
  byId("keys").addEventListener("click", () => byId("help").showModal());
  for (const dialog of all("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest(".close")) dialog.close();
    });
  }
  part(".previous").addEventListener("click", () => step(-1));
  part(".next").addEventListener("click", () => step(1));
  part(".seen").addEventListener("click", toggleBoxes);
  more.querySelector("button").addEventListener("click", () => renderMore());
  new IntersectionObserver((seen) => {
    if (seen.some((one) => one.isIntersecting)) renderMore();
  }, { rootMargin: "1200px" }).observe(more);
  addEventListener("hashchange", () => { readAddress(); refresh(); openNamed(); });

  let theme = "auto";
  try { theme = localStorage.getItem("alphabench-theme") ?? "auto"; } catch { /* as above */ }
  setTheme(themes.includes(theme) ? theme : "auto");
  readAddress();
  refresh();
  openNamed();
})();
