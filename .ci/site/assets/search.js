// Search without a server: ranking.js says what answers a question, this shows it.
(() => {
  const root = document.documentElement.dataset.root;
  const input = document.getElementById("search");
  const list = document.getElementById("found");
  const { wordsOf, prepared, found } = window.RANKING;
  const entries = prepared(window.SEARCH);
  const marked = (text, words) => {
    const span = document.createElement("span");
    const at = Math.min(...words.map((word) => text.toLowerCase().indexOf(word)).filter((place) => place >= 0), text.length);
    const begin = at < 60 || at === text.length ? 0 : at - 40;
    const shown = (begin ? "… " : "") + text.slice(begin, begin + 140) + (text.length > begin + 140 ? " …" : "");
    const pattern = new RegExp("(" + words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|") + ")", "ig");
    shown.split(pattern).forEach((part, index) => {
      span.append(index % 2 ? Object.assign(document.createElement("mark"), { textContent: part }) : part);
    });
    return span;
  };
  const show = () => {
    const words = wordsOf(input.value);
    list.replaceChildren();
    list.hidden = words.length === 0;
    if (!words.length) return;
    const answers = found(entries, words);
    for (const entry of answers.slice(0, 25)) {
      const link = Object.assign(document.createElement("a"), { href: root + entry.url });
      const title = document.createElement("strong");
      title.append(marked(entry.title, words));
      const head = document.createElement("div");
      head.append(title, Object.assign(document.createElement("small"), { textContent: entry.where }));
      link.append(head, marked(entry.text, words));
      const item = document.createElement("li");
      item.append(link);
      list.append(item);
    }
    if (!answers.length) list.append(Object.assign(document.createElement("li"), { textContent: "Nothing found.", className: "nothing" }));
  };
  input.addEventListener("input", show);
  input.addEventListener("focus", show);
  const links = () => [...list.querySelectorAll("a")];
  document.addEventListener("keydown", (event) => {
    const open = !list.hidden;
    if (event.key === "/" && document.activeElement !== input) { event.preventDefault(); input.focus(); input.select(); }
    else if (event.key === "Escape") { list.hidden = true; input.blur(); }
    else if (open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      const all = links();
      const next = all.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
      (all[next] || input).focus();
    } else if (open && event.key === "Enter" && document.activeElement === input && links().length) links()[0].click();
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest(".search") || event.target.closest("#found a")) list.hidden = true;
  });
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) { input.value = asked; show(); }
})();
