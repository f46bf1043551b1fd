// Light or dark: what the system says, until a reader says otherwise. Runs before the page is drawn.
(() => {
  const root = document.documentElement;
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const put = (theme) => { if (theme) root.style.colorScheme = theme; };
  put(kept());
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      const dark = (root.style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
      put(dark ? "light" : "dark");
      try { localStorage.setItem("theme", dark ? "light" : "dark"); } catch { /* a browser that keeps nothing of files */ }
    });
    const menu = document.getElementById("menu");
    menu.addEventListener("click", () => {
      const open = document.getElementById("rooms").classList.toggle("open");
      menu.setAttribute("aria-expanded", String(open));
    });
  });
})();
