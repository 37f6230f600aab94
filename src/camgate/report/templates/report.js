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
  if (!controls) return;
  const cards = [...document.querySelectorAll(".card")];
  const byClass = document.getElementById("by-class");
  const byOutcome = document.getElementById("by-outcome");
  const byOrder = document.getElementById("by-order");
  const shown = document.getElementById("shown");

  // Missing numbers (dead maps) go last whatever the order.
  const key = (card, name) => (card.dataset[name] === "" ? -Infinity : Number(card.dataset[name]));

  const apply = () => {
    let visible = 0;
    for (const card of cards) {
      card.hidden =
        (byClass.selectedIndex > 0 && card.dataset.label !== byClass.value) ||
        (byOutcome.value !== "" && card.dataset.correct !== byOutcome.value);
      if (!card.hidden) visible += 1;
    }
    const name = byOrder.value;
    for (const list of document.querySelectorAll(".cards")) {
      const order = [...list.children].sort((a, b) =>
        name === "rank" ? key(a, name) - key(b, name) : key(b, name) - key(a, name) || key(a, "rank") - key(b, "rank"),
      );
      list.append(...order);
    }
    shown.textContent = `${visible} of ${cards.length} shown`;
  };

  // A link to a card that the filter hides must still lead there.
  const reveal = () => {
    const card = document.getElementById(location.hash.slice(1));
    if (!card || !card.hidden) return;
    byClass.value = "";
    byOutcome.value = "";
    apply();
    card.scrollIntoView();
  };

  for (const control of [byClass, byOutcome, byOrder]) control.addEventListener("change", apply);
  addEventListener("hashchange", reveal);
  controls.hidden = false;
  apply();
})();
