// Light or dark: as the system wants it, unless a person has chosen.

import { byId } from "./dom.js";

const KEY = "ovrcoat-theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const NAMES = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" };

export function setUpTheme() {
  const button = byId("theme");
  let theme = localStorage.getItem(KEY) ?? "auto";
  const show = () => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = NAMES[theme];
    button.setAttribute("aria-label", `${NAMES[theme]}; change`);
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme] ?? "auto";
    localStorage.setItem(KEY, theme);
    show();
  });
  show();
}
