// On every page: copy buttons, menus that close, the theme, moments in words, "you are offline".
import { enableAnnouncement } from "../lib/announcement";
import { enableNotices } from "../lib/notices";
import { enableCopyButtons } from "../lib/copy";
import { enableMoments } from "../lib/moments";
import { all } from "../lib/page";

/** Menus are `<details data-menu>`: they close on Escape, on a click elsewhere, and when another one opens. */
function enableMenus(): void {
  const open = (): HTMLDetailsElement[] => all<HTMLDetailsElement>("details[data-menu][open]");
  document.addEventListener("click", (event) => {
    for (const menu of open()) {
      if (!(event.target instanceof Node && menu.contains(event.target))) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of open()) {
      const inside = menu.contains(document.activeElement);
      menu.open = false;
      if (inside) menu.querySelector("summary")?.focus();
    }
  });
}

/** Choosing a theme is a link to the server, which sets a cookie; with script the page changes without a reload. */
function enableThemes(): void {
  const root = document.documentElement;
  const links = all<HTMLAnchorElement>("[data-choose-theme]");
  for (const link of links) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const theme = link.dataset.chooseTheme ?? "auto";
      root.dataset.theme = theme;
      root.dispatchEvent(new Event("datalab-theme"));
      for (const other of links) other.removeAttribute("aria-current");
      link.setAttribute("aria-current", "true");
      // readable by script, unlike what belongs to the sign-in; the same cookie as the server's
      const secure = location.protocol === "https:" ? "; Secure" : "";
      const path = root.dataset.hub ?? "/";
      document.cookie = `datalab-theme=${theme}; Path=${path}; Max-Age=31536000; SameSite=Lax${secure}`;
    });
  }
}

function watchNetwork(): void {
  const note = document.querySelector<HTMLElement>(".dl-offline");
  if (note === null) return;
  const show = (): void => {
    note.hidden = navigator.onLine;
  };
  window.addEventListener("online", show);
  window.addEventListener("offline", show);
  show();
}

/** Buttons that show what was typed into a password field: `data-toggle-password="#id"`, named by `data-show` and `data-hide`. */
function enablePasswordToggles(): void {
  for (const button of all<HTMLButtonElement>("[data-toggle-password]")) {
    const field = document.querySelector<HTMLInputElement>(button.dataset.togglePassword ?? "");
    button.addEventListener("click", () => {
      if (field === null) return;
      const hidden = field.type === "password";
      field.type = hidden ? "text" : "password";
      button.setAttribute("aria-pressed", String(hidden));
    });
  }
}

/** Forms with `data-once` are sent once: the second press of the button does nothing. */
function guardForms(): void {
  for (const form of all<HTMLFormElement>("form[data-once]")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent === "yes") event.preventDefault();
      form.dataset.sent = "yes";
      for (const button of all<HTMLButtonElement>("button[type=submit]", form)) button.classList.add("dl-busy");
    });
    // the back button shows the page as it was left
    window.addEventListener("pageshow", () => {
      delete form.dataset.sent;
      for (const button of all(".dl-busy", form)) button.classList.remove("dl-busy");
    });
  }
}

/** `data-look-again="SECONDS"`: loads the page again, or `data-look-at`, after that time. */
function lookAgain(): void {
  for (const element of all("[data-look-again]")) {
    setTimeout(() => {
      const at = element.dataset.lookAt;
      if (at === undefined) location.reload();
      else location.assign(at);
    }, Number(element.dataset.lookAgain) * 1000);
  }
}

/** Links with `data-keep-hash` lead on with what stands after the # of this page. */
function keepHash(): void {
  for (const link of all<HTMLAnchorElement>("a[data-keep-hash]")) {
    if (location.hash !== "") link.hash = location.hash;
  }
}

/** JupyterHub counts redirects in the query of some pages; nobody wants to see or bookmark that. */
function tidyAddress(): void {
  const here = new URL(location.href);
  if (!here.searchParams.has("redirects")) return;
  here.searchParams.delete("redirects");
  history.replaceState(history.state, "", here);
}

enableCopyButtons();
enableMenus();
enableThemes();
enablePasswordToggles();
enableMoments();
guardForms();
keepHash();
lookAgain();
tidyAddress();
watchNetwork();
enableAnnouncement();
enableNotices();
