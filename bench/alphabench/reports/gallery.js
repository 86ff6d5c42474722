"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const cards = all("article").map((element) => ({
    element,
    group: element.dataset.group,
    text: null,
    figures: all("figure", element),
  }));
  const chosen = { group: "", state: "" };
  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const empty = document.getElementById("empty");
  const total = cards.reduce((sum, card) => sum + card.figures.length, 0);

  const matches = (card, words) => {
    if (chosen.group && card.group !== chosen.group) return false;
    if (!words.length) return true;
    card.text ??= card.element.textContent.toLowerCase();
    return words.every((word) => card.text.includes(word));
  };

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const card of cards) {
      let visible = 0;
      if (matches(card, words)) {
        for (const figure of card.figures) {
          figure.hidden = Boolean(chosen.state) && !figure.classList.contains(chosen.state);
          visible += figure.hidden ? 0 : 1;
        }
      }
      card.element.hidden = visible === 0;
      count += visible;
    }
    shown.textContent = `${count.toLocaleString("en")} of ${total.toLocaleString("en")} images`;
    empty.hidden = count > 0;
  };

  for (const button of all("button[data-filter]")) {
    button.addEventListener("click", () => {
      chosen[button.dataset.filter] = button.dataset.value;
      for (const other of all(`button[data-filter="${button.dataset.filter}"]`)) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      filter();
    });
  }
  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });

  const dialog = document.querySelector("dialog");
  const part = (name) => dialog.querySelector(name);
  let current = null;

  const overlay = part(".boxes");

  const svg = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  // What the evaluator says it saw: boxes are in pixels of the stored image.
  const showBoxes = (figure) => {
    if (!figure.dataset.objects || figure !== current) return;
    const image = part("img");
    const [width, height] = figure.dataset.size
      ? figure.dataset.size.split("x").map(Number)
      : [image.naturalWidth, image.naturalHeight];
    overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const size = height / 30;
    for (const [name, x1, y1, x2, y2, score] of JSON.parse(figure.dataset.objects)) {
      overlay.append(svg("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1 }));
      const label = svg("text", { x: x1 + size / 4, y: Math.max(y1 - size / 3, size), "font-size": size });
      label.textContent = `${name} ${score.toFixed(2)}`;
      overlay.append(label);
    }
  };

  const show = (figure) => {
    const card = figure.closest("article");
    const image = figure.querySelector("img");
    current = figure;
    overlay.replaceChildren();
    part("img").onload = () => showBoxes(figure);
    part("img").src = image.getAttribute("src");
    part("img").alt = image.alt;
    part("h2").textContent = card.querySelector("h2").textContent;
    part("section").className = figure.className;
    part(".mark").textContent = figure.querySelector("b").textContent;
    part(".why").textContent = figure.querySelector("figcaption span")?.textContent ?? "";
    part(".about").textContent = figure.dataset.about;
    part(".seen").hidden = !figure.dataset.objects;
    if (!dialog.open) dialog.showModal();
  };

  const step = (by) => {
    const open = all("article:not([hidden]) figure:not([hidden])").filter((f) => f.querySelector("img"));
    const next = open[open.indexOf(current) + by];
    if (next) show(next);
  };

  document.querySelector("main").addEventListener("click", (event) => {
    const opener = event.target.closest(".open");
    if (opener) show(opener.closest("figure"));
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  part(".previous").addEventListener("click", () => step(-1));
  part(".next").addEventListener("click", () => step(1));
  part(".seen").addEventListener("click", (event) => {
    const hide = overlay.toggleAttribute("hidden");
    event.target.setAttribute("aria-pressed", String(!hide));
  });
  part(".close").addEventListener("click", () => dialog.close());
  filter();
})();
