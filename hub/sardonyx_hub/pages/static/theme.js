// Chooses light or dark before anything is drawn; a script that blocks, so that no page flashes. The server has put what
// the person chose into data-theme.
(() => {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const chosen = root.dataset.theme;
    root.dataset.bsTheme = chosen === "light" || chosen === "dark" ? chosen : system.matches ? "dark" : "light";
  };
  apply();
  system.addEventListener("change", apply);
  root.addEventListener("datalab-theme", apply);
})();
