"use strict";
(() => {
  const find = document.getElementById("find-class");
  if (!find) return;
  const rows = [...document.querySelectorAll("#folded-classes tbody tr")];
  const found = document.getElementById("found-classes");
  const narrow = () => {
    const wanted = find.value.trim().toLowerCase();
    let visible = 0;
    for (const row of rows) {
      row.hidden = !row.querySelector("th").textContent.toLowerCase().includes(wanted);
      if (!row.hidden) visible += 1;
    }
    found.textContent = wanted ? `${visible} of ${rows.length}` : "";
  };
  find.addEventListener("input", narrow);
  find.parentElement.hidden = false;
})();
(() => {
  const controls = document.getElementById("controls");
  const source = document.getElementById("rows");
  if (!controls || !source) return;
  const { columns, words, rows } = JSON.parse(source.textContent);
  const at = (name) => columns.indexOf(name);
  const [LABEL, PREDICTED, CONFIDENCE, OUTSIDE, LIFT] = ["class", "predicted", "confidence", "outside the object", "lift"].map(at);
  const told = (row, column) => {
    const value = row[column];
    if (column in words) return value < 0 ? "\u2013" : words[column][value];
    if (column === 0) return value;
    if (value === null) return "\u2013";
    return column === LIFT ? value.toFixed(2) : (100 * value).toFixed(1) + "\u00a0%";
  };
  // "yes", "no", or "" where nothing was predicted.
  const right = (row) =>
    row[PREDICTED] < 0 ? "" : words[PREDICTED][row[PREDICTED]] === words[LABEL][row[LABEL]] ? "yes" : "no";

  const cards = [...document.querySelectorAll(".card")];
  const choices = [...document.querySelectorAll(".choice")];
  const find = document.getElementById("find-image");
  const byOutcome = document.getElementById("by-outcome");
  const byOrder = document.getElementById("by-order");
  const shown = document.getElementById("shown");
  const ranks = new Map(cards.map((card, rank) => [card, rank]));
  const pictures = new Map();
  for (const card of cards) if (!pictures.has(Number(card.dataset.row))) pictures.set(Number(card.dataset.row), card);

  // What is asked for, as a test of one row.
  const wanted = () => {
    const text = find.value.trim().toLowerCase();
    const codes = choices
      .filter((choice) => choice.selectedIndex > 0)
      .map((choice) => [Number(choice.dataset.column), words[choice.dataset.column].indexOf(choice.value)]);
    return (row) =>
      (!text || row[0].toLowerCase().includes(text)) &&
      codes.every(([column, code]) => row[column] === code) &&
      (byOutcome.value === "" || byOutcome.value === right(row));
  };

  // Missing numbers go last whatever the order.
  const number = (row, column) => (row === undefined || row[column] === null ? -Infinity : row[column]);
  let order = rows.map((_, index) => index);
  let sorted = [OUTSIDE, true];
  let page = 0;
  const PAGE = 50;
  const body = document.querySelector("#rows-table tbody");
  const heads = document.querySelector("#rows-table thead tr");

  const draw = () => {
    const last = Math.max(0, Math.ceil(order.length / PAGE) - 1);
    page = Math.min(Math.max(page, 0), last);
    body.replaceChildren(
      ...order.slice(page * PAGE, page * PAGE + PAGE).map((index) => {
        const line = document.createElement("tr");
        rows[index].forEach((_, column) => {
          const cell = document.createElement(column === 0 ? "th" : "td");
          if (column === 0) cell.scope = "row";
          if (column > 0 && !(column in words)) cell.className = "num";
          if (column === PREDICTED && right(rows[index]) === "no") cell.className = "wrong";
          const card = column === 0 ? pictures.get(index) : undefined;
          if (card) {
            const link = document.createElement("a");
            link.href = "#" + card.id;
            link.textContent = told(rows[index], column);
            cell.append(link);
          } else cell.textContent = told(rows[index], column);
          line.append(cell);
        });
        return line;
      }),
    );
    document.getElementById("page-now").textContent = order.length
      ? `${page * PAGE + 1} to ${Math.min(order.length, (page + 1) * PAGE)} of ${order.length}`
      : "no image fits";
    document.getElementById("page-before").disabled = page === 0;
    document.getElementById("page-next").disabled = page === last;
    [...heads.children].forEach((head, column) => {
      head.ariaSort = column === sorted[0] ? (sorted[1] ? "descending" : "ascending") : "none";
    });
  };

  const sort = () => {
    const [column, down] = sorted;
    const sign = down ? -1 : 1;
    const coded = column === 0 || column in words;
    order.sort((a, b) => {
      if (coded) return sign * told(rows[a], column).localeCompare(told(rows[b], column)) || a - b;
      const [x, y] = [rows[a][column], rows[b][column]];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return sign * (x - y) || a - b;
    });
  };

  const apply = () => {
    const fits = wanted();
    let visible = 0;
    for (const card of cards) {
      const row = rows[card.dataset.row];
      card.hidden = row !== undefined && !fits(row);
      if (!card.hidden) visible += 1;
    }
    const column = { outside: OUTSIDE, lift: LIFT, confidence: CONFIDENCE }[byOrder.value];
    for (const list of document.querySelectorAll(".cards")) {
      const inOrder = [...list.children].sort(
        (a, b) =>
          (column === undefined ? 0 : number(rows[b.dataset.row], column) - number(rows[a.dataset.row], column) || 0) ||
          ranks.get(a) - ranks.get(b),
      );
      list.append(...inOrder);
    }
    order = rows.flatMap((row, index) => (fits(row) ? [index] : []));
    sort();
    page = 0;
    draw();
    shown.textContent = `${visible} of ${cards.length} pictures, ${order.length} of ${rows.length} images`;
  };

  columns.forEach((name, column) => {
    const head = document.createElement("th");
    head.scope = "col";
    if (column > 0 && !(column in words)) head.className = "num";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.textContent = name;
    button.addEventListener("click", () => {
      sorted = [column, sorted[0] === column ? !sorted[1] : column > 0 && !(column in words)];
      sort();
      page = 0;
      draw();
    });
    head.append(button);
    heads.append(head);
  });
  document.getElementById("page-before").addEventListener("click", () => { page -= 1; draw(); });
  document.getElementById("page-next").addEventListener("click", () => { page += 1; draw(); });

  // One picture, large.
  const view = document.getElementById("view");
  const title = document.getElementById("view-title");
  const inside = document.getElementById("view-body");
  let current = null;
  const remember = (id) => {
    try {
      history.replaceState(null, "", id ? "#" + id : location.pathname + location.search);
    } catch {
      /* a page without an address of its own, as in a frame */
    }
  };
  const open = (card) => {
    current = card;
    title.textContent = card.querySelector(".id").textContent;
    const copies = [...card.children].filter((part) => !part.matches(".id")).map((part) => part.cloneNode(true));
    inside.replaceChildren(...copies);
    // A clone must not take the names that the card's own layers are found by.
    for (const part of inside.querySelectorAll("[id]")) part.removeAttribute("id");
    for (const part of inside.querySelectorAll(".open")) part.remove();
    if (!view.open) view.showModal();
    remember(card.id);
  };
  view.addEventListener("close", () => {
    remember("");
    if (current) current.querySelector(".open").focus();
  });
  document.getElementById("view-close").addEventListener("click", () => view.close());
  for (const card of cards) {
    const button = card.querySelector(".open");
    button.hidden = false;
    button.addEventListener("click", () => open(card));
  }
  const seen = () => [...document.querySelectorAll(".card")].filter((card) => !card.hidden);
  const step = (by) => {
    const list = seen();
    if (!list.length) return;
    const here = list.indexOf(view.open ? current : document.activeElement.closest(".card"));
    const next = list[here < 0 ? (by > 0 ? 0 : list.length - 1) : Math.min(Math.max(here + by, 0), list.length - 1)];
    if (view.open) open(next);
    else next.querySelector(".open").focus();
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    const by = { j: 1, k: -1 }[event.key] || (view.open && { ArrowRight: 1, ArrowLeft: -1 }[event.key]);
    if (!by) return;
    event.preventDefault();
    step(by);
  });

  // A link to a picture that the filter hides must still lead there.
  const reveal = () => {
    const card = cards.find((each) => "#" + each.id === location.hash);
    if (!card) return;
    if (card.hidden) {
      for (const choice of choices) choice.value = "";
      byOutcome.value = find.value = "";
      apply();
    }
    open(card);
  };

  for (const control of [...choices, byOutcome, byOrder]) control.addEventListener("change", apply);
  find.addEventListener("input", apply);
  const opacity = document.getElementById("opacity");
  opacity.addEventListener("input", () => document.documentElement.style.setProperty("--heat", opacity.value / 100));
  addEventListener("hashchange", reveal);
  controls.hidden = false;
  document.getElementById("all-rows").hidden = false;
  const keys = document.getElementById("keys");
  if (keys) keys.hidden = false;
  apply();
  reveal();
})();
